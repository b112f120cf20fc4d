"""The operators of cell spaces, as values: shapes and costs. Their modules are in `hwnas.modules.cells`."""

from dataclasses import dataclass
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
)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Skip(Operator):
    """The identity."""

    kind: ClassVar[str] = "skip"
    module: ClassVar[str] = "torch.nn:Identity"

    @property
    def output_shape(self) -> Shape:
        return self.input_shape

    def cost(self) -> OperatorCost:
        return OperatorCost()

    def peak_bytes(self) -> int:
        """Returns the bytes of the input, which is the output, too."""
        return self.input_bytes


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class AveragePool(Operator):
    """3x3 average pooling at stride 1, padding excluded from the average. Input (C, H, W)."""

    kind: ClassVar[str] = "average_pool"
    module: ClassVar[str] = "hwnas.modules.cells:AveragePoolModule"

    @property
    def output_shape(self) -> Shape:
        return self.input_shape

    def cost(self) -> OperatorCost:
        return OperatorCost()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ReluConv(Operator):
    """ReLU, convolution without bias, batch-norm; stride 1, 'same' padding, channels unchanged. Input (C, H, W)."""

    kind: ClassVar[str] = "relu_conv"
    module: ClassVar[str] = "hwnas.modules.cells:ReluConvModule"

    kernel: int

    def __post_init__(self) -> None:
        require_odd(self.key, self.kernel)

    @property
    def output_shape(self) -> Shape:
        return self.input_shape

    def cost(self) -> OperatorCost:
        channels, height, width = self.input_shape
        return conv_cost(channels, channels, self.kernel, (height, width)) + batch_norm_cost(channels)

    @property
    def family(self) -> str:
        return "relu_conv"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Reduction(Operator):
    """Residual block that halves the image and doubles the channels. Input (C, H, W), H and W even.

    The main path is twice ReLU, 3x3 convolution, batch-norm; the shortcut is 2x2 average pooling and a 1x1 convolution.
    """

    kind: ClassVar[str] = "reduction"
    module: ClassVar[str] = "hwnas.modules.cells:ReductionModule"

    @property
    def output_shape(self) -> Shape:
        channels, height, width = self.input_shape
        return (2 * channels, height // 2, width // 2)

    def cost(self) -> OperatorCost:
        channels = self.input_shape[0]
        out_channels, *out_hw = self.output_shape
        out = (out_hw[0], out_hw[1])
        cost = conv_cost(channels, out_channels, 3, out) + conv_cost(out_channels, out_channels, 3, out)
        return cost + conv_cost(channels, out_channels, 1, out) + batch_norm_cost(2 * out_channels)

    def peak_bytes(self) -> int:
        """Returns the peak, at the first convolution: the input (the pooling reads it later), its ReLU, and the output."""
        return 2 * self.input_bytes + self.output_bytes


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class NormClassifier(Operator):
    """Batch-norm, ReLU, global average pooling, linear classifier. Input (C, H, W)."""

    kind: ClassVar[str] = "norm_classifier"
    module: ClassVar[str] = "hwnas.modules.cells:NormClassifierModule"

    classes: int

    @property
    def output_shape(self) -> Shape:
        return (self.classes,)

    def cost(self) -> OperatorCost:
        return batch_norm_cost(self.input_shape[0]) + linear_cost(self.input_shape[0], self.classes)

    def peak_bytes(self) -> int:
        """Returns the larger need of batch-norm and linear layer."""
        return max(2 * self.input_bytes, float_bytes(self.input_shape[:1]) + self.output_bytes)
