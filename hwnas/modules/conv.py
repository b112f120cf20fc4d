"""Convolution blocks, classifiers, and scaling of images. Shapes: N batch, C channels, `...` rows and columns, or length."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hwnas.modules.axes import batch_norm, conv, mean
from hwnas.operators.conv import ConvBlock, FlattenClassifier, PlainConv, PoolClassifier, Resize


class ResizeModule(nn.Module):
    """Bilinear interpolation."""

    def __init__(self, operator: Resize) -> None:
        super().__init__()
        self.resolution = operator.resolution

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return F.interpolate(x_NCHW, (self.resolution, self.resolution), mode="bilinear")


class ConvBlockModule(nn.Module):
    """Convolution, batch-norm, optional ReLU."""

    def __init__(self, operator: ConvBlock) -> None:
        super().__init__()
        shape, padding = operator.input_shape, operator.kernel // 2
        self.conv = conv(shape)(shape[0], operator.channels, operator.kernel, operator.stride, padding, bias=False)
        self.norm = batch_norm(shape)(operator.channels)
        self.relu = operator.relu

    def forward(self, x_NC: Tensor) -> Tensor:
        y_NC: Tensor = self.norm(self.conv(x_NC))
        return torch.relu_(y_NC) if self.relu else y_NC


class PoolClassifierModule(nn.Module):
    """1x1 convolution, batch-norm, ReLU, global average pooling, linear."""

    def __init__(self, operator: PoolClassifier) -> None:
        super().__init__()
        shape = operator.input_shape
        self.conv = conv(shape)(shape[0], operator.features, 1, bias=False)
        self.norm = batch_norm(shape)(operator.features)
        self.linear = nn.Linear(operator.features, operator.classes)

    def forward(self, x_NC: Tensor) -> Tensor:
        return self.linear(mean(torch.relu_(self.norm(self.conv(x_NC)))))  # type: ignore[no-any-return]


class PlainConvModule(nn.Module):
    """Convolution, ReLU, dropout, max-pooling."""

    def __init__(self, operator: PlainConv) -> None:
        super().__init__()
        self.conv = nn.Conv2d(operator.input_shape[0], operator.channels, operator.kernel, padding=operator.kernel // 2)
        self.operator = operator

    def forward(self, x_NCHW: Tensor) -> Tensor:
        y_NCHW = torch.relu_(self.conv(x_NCHW))
        if self.operator.dropout:
            y_NCHW = F.dropout2d(y_NCHW, self.operator.dropout, self.training)
        return F.max_pool2d(y_NCHW, 2) if self.operator.pool else y_NCHW


class FlattenClassifierModule(nn.Module):
    """Convolution, dropout, linear layers."""

    def __init__(self, operator: FlattenClassifier) -> None:
        super().__init__()
        self.conv = nn.Conv2d(operator.input_shape[0], operator.features, 7, padding=2)
        self.linears = nn.ModuleList(nn.Linear(before, after) for before, after in pairwise(operator.widths))
        self.dropout = operator.dropout

    def forward(self, x_NCHW: Tensor) -> Tensor:
        y_NCHW = F.dropout2d(self.conv(x_NCHW), self.dropout, self.training)
        features_NF = y_NCHW.flatten(1)
        for linear in self.linears[:-1]:
            features_NF = torch.relu(linear(features_NF))
        return self.linears[-1](features_NF)  # type: ignore[no-any-return]
