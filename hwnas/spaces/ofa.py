"""Once-for-All's MobileNetV3 (Cai et al. 2020): searched kernel, expansion, depth and input resolution, fixed widths.

Widths, strides and squeeze-excite are those of MobileNetV3-Large (Howard et al. 2019, table 1). The blocks differ from the
original: ReLU instead of hard-swish, and no second layer before the classifier.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from hwnas.core.choice import Choice
from hwnas.core.operator import Shape
from hwnas.core.space import SearchSpace
from hwnas.errors import SpaceError
from hwnas.operators.conv import ConvBlock, MBConv, PoolClassifier, Resize, widened
from hwnas.spaces.compose import Blocks, Place, compose, pick, place, stage

KERNELS: Final = (3, 5, 7)
EXPANSIONS: Final = (3, 4, 6)
DEPTHS: Final = (2, 3, 4)
# The resolutions that the original was trained on.
RESOLUTIONS: Final = (128, 160, 192, 224)


@dataclass(frozen=True, slots=True)
class StagePlan:
    """The width of a stage (before the width multiplier), the stride of its first block, and its squeeze-excite."""

    channels: int
    stride: int
    squeeze_excite: bool


STAGES: Final = (
    StagePlan(24, 2, False),
    StagePlan(40, 2, True),
    StagePlan(80, 2, False),
    StagePlan(112, 1, True),
    StagePlan(160, 2, True),
)


def ofa(
    resolutions: Sequence[int] = RESOLUTIONS, channels: int = 3, classes: int = 10, width: float = 1.0
) -> SearchSpace:
    """Returns the space for square images of the largest of `resolutions`; the choice `resolution` scales the images down.

    `width` multiplies every number of channels.
    """
    if not resolutions or not all(isinstance(size, int) and size >= 16 for size in resolutions):
        raise SpaceError(f"ofa needs resolutions that are whole numbers of at least 16 px, not {list(resolutions)}")
    if not 0 < width < math.inf or classes < 1 or channels < 1:
        raise SpaceError(f"ofa cannot have width {width}, {classes} classes, {channels} channels")
    first = widened(16, width)
    parts: list[Place | Blocks] = [
        place("resize", resized, resolution=Choice("resolution", tuple(resolutions))),
        place("stem", ConvBlock, channels=first, stride=2),
        place("first", MBConv, channels=first, kernel=3, expansion=1, shortcut=True),
    ]
    parts += [_stage(f"stage{number}", plan, width) for number, plan in enumerate(STAGES, start=1)]
    parts.append(place("head", PoolClassifier, features=widened(6 * STAGES[-1].channels, width), classes=classes))
    largest = max(resolutions)
    return compose("ofa", (channels, largest, largest), classes, parts)


def resized(input_shape: Shape, resolution: int) -> Resize | None:
    """Returns the operator that scales images, None where images have the resolution already."""
    return None if input_shape[1] == resolution else Resize(input_shape=input_shape, resolution=resolution)


def _stage(name: str, plan: StagePlan, width: float) -> Blocks:
    def block(number: int) -> Place:
        return place(
            f"{name}.block{number}",
            MBConv,
            channels=widened(plan.channels, width),
            kernel=pick(*KERNELS),
            expansion=pick(*EXPANSIONS),
            stride=plan.stride if number == 1 else 1,
            squeeze_excite=plan.squeeze_excite,
            shortcut=number > 1,
        )

    return stage(name, DEPTHS, block)
