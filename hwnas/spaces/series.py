"""Series space: stages of one-dimensional MBConv blocks, for sensors, time series and audio as it is recorded.

After TC-ResNet (Choi et al. 2019: convolutions along time alone, for spotting keywords on small devices) and M5 (Dai et al.
2017: a wide, strided first kernel takes the place of a spectrogram). Strides grow with the length, so that the last stage
has 5 to 64 positions whether a series has 24 samples or a second of audio.
"""

import math
from typing import Final

from hwnas.core.choice import Choice
from hwnas.core.space import SearchSpace
from hwnas.errors import SpaceError
from hwnas.operators.conv import ConvBlock, MBConv, PoolClassifier, widened
from hwnas.spaces.compose import Blocks, Place, compose, pick, place, stage

KERNELS: Final = (3, 7, 15)
EXPANSIONS: Final = (2, 4)
DEPTHS: Final = (1, 2, 3)
STRIDES: Final = (1, 2, 4, 8, 16)
MOST_POSITIONS: Final = 64
SHORTEST: Final = 16
# The width options of every stage, before the width multiplier.
STAGES: Final = ((16, 24), (24, 32), (32, 48))


def series(length: int = 128, channels: int = 1, classes: int = 2, width: float = 1.0) -> SearchSpace:
    """Returns the space for series of `length` samples in `channels` channels: inputs (channels, length).

    `width` multiplies every number of channels but the input's.
    """
    for name, value in (("length", length), ("channels", channels), ("classes", classes)):
        if not isinstance(value, int):
            raise SpaceError(f"series' {name} is {value!r}, not a whole number")
    if length < SHORTEST:
        raise SpaceError(f"series needs at least {SHORTEST} samples, not {length}")
    if not 0 < width < math.inf or classes < 1 or channels < 1:
        raise SpaceError(f"series cannot have width {width}, {classes} classes, {channels} channels")
    stride = stride_of(length)
    kernels = tuple(scale * stride + 1 for scale in (2, 4, 8))
    stem = place("stem", ConvBlock, channels=widened(16, width), kernel=pick(*kernels), stride=stride)
    stages = [_stage(f"stage{number}", widths, width, stride) for number, widths in enumerate(STAGES, start=1)]
    features = widened(2 * STAGES[-1][-1], width)
    head = place("head", PoolClassifier, features=features, classes=classes)
    return compose("series", (channels, length), classes, [stem, *stages, head])


def stride_of(length: int) -> int:
    """Returns the smallest stride, of the stem and of every stage, with which the last stage has at most 64 positions.

    >>> stride_of(24), stride_of(150), stride_of(16_000)
    (1, 2, 4)
    """
    return next((stride for stride in STRIDES if length <= MOST_POSITIONS * stride ** (1 + len(STAGES))), STRIDES[-1])


def _stage(name: str, options: tuple[int, ...], width: float, stride: int) -> Blocks:
    widths = Choice(f"{name}.width", tuple(dict.fromkeys(widened(channels, width) for channels in options)))

    def block(number: int) -> Place:
        return place(
            f"{name}.block{number}",
            MBConv,
            channels=widths,
            kernel=pick(*KERNELS),
            expansion=pick(*EXPANSIONS),
            stride=stride if number == 1 else 1,
            shortcut=number > 1,
        )

    return stage(name, DEPTHS, block)
