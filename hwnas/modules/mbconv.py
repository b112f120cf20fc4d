"""Inverted residual block with optional squeeze-excite. Shapes: N batch, C channels, then rows and columns, or length."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hwnas.core.operator import Shape
from hwnas.modules.axes import batch_norm, conv, mean
from hwnas.operators.conv import MBConv


class SqueezeExcite(nn.Module):
    """Scales each channel by a gate computed from the channels' means (Hu et al. 2018, section 3)."""

    def __init__(self, input_shape: Shape, squeezed: int) -> None:
        super().__init__()
        channels = input_shape[0]
        self.reduce = conv(input_shape)(channels, squeezed, 1)
        self.expand = conv(input_shape)(squeezed, channels, 1)

    def forward(self, x_NC: Tensor) -> Tensor:
        squeezed_NS = torch.relu(self.reduce(mean(x_NC, keepdim=True)))
        gate_NC: Tensor = F.hardsigmoid(self.expand(squeezed_NS))
        return x_NC * gate_NC


def shuffled(x_NC: Tensor, groups: int) -> Tensor:
    """Returns the channel shuffle of ShuffleNet; torch's own operator cannot be exported to ONNX."""
    batch, channels, *sizes = x_NC.shape
    return x_NC.reshape(batch, groups, channels // groups, *sizes).transpose(1, 2).reshape(x_NC.shape)


class MBConvModule(nn.Module):
    """1x1 expansion, depthwise convolution, squeeze-excite, 1x1 projection."""

    def __init__(self, operator: MBConv) -> None:
        super().__init__()
        in_channels, *sizes = operator.input_shape
        hidden, kernel = operator.hidden, operator.kernel
        conv_nd, norm = conv(operator.input_shape), batch_norm(operator.input_shape)
        if operator.expands:
            self.expand = conv_nd(in_channels, hidden, 1, groups=operator.groups, bias=False)
            self.expand_norm = norm(hidden)
        self.depthwise = conv_nd(hidden, hidden, kernel, operator.stride, kernel // 2, groups=hidden, bias=False)
        self.depthwise_norm = norm(hidden)
        if operator.squeeze_excite:
            self.squeeze_excite = SqueezeExcite((hidden, *sizes), operator.squeezed)
        self.project = conv_nd(hidden, operator.channels, 1, groups=operator.groups, bias=False)
        self.project_norm = norm(operator.channels)
        self.operator = operator

    def forward(self, x_NC: Tensor) -> Tensor:
        y_NC: Tensor = x_NC
        if self.operator.expands:
            y_NC = torch.relu_(self.expand_norm(self.expand(y_NC)))
        if self.operator.groups > 1:
            y_NC = shuffled(y_NC, self.operator.groups)
        y_NC = torch.relu_(self.depthwise_norm(self.depthwise(y_NC)))
        if self.operator.squeeze_excite:
            y_NC = self.squeeze_excite(y_NC)
        y_NC = self.project_norm(self.project(y_NC))
        return x_NC + y_NC if self.operator.shortcut else y_NC
