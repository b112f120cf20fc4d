"""Modules of cell spaces, as NAS-Bench-201 builds them (Dong and Yang 2020, section 2.1 and its code)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hwnas.operators.cells import AveragePool, NormClassifier, Reduction, ReluConv


class AveragePoolModule(nn.Module):
    """3x3 average pooling."""

    def __init__(self, operator: AveragePool) -> None:
        super().__init__()

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return F.avg_pool2d(x_NCHW, 3, stride=1, padding=1, count_include_pad=False)


class ReluConvModule(nn.Module):
    """ReLU (not in place, because other edges read the same node), convolution, batch-norm."""

    def __init__(self, operator: ReluConv) -> None:
        super().__init__()
        channels, kernel = operator.input_shape[0], operator.kernel
        self.conv = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return self.norm(self.conv(torch.relu(x_NCHW)))  # type: ignore[no-any-return]


class ReductionModule(nn.Module):
    """The basic block of ResNet at stride 2."""

    def __init__(self, operator: Reduction) -> None:
        super().__init__()
        before, after = operator.input_shape[0], operator.output_shape[0]
        self.first = nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(after)
        self.second = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(after)
        self.shortcut = nn.Conv2d(before, after, 1, bias=False)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        y_NCHW = self.first_norm(self.first(torch.relu(x_NCHW)))
        y_NCHW = self.second_norm(self.second(torch.relu(y_NCHW)))
        return self.shortcut(F.avg_pool2d(x_NCHW, 2)) + y_NCHW  # type: ignore[no-any-return]


class NormClassifierModule(nn.Module):
    """Batch-norm, ReLU, pooling, linear."""

    def __init__(self, operator: NormClassifier) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(operator.input_shape[0])
        self.linear = nn.Linear(operator.input_shape[0], operator.classes)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return self.linear(torch.relu_(self.norm(x_NCHW)).mean((2, 3)))  # type: ignore[no-any-return]
