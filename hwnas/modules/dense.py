"""Modules that give one prediction per pixel. Shapes: N batch, C channels, H rows, W columns, K classes, S scale."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hwnas.operators.dense import PixelClassifier


class PixelClassifierModule(nn.Module):
    """1x1 convolution, batch-norm, ReLU, 1x1 convolution, channels rearranged to pixels."""

    def __init__(self, operator: PixelClassifier) -> None:
        super().__init__()
        self.conv = nn.Conv2d(operator.input_shape[0], operator.features, 1, bias=False)
        self.norm = nn.BatchNorm2d(operator.features)
        self.classify = nn.Conv2d(operator.features, operator.predictions, 1)
        self.scale = operator.scale

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Returns logits (N, K, S x H, S x W)."""
        logits_NPHW: Tensor = self.classify(torch.relu_(self.norm(self.conv(x_NCHW))))
        return F.pixel_shuffle(logits_NPHW, self.scale) if self.scale > 1 else logits_NPHW
