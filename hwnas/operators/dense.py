"""Operators that give one prediction per pixel, as values: shapes and costs. Their modules are in `hwnas.modules.dense`."""

from dataclasses import dataclass
from typing import ClassVar, final

from hwnas.core.operator import Operator, OperatorCost, Shape, batch_norm_cost, conv_cost, float_bytes


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class PixelClassifier(Operator):
    """1x1 convolution to `features`, batch-norm, ReLU, 1x1 convolution to classes x scale x scale channels, which are
    rearranged to `scale` times as many rows and columns. Input (C, H, W), output (K, scale x H, scale x W).

    The rearrangement is the sub-pixel convolution of Shi et al. (2016, section 3.2), used for segmentation as dense
    upsampling convolution by Wang et al. (2018, section 3.1): each position predicts its `scale` x `scale` pixels.
    """

    kind: ClassVar[str] = "pixel_classifier"
    module: ClassVar[str] = "hwnas.modules.dense:PixelClassifierModule"

    features: int
    classes: int
    scale: int

    @property
    def output_shape(self) -> Shape:
        _, height, width = self.input_shape
        return (self.classes, self.scale * height, self.scale * width)

    @property
    def predictions(self) -> int:
        """Returns the channels before the rearrangement."""
        return self.classes * self.scale**2

    def cost(self) -> OperatorCost:
        in_channels, height, width = self.input_shape
        convolution = conv_cost(in_channels, self.features, 1, (height, width)) + batch_norm_cost(self.features)
        return convolution + conv_cost(self.features, self.predictions, 1, (height, width), bias=True)

    def peak_bytes(self) -> int:
        """Returns the bytes at the first convolution, at batch-norm, at the second convolution or at the rearrangement."""
        _, height, width = self.input_shape
        features = float_bytes((self.features, height, width))
        rearranged = 2 * self.output_bytes if self.scale > 1 else 0
        return max(self.input_bytes + features, 2 * features, features + self.output_bytes, rearranged)

    @property
    def family(self) -> str:
        return f"pixel_classifier-x{self.scale}"
