"""The convolutional macro space of TangleNAS (Sukthanker et al. 2023): four convolutions of searched width and kernel.

The fifth convolution and the linear layers are fixed. Every layer has a bias; there is no batch-norm. 6,561 networks.
"""

from typing import Final

from hwnas.core.space import SearchSpace
from hwnas.errors import SpaceError
from hwnas.operators.conv import FlattenClassifier, PlainConv
from hwnas.spaces.compose import compose, pick, place

WIDTHS: Final = ((8, 16, 32), (16, 32, 64), (32, 64, 128), (64, 128, 256))
KERNELS: Final = (3, 5, 7)


def conv_macro(
    resolution: int = 32, channels: int = 3, classes: int = 10, features: int = 256, dropout: float = 0.5
) -> SearchSpace:
    """Returns the space for square images; `features` is the width of the fixed convolution and the first linear layer."""
    if resolution < 16 or features < 16 or classes < 1 or not 0 <= dropout < 1:
        raise SpaceError("conv_macro needs images of at least 16 px, 16 features, one class and a dropout below 1")
    parts = [
        place(
            f"conv{number}",
            PlainConv,
            channels=pick(*widths),
            kernel=pick(*KERNELS),
            dropout=dropout if number == 3 else 0.0,
            pool=number in (2, 3),
        )
        for number, widths in enumerate(WIDTHS, start=1)
    ]
    hidden = (features, features // 2, features // 4)
    head = place("head", FlattenClassifier, features=features, hidden=hidden, classes=classes, dropout=dropout)
    return compose("conv_macro", (channels, resolution, resolution), classes, [*parts, head])
