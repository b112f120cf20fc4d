"""The parts of convolutional modules that depend on the number of axes: images (C, H, W), or series (C, L)."""

from collections.abc import Mapping
from typing import Final

from torch import Tensor, nn

from hwnas.core.operator import Shape

CONVS: Final[Mapping[int, type[nn.Conv1d | nn.Conv2d]]] = {2: nn.Conv1d, 3: nn.Conv2d}
BATCH_NORMS: Final[Mapping[int, type[nn.BatchNorm1d | nn.BatchNorm2d]]] = {2: nn.BatchNorm1d, 3: nn.BatchNorm2d}


def conv(input_shape: Shape) -> type[nn.Conv1d | nn.Conv2d]:
    """Returns torch's convolution for inputs of a shape."""
    return CONVS[len(input_shape)]


def batch_norm(input_shape: Shape) -> type[nn.BatchNorm1d | nn.BatchNorm2d]:
    """Returns torch's batch-norm for inputs of a shape."""
    return BATCH_NORMS[len(input_shape)]


def mean(x_NC: Tensor, *, keepdim: bool = False) -> Tensor:
    """Returns the mean over all positions; shape (N, C), or (N, C, 1, ...) with `keepdim`."""
    # mean, not adaptive pooling, because mean is one ONNX node for every size.
    return x_NC.mean(tuple(range(2, x_NC.dim())), keepdim)
