"""Convolution blocks: stem and classifier."""

import torch
from torch import Tensor, nn

from hwnas.spaces import blocks


class ConvBlock(nn.Module):
    """Convolution, batch-norm, ReLU."""

    def __init__(self, operator: blocks.ConvBlock) -> None:
        super().__init__()
        in_channels = operator.input_shape[0]
        padding = operator.kernel // 2
        self.conv = nn.Conv2d(in_channels, operator.channels, operator.kernel, operator.stride, padding, bias=False)
        self.norm = nn.BatchNorm2d(operator.channels)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return torch.relu_(self.norm(self.conv(x_NCHW)))


class PoolClassifier(nn.Module):
    """1x1 convolution, batch-norm, ReLU, global average pooling, linear."""

    def __init__(self, operator: blocks.PoolClassifier) -> None:
        super().__init__()
        self.conv = nn.Conv2d(operator.input_shape[0], operator.features, 1, bias=False)
        self.norm = nn.BatchNorm2d(operator.features)
        self.linear = nn.Linear(operator.features, operator.classes)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        features_NCHW = torch.relu_(self.norm(self.conv(x_NCHW)))
        # mean, not adaptive pooling: one ONNX node whatever the size.
        return self.linear(features_NCHW.mean((2, 3)))  # type: ignore[no-any-return]
