"""Inverted residual block with optional squeeze-excite."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hwnas.operators.conv import MBConv


class SqueezeExcite(nn.Module):
    """Scales each channel by a gate computed from the channels' means (Hu et al. 2018, section 3)."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, squeezed, 1)
        self.expand = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        squeezed_NS11 = torch.relu(self.reduce(x_NCHW.mean((2, 3), keepdim=True)))
        gate_NC11: Tensor = F.hardsigmoid(self.expand(squeezed_NS11))
        return x_NCHW * gate_NC11


def shuffled(x_NCHW: Tensor, groups: int) -> Tensor:
    """Returns the channel shuffle of ShuffleNet; torch's own operator cannot be exported to ONNX."""
    batch, channels, height, width = x_NCHW.shape
    return x_NCHW.reshape(batch, groups, channels // groups, height, width).transpose(1, 2).reshape(x_NCHW.shape)


class MBConvModule(nn.Module):
    """1x1 expansion, depthwise convolution, squeeze-excite, 1x1 projection."""

    def __init__(self, operator: MBConv) -> None:
        super().__init__()
        in_channels, hidden, kernel = operator.input_shape[0], operator.hidden, operator.kernel
        if operator.expands:
            self.expand = nn.Conv2d(in_channels, hidden, 1, groups=operator.groups, bias=False)
            self.expand_norm = nn.BatchNorm2d(hidden)
        self.depthwise = nn.Conv2d(hidden, hidden, kernel, operator.stride, kernel // 2, groups=hidden, bias=False)
        self.depthwise_norm = nn.BatchNorm2d(hidden)
        if operator.squeeze_excite:
            self.squeeze_excite = SqueezeExcite(hidden, operator.squeezed)
        self.project = nn.Conv2d(hidden, operator.channels, 1, groups=operator.groups, bias=False)
        self.project_norm = nn.BatchNorm2d(operator.channels)
        self.operator = operator

    def forward(self, x_NCHW: Tensor) -> Tensor:
        y_NCHW: Tensor = x_NCHW
        if self.operator.expands:
            y_NCHW = torch.relu_(self.expand_norm(self.expand(y_NCHW)))
        if self.operator.groups > 1:
            y_NCHW = shuffled(y_NCHW, self.operator.groups)
        y_NCHW = torch.relu_(self.depthwise_norm(self.depthwise(y_NCHW)))
        if self.operator.squeeze_excite:
            y_NCHW = self.squeeze_excite(y_NCHW)
        y_NCHW = self.project_norm(self.project(y_NCHW))
        return x_NCHW + y_NCHW if self.operator.shortcut else y_NCHW
