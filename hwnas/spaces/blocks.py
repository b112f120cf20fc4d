"""The operators of the built-in convolutional spaces, as values: shapes and costs. Their modules are in `hwnas.ops`."""

from dataclasses import dataclass
from typing import ClassVar, final

from hwnas.core.operator import Cost, Operator, Shape, batch_norm_cost, conv_cost, linear_cost, strided


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ConvBlock(Operator):
    """Convolution without bias, batch-norm, ReLU; 'same' padding. Input (C, H, W)."""

    kind: ClassVar[str] = "conv"
    module: ClassVar[str] = "hwnas.ops.conv:ConvBlock"

    channels: int
    kernel: int = 3
    stride: int = 1

    @property
    def output_shape(self) -> Shape:
        _, height, width = self.input_shape
        return (self.channels, strided(height, self.stride), strided(width, self.stride))

    def cost(self) -> Cost:
        _, *out_hw = self.output_shape
        convolution = conv_cost(self.input_shape[0], self.channels, self.kernel, (out_hw[0], out_hw[1]))
        return convolution + batch_norm_cost(self.channels)

    @property
    def family(self) -> str:
        return f"conv-s{self.stride}"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class MBConv(Operator):
    """Inverted residual block (MobileNetV2, section 3.3): 1x1 expansion, depthwise kernel, optional squeeze-excite,
    1x1 projection; batch-norm after each convolution, ReLU after the first two. Input (C, H, W).

    `shortcut` adds the input to the output; it needs equal shapes.
    """

    kind: ClassVar[str] = "mbconv"
    module: ClassVar[str] = "hwnas.ops.mbconv:MBConv"

    channels: int
    kernel: int
    expansion: int
    stride: int = 1
    squeeze_excite: bool = False
    shortcut: bool = False

    @property
    def hidden(self) -> int:
        return self.expansion * self.input_shape[0]

    @property
    def squeezed(self) -> int:
        """Width inside squeeze-excite: a quarter of the hidden width, in eights as Once-for-All has it."""
        return max(8, (self.hidden // 4 + 7) // 8 * 8)

    @property
    def output_shape(self) -> Shape:
        _, height, width = self.input_shape
        return (self.channels, strided(height, self.stride), strided(width, self.stride))

    def cost(self) -> Cost:
        in_channels, height, width = self.input_shape
        _, *out_hw = self.output_shape
        out = (out_hw[0], out_hw[1])
        cost = conv_cost(self.hidden, self.hidden, self.kernel, out, groups=self.hidden) + batch_norm_cost(self.hidden)
        if self.expansion > 1:
            cost += conv_cost(in_channels, self.hidden, 1, (height, width)) + batch_norm_cost(self.hidden)
        if self.squeeze_excite:
            cost += conv_cost(self.hidden, self.squeezed, 1, (1, 1), bias=True)
            cost += conv_cost(self.squeezed, self.hidden, 1, (1, 1), bias=True)
        return cost + conv_cost(self.hidden, self.channels, 1, out) + batch_norm_cost(self.channels)

    @property
    def family(self) -> str:
        return f"mbconv-s{self.stride}" + ("-shortcut" if self.shortcut else "")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class PoolClassifier(Operator):
    """1x1 convolution to `features`, batch-norm, ReLU, global average pooling, linear classifier. Input (C, H, W)."""

    kind: ClassVar[str] = "classifier"
    module: ClassVar[str] = "hwnas.ops.conv:PoolClassifier"

    features: int
    classes: int

    @property
    def output_shape(self) -> Shape:
        return (self.classes,)

    def cost(self) -> Cost:
        in_channels, height, width = self.input_shape
        convolution = conv_cost(in_channels, self.features, 1, (height, width)) + batch_norm_cost(self.features)
        return convolution + linear_cost(self.features, self.classes)

    @property
    def family(self) -> str:
        return "classifier"
