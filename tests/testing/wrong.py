"""Deliberately wrong operators, each wrong in one way, and a space for each: what suites must refuse."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from hwnas.core.operator import Operator, OperatorCost, Shape, batch_norm_cost, conv_cost
from hwnas.core.space import SearchSpace
from hwnas.operators.conv import ConvBlock, PoolClassifier
from hwnas.spaces.compose import compose, pick, place


@dataclass(frozen=True, slots=True, kw_only=True)
class Conv(Operator):
    """A convolution with batch-norm and as many channels as come in. Nothing is wrong with it."""

    kind: ClassVar[str] = "right"
    module: ClassVar[str] = f"{__name__}:ConvModule"
    extra_padding: ClassVar[int] = 0

    kernel: int = 3

    @property
    def output_shape(self) -> Shape:
        return self.input_shape

    def cost(self) -> OperatorCost:
        channels, height, width = self.input_shape
        return conv_cost(channels, channels, self.kernel, (height, width)) + batch_norm_cost(channels)

    @property
    def family(self) -> str:
        return self.kind


class ConvModule(nn.Module):
    def __init__(self, operator: Conv) -> None:
        super().__init__()
        channels, padding = operator.input_shape[0], operator.kernel // 2 + operator.extra_padding
        self.conv = nn.Conv2d(channels, channels, operator.kernel, padding=padding, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.kernel = operator.kernel

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return self.norm(self.conv(x_NCHW))


@dataclass(frozen=True, slots=True, kw_only=True)
class OneRowMore(Conv):
    """Declares an output with one row too many."""

    kind: ClassVar[str] = "one-row-more"

    @property
    def output_shape(self) -> Shape:
        channels, height, width = self.input_shape
        return (channels, height + 1, width)


@dataclass(frozen=True, slots=True, kw_only=True)
class Free(Conv):
    """Declares no costs."""

    kind: ClassVar[str] = "free"

    def cost(self) -> OperatorCost:
        return OperatorCost(0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Weightless(Conv):
    """Declares its FLOPs, and statistics that it does not have."""

    kind: ClassVar[str] = "weightless"

    def cost(self) -> OperatorCost:
        right = Conv(input_shape=self.input_shape, kernel=self.kernel).cost()
        return OperatorCost(right.flops, right.params, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class PadsTooMuch(Conv):
    """Its module pads by one more than its shape says."""

    kind: ClassVar[str] = "pads-too-much"
    extra_padding: ClassVar[int] = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldsMore(Conv):
    """Its module keeps the input until the end, and it does not say so."""

    kind: ClassVar[str] = "holds-more"
    module: ClassVar[str] = f"{__name__}:HoldingModule"


class HoldingModule(ConvModule):
    def forward(self, x_NCHW: Tensor) -> Tensor:
        return x_NCHW + super().forward(x_NCHW)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scales(Conv):
    """Divides by its kernel: the smaller kernel is no slice of the larger one, though their family says so."""

    kind: ClassVar[str] = "scales"
    module: ClassVar[str] = f"{__name__}:ScalingModule"


class ScalingModule(ConvModule):
    def forward(self, x_NCHW: Tensor) -> Tensor:
        return self.norm(self.conv(x_NCHW / self.kernel))

    def extra_repr(self) -> str:
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transposed(Operator):
    """Adds the sum of weights whose two shapes are no slices of each other."""

    kind: ClassVar[str] = "transposed"
    module: ClassVar[str] = f"{__name__}:TransposedModule"

    wide: bool

    @property
    def output_shape(self) -> Shape:
        return self.input_shape

    def cost(self) -> OperatorCost:
        return OperatorCost(0, 24)

    @property
    def family(self) -> str:
        return "transposed"


class TransposedModule(nn.Module):
    def __init__(self, operator: Transposed) -> None:
        super().__init__()
        sizes = (6, 4) if operator.wide else (4, 6)
        self.weight = nn.Parameter(torch.randn(sizes))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return x_NCHW + self.weight.sum()


@dataclass(frozen=True, slots=True, kw_only=True)
class Even(Conv):
    """A kernel of 2 beside one of 3: it has no centre in the larger one, so its padding does not nest."""

    kind: ClassVar[str] = "even"
    module: ClassVar[str] = f"{__name__}:EvenModule"


class EvenModule(ConvModule):
    def forward(self, x_NCHW: Tensor) -> Tensor:
        _, _, height, width = x_NCHW.shape
        return self.norm(self.conv(x_NCHW)[:, :, :height, :width])


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken(Conv):
    """Its module raises an error."""

    kind: ClassVar[str] = "broken"
    module: ClassVar[str] = f"{__name__}:BrokenModule"


class BrokenModule(ConvModule):
    def forward(self, x_NCHW: Tensor) -> Tensor:
        raise RuntimeError("out of paint")


def around(operator: type[Operator], **parameters: object) -> SearchSpace:
    """A space whose place `body` has the operator."""
    parts = [
        place("stem", ConvBlock, channels=8, stride=2),
        place("body", operator, **parameters),
        place("head", PoolClassifier, features=8, classes=3),
    ]
    return compose("wrong", (3, 8, 8), 3, parts)


def free() -> SearchSpace:
    return around(Free, kernel=pick(3, 5))


def right() -> SearchSpace:
    return around(Conv, kernel=pick(3, 5))
