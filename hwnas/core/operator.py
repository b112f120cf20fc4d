"""An operator: what can stand at a place in a network, as a frozen value. It knows its shapes and costs, not its weights."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import ClassVar

from hwnas.errors import SpaceError

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Cost:
    """What an operator costs without being run; costs add.

    `flops` is 2 x the multiply-accumulates of convolutions, linear layers and attention products, for one sample.
    `params` counts trained numbers; `statistics` counts stored numbers that are not trained (batch-norm means, variances).
    """

    flops: int = 0
    params: int = 0
    statistics: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.flops + other.flops, self.params + other.params, self.statistics + other.statistics)


def conv_cost(
    in_channels: int, out_channels: int, kernel: int, out_hw: tuple[int, int], groups: int = 1, bias: bool = False
) -> Cost:
    """A two-dimensional convolution with a square kernel and `out_hw` output positions."""
    weights = out_channels * (in_channels // groups) * kernel * kernel
    return Cost(2 * weights * out_hw[0] * out_hw[1], weights + (out_channels if bias else 0))


def linear_cost(in_features: int, out_features: int, positions: int = 1, bias: bool = True) -> Cost:
    """A linear layer applied at `positions` places."""
    weights = in_features * out_features
    return Cost(2 * weights * positions, weights + (out_features if bias else 0))


def batch_norm_cost(channels: int) -> Cost:
    """Scale and shift; running mean and variance."""
    return Cost(0, 2 * channels, 2 * channels)


def float_bytes(shape: Shape) -> int:
    """Of a float32 tensor for one sample.

    >>> float_bytes((3, 32, 32))
    12288
    """
    return 4 * math.prod(shape)


def strided(size: int, stride: int) -> int:
    """Output size of a 'same'-padded odd kernel at a stride.

    >>> strided(32, 2), strided(7, 2)
    (16, 4)
    """
    return (size - 1) // stride + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator(ABC):
    """Base of all operators. A subclass is a frozen dataclass that adds its hyper-parameters and names its module.

    Class attributes, without which a subclass is a SpaceError:
      kind    the operator's name in keys and tables
      module  "package.module:Class" of a torch module built as `Class(operator)`; resolved only when a network is assembled
    """

    kind: ClassVar[str]
    module: ClassVar[str]

    input_shape: Shape

    def __init_subclass__(cls) -> None:
        for name, example in (("kind", "ghost"), ("module", "my_space.py:Ghost")):
            if not isinstance(getattr(cls, name, None), str):
                raise SpaceError(f'operator {cls.__name__} has no {name}; write: {name}: ClassVar[str] = "{example}"')

    @property
    @abstractmethod
    def output_shape(self) -> Shape:
        """Shape of the output, without the batch axis."""

    @abstractmethod
    def cost(self) -> Cost:
        """FLOPs, parameters and statistics; equal to what the built module has."""

    @property
    def input_bytes(self) -> int:
        """Of the input for one sample."""
        return float_bytes(self.input_shape) * (1 if self.vocabulary is None else 2)

    @property
    def output_bytes(self) -> int:
        """Of the output for one sample."""
        return float_bytes(self.output_shape)

    def peak_bytes(self) -> int:
        """Most bytes of activations alive at once while it runs alone on one sample, its input and output included.

        The module runs one torch operation after the other, none in place; each makes a new tensor, which is alive until
        the last operation that reads it. Views cost nothing, weights are not counted, nor is what an operation uses
        inside (attention's T x T scores). So it is what a plain interpreter needs (the limit of small devices: Lin et al.
        2020, MCUNet); a runtime that fuses needs less.

        By default input and output: to be overridden where the module holds more.
        """
        return self.input_bytes + self.output_bytes

    @property
    def vocabulary(self) -> int | None:
        """None where the input is float32; where it is token ids (int64), the number that all of them are below."""
        return None

    @property
    def key(self) -> str:
        """Readable and stable: the kind and every hyper-parameter. Equal keys mean equal latency under equal conditions."""
        values = ((field.name, getattr(self, field.name)) for field in fields(self))
        return f"{self.kind}({', '.join(f'{name}={_written(value)}' for name, value in values)})"

    @property
    def family(self) -> str:
        """Operators of one layer and one family share entangled weights; by default each operator has its own.

        In a family, a parameter of a smaller operator is a slice of the same-named parameter of a larger one:
        the first rows of the channel axes, the centre of the kernel axes.
        """
        return self.key


def _written(value: object) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)
