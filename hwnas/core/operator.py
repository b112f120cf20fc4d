"""An operator: one module of a network as a frozen value, with shapes and costs, without weights."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from inspect import get_annotations
from typing import ClassVar

from hwnas.errors import SpaceError

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class OperatorCost:
    """Costs of an operator that are known without running it; costs add up.

    `flops` is 2 x the multiply-accumulates of convolutions, linear layers and attention products, for one sample.
    `params` counts trained numbers; `statistics` counts stored numbers that are not trained (means and variances of batch-norms).
    """

    flops: int = 0
    params: int = 0
    statistics: int = 0

    def __add__(self, other: "OperatorCost") -> "OperatorCost":
        return OperatorCost(self.flops + other.flops, self.params + other.params, self.statistics + other.statistics)


def conv_cost(
    in_channels: int, out_channels: int, kernel: int, positions: Sequence[int], groups: int = 1, bias: bool = False
) -> OperatorCost:
    """Returns the cost of a convolution whose kernel is equally long along every axis of its output `positions`.

    The positions are (rows, columns) of images, (length,) of series.
    """
    weights = out_channels * (in_channels // groups) * kernel ** len(positions)
    return OperatorCost(2 * weights * math.prod(positions), weights + (out_channels if bias else 0))


def linear_cost(in_features: int, out_features: int, positions: int = 1, bias: bool = True) -> OperatorCost:
    """Returns the cost of a linear layer applied at `positions` positions."""
    weights = in_features * out_features
    return OperatorCost(2 * weights * positions, weights + (out_features if bias else 0))


def batch_norm_cost(channels: int) -> OperatorCost:
    """Returns the cost of a batch-norm: scale and shift are parameters, running mean and variance are statistics."""
    return OperatorCost(0, 2 * channels, 2 * channels)


def float_bytes(shape: Shape) -> int:
    """Returns the bytes of a float32 tensor for one sample.

    >>> float_bytes((3, 32, 32))
    12288
    """
    return 4 * math.prod(shape)


def strided(size: int, stride: int) -> int:
    """Returns the output size of a 'same'-padded odd kernel at a stride.

    >>> strided(32, 2), strided(7, 2)
    (16, 4)
    """
    return (size - 1) // stride + 1


def require_odd(key: str, kernel: int) -> None:
    """Raises SpaceError for a kernel without a centre: with it, 'same' padding does not give the size `strided`."""
    if kernel < 1 or kernel % 2 == 0:
        raise SpaceError(f"{key}: 'same' padding needs an odd kernel, and the kernel is {kernel}; give 1, 3, 5, ...")


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator(ABC):
    """Base of all operators. A subclass is a frozen dataclass that adds hyper-parameters and names a torch module.

    Required class attributes (a subclass without them raises SpaceError):
      kind    the operator's name in keys and tables
      module  "package.module:Class" of a torch module built as `Class(operator)`; resolved only when a network is assembled

    `channels_first` is True where shapes of two axes are series (channels, length), False where they are sequences (tokens,
    embedding). Shapes of three axes are images (channels, rows, columns) in any case.
    """

    kind: ClassVar[str]
    module: ClassVar[str]
    channels_first: ClassVar[bool] = False

    input_shape: Shape

    def __init_subclass__(cls) -> None:
        for name, example in (("kind", "ghost"), ("module", "my_space.py:Ghost")):
            if not isinstance(getattr(cls, name, None), str):
                raise SpaceError(f'operator {cls.__name__} has no {name}; write: {name}: ClassVar[str] = "{example}"')
        for name, kind in get_annotations(cls).items():
            is_field = "ClassVar" not in str(kind)
            if is_field and isinstance(getattr(Operator, name, None), property):
                raise SpaceError(
                    f"operator {cls.__name__} has a field {name!r}, which hides the property of that name of all operators; "
                    f"rename the field, as {name}_of_input"
                )

    @property
    @abstractmethod
    def output_shape(self) -> Shape:
        """The shape of the output, without the batch axis."""

    @property
    def positions(self) -> tuple[Shape, Shape]:
        """The axes of input and output that are not channels: rows and columns, the length of series, tokens."""
        return self._positions(self.input_shape), self._positions(self.output_shape)

    def _positions(self, shape: Shape) -> Shape:
        return tuple(shape[1:]) if self.channels_first or len(shape) > 2 else tuple(shape[:-1])

    @abstractmethod
    def cost(self) -> OperatorCost:
        """Returns FLOPs, parameters and statistics, equal to those of the built module."""

    @property
    def input_bytes(self) -> int:
        """The bytes of the input for one sample."""
        return float_bytes(self.input_shape) * (1 if self.vocabulary is None else 2)

    @property
    def output_bytes(self) -> int:
        """The bytes of the output for one sample."""
        return float_bytes(self.output_shape)

    @property
    def weight_bytes(self) -> int:
        """The bytes of parameters and statistics in a model file."""
        cost = self.cost()
        return 4 * (cost.params + cost.statistics)

    def peak_bytes(self) -> int:
        """Returns the most bytes of activations alive while the operator runs on one sample, input and output included.

        The count assumes one torch operation after another, none in place. Every operation makes a new tensor that is
        alive until the last operation that reads it. Views, weights and memory inside one operation (the T x T scores of
        attention) are not counted. This is the need of a plain interpreter, the limit of small devices (Lin et al. 2020,
        MCUNet); a runtime that fuses operations needs less.

        The default is input plus output; override it where the module holds more.
        """
        return self.input_bytes + self.output_bytes

    @property
    def vocabulary(self) -> int | None:
        """None for a float32 input; for an input of token ids (int64), the number that all ids are below."""
        return None

    @property
    def is_trained(self) -> bool:
        """True where new modules of the operator have trained weights."""
        return False

    @property
    def is_quantisable(self) -> bool:
        """True where the operator's part of a model file can compute in 8 bits, so that its precision can be a choice.

        The default is True for an operator with FLOPs. Override it where the FLOPs are those of transposed convolutions alone,
        which stay float32 in a model file.
        """
        return self.cost().flops > 0

    @property
    def in_float32(self) -> "Operator":
        """The operator in float32, whose weights it has: itself, unless it is a `Precise`."""
        return self

    @property
    def is_nested(self) -> bool:
        """False where smaller operators of the family are no larger ones with masked weights, so that each runs by itself."""
        return True

    @property
    def key(self) -> str:
        """The kind and every hyper-parameter, readable and stable. Equal keys mean equal latency under equal conditions."""
        values = ((field.name, getattr(self, field.name)) for field in fields(self))
        return f"{self.kind}({', '.join(f'{name}={_written(value)}' for name, value in values)})"

    @property
    def family(self) -> str:
        """The name under which operators of one layer share entangled weights; by default no two operators share.

        Within a family, a parameter of a smaller operator is a slice of the parameter of the same name of a larger
        operator: the first entries of the channel axes, the centre of the kernel axes.
        """
        return self.key


def _written(value: object) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)
