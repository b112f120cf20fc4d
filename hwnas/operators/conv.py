"""The operators of the built-in convolutional spaces, as values: shapes and costs. Their modules are in `hwnas.modules`."""

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, final

from hwnas.core.operator import (
    Operator,
    OperatorCost,
    Shape,
    batch_norm_cost,
    conv_cost,
    float_bytes,
    linear_cost,
    require_odd,
    strided,
)
from hwnas.errors import SpaceError


def widened(channels: int, width: float) -> int:
    """Returns channels times a width multiplier, rounded to a multiple of 4, the vector width of the smallest targets."""
    return max(4, round(channels * width / 4) * 4)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Resize(Operator):
    """Bilinear scaling of the image to `resolution` rows and columns. Input (C, H, W)."""

    kind: ClassVar[str] = "resize"
    module: ClassVar[str] = "hwnas.modules.conv:ResizeModule"

    resolution: int

    @property
    def output_shape(self) -> Shape:
        return (self.input_shape[0], self.resolution, self.resolution)

    def cost(self) -> OperatorCost:
        return OperatorCost()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ConvBlock(Operator):
    """Convolution without bias, batch-norm, and ReLU if `relu`; 'same' padding. Input (C, H, W), or series (C, L)."""

    kind: ClassVar[str] = "conv"
    module: ClassVar[str] = "hwnas.modules.conv:ConvBlockModule"
    channels_first: ClassVar[bool] = True

    channels: int
    kernel: int = 3
    stride: int = 1
    relu: bool = True

    def __post_init__(self) -> None:
        require_odd(self.key, self.kernel)

    @property
    def output_shape(self) -> Shape:
        _, *sizes = self.input_shape
        return (self.channels, *(strided(size, self.stride) for size in sizes))

    def cost(self) -> OperatorCost:
        _, *out = self.output_shape
        convolution = conv_cost(self.input_shape[0], self.channels, self.kernel, out)
        return convolution + batch_norm_cost(self.channels)

    def peak_bytes(self) -> int:
        """Returns the larger need of convolution and batch-norm."""
        return self.output_bytes + max(self.input_bytes, self.output_bytes)

    @property
    def family(self) -> str:
        return f"conv-s{self.stride}"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class MBConv(Operator):
    """Inverted residual block (MobileNetV2, section 3.3). Input (C, H, W), or series (C, L).

    The block is 1x1 expansion, depthwise convolution, optional squeeze-excite, 1x1 projection; batch-norm follows every
    convolution, ReLU the first two. `shortcut` adds the input to the output and needs equal shapes. `groups` is that of
    the 1x1 convolutions, with a channel shuffle between them (FBNet, Wu et al. 2019, section 3.1). Expansion 1 has no 1x1
    expansion, as in MobileNetV2, unless `always_expand`.
    """

    kind: ClassVar[str] = "mbconv"
    module: ClassVar[str] = "hwnas.modules.mbconv:MBConvModule"
    channels_first: ClassVar[bool] = True

    channels: int
    kernel: int
    expansion: int
    stride: int = 1
    squeeze_excite: bool = False
    shortcut: bool = False
    groups: int = 1
    always_expand: bool = False

    def __post_init__(self) -> None:
        require_odd(self.key, self.kernel)
        if self.shortcut and self.output_shape != tuple(self.input_shape):
            raise SpaceError(
                f"{self.key}: a shortcut needs equal shapes, not {self.input_shape} and {self.output_shape}"
            )
        if self.input_shape[0] % self.groups or self.channels % self.groups:
            raise SpaceError(f"{self.key}: {self.groups} groups do not divide its channels")

    @property
    def hidden(self) -> int:
        return self.expansion * self.input_shape[0]

    @property
    def expands(self) -> bool:
        """True if the block begins with a 1x1 convolution."""
        return self.expansion > 1 or self.groups > 1 or self.always_expand

    @property
    def squeezed(self) -> int:
        """The width inside squeeze-excite: a quarter of the hidden width, rounded up to a multiple of 8 as in Once-for-All."""
        return max(8, (self.hidden // 4 + 7) // 8 * 8)

    @property
    def output_shape(self) -> Shape:
        _, *sizes = self.input_shape
        return (self.channels, *(strided(size, self.stride) for size in sizes))

    def cost(self) -> OperatorCost:
        in_channels, *sizes = self.input_shape
        _, *out = self.output_shape
        one = (1,) * len(out)
        cost = conv_cost(self.hidden, self.hidden, self.kernel, out, groups=self.hidden) + batch_norm_cost(self.hidden)
        if self.expands:
            expansion = conv_cost(in_channels, self.hidden, 1, sizes, groups=self.groups)
            cost += expansion + batch_norm_cost(self.hidden)
        if self.squeeze_excite:
            cost += conv_cost(self.hidden, self.squeezed, 1, one, bias=True)
            cost += conv_cost(self.squeezed, self.hidden, 1, one, bias=True)
        projection = conv_cost(self.hidden, self.channels, 1, out, groups=self.groups)
        return cost + projection + batch_norm_cost(self.channels)

    def peak_bytes(self) -> int:
        """Returns the largest need of all convolutions and batch-norms; a shortcut keeps the input alive throughout."""
        _, *sizes = self.input_shape
        _, *out = self.output_shape
        kept = self.input_bytes if self.shortcut else 0
        filtered = float_bytes((self.hidden, *out))
        peak = kept + max(2 * filtered, filtered + self.output_bytes, 2 * self.output_bytes)
        if self.expands:
            expanded = float_bytes((self.hidden, *sizes))
            peak = max(peak, self.input_bytes + expanded, kept + 2 * expanded, kept + expanded + filtered)
        else:
            peak = max(peak, self.input_bytes + filtered)
        if self.squeeze_excite:
            gate, squeezed = float_bytes((self.hidden,)), float_bytes((self.squeezed,))
            peak = max(peak, kept + 2 * filtered + gate, kept + filtered + 2 * squeezed)
        return peak

    @property
    def family(self) -> str:
        return f"mbconv-s{self.stride}-g{self.groups}" + ("-shortcut" if self.shortcut else "")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class PoolClassifier(Operator):
    """1x1 convolution to `features`, batch-norm, ReLU, global average pooling, linear classifier.

    Input (C, H, W), or series (C, L).
    """

    kind: ClassVar[str] = "classifier"
    module: ClassVar[str] = "hwnas.modules.conv:PoolClassifierModule"
    channels_first: ClassVar[bool] = True

    features: int
    classes: int

    @property
    def output_shape(self) -> Shape:
        return (self.classes,)

    def cost(self) -> OperatorCost:
        in_channels, *sizes = self.input_shape
        convolution = conv_cost(in_channels, self.features, 1, sizes) + batch_norm_cost(self.features)
        return convolution + linear_cost(self.features, self.classes)

    def peak_bytes(self) -> int:
        """Returns the largest need of convolution, batch-norm and linear layer."""
        _, *sizes = self.input_shape
        features, pooled = float_bytes((self.features, *sizes)), float_bytes((self.features,))
        return max(self.input_bytes + features, 2 * features, pooled + self.output_bytes)

    @property
    def family(self) -> str:
        return "classifier"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class PlainConv(Operator):
    """Convolution with bias, ReLU, optional channel-wise dropout and 2x2 max-pooling; 'same' padding. Input (C, H, W)."""

    kind: ClassVar[str] = "plain_conv"
    module: ClassVar[str] = "hwnas.modules.conv:PlainConvModule"

    channels: int
    kernel: int
    dropout: float = 0.0
    pool: bool = False

    def __post_init__(self) -> None:
        require_odd(self.key, self.kernel)

    @property
    def output_shape(self) -> Shape:
        _, height, width = self.input_shape
        return (self.channels, height // 2, width // 2) if self.pool else (self.channels, height, width)

    def cost(self) -> OperatorCost:
        in_channels, height, width = self.input_shape
        return conv_cost(in_channels, self.channels, self.kernel, (height, width), bias=True)

    def peak_bytes(self) -> int:
        """Returns the larger need of convolution and ReLU; dropout is off outside training."""
        _, height, width = self.input_shape
        convolved = float_bytes((self.channels, height, width))
        return convolved + max(self.input_bytes, convolved)

    @property
    def family(self) -> str:
        return "plain_conv"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class FlattenClassifier(Operator):
    """7x7 convolution with bias and padding 2, channel-wise dropout, flattening, linear layers. Input (C, H, W).

    `hidden` are the widths of the hidden linear layers, each followed by ReLU.
    """

    kind: ClassVar[str] = "flatten_classifier"
    module: ClassVar[str] = "hwnas.modules.conv:FlattenClassifierModule"

    features: int
    hidden: tuple[int, ...]
    classes: int
    dropout: float = 0.0

    @property
    def output_shape(self) -> Shape:
        return (self.classes,)

    @property
    def widths(self) -> tuple[int, ...]:
        """The number of inputs of every linear layer, then the number of classes."""
        _, height, width = self.input_shape
        return (self.features * (height - 2) * (width - 2), *self.hidden, self.classes)

    def cost(self) -> OperatorCost:
        in_channels, height, width = self.input_shape
        cost = conv_cost(in_channels, self.features, 7, (height - 2, width - 2), bias=True)
        for in_features, out_features in pairwise(self.widths):
            cost += linear_cost(in_features, out_features)
        return cost

    def peak_bytes(self) -> int:
        """Returns the largest need of the convolution, the linear layers and their ReLUs."""
        linears = (before + after for before, after in pairwise(self.widths))
        relus = (2 * width for width in self.hidden)
        return max(self.input_bytes + float_bytes(self.widths[:1]), *(4 * size for size in (*linears, *relus)))

    @property
    def family(self) -> str:
        return "flatten_classifier"
