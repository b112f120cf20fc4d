"""MobileNet space: stages of MBConv blocks with searched depth, width, kernel and expansion.

After Once-for-All (Cai et al. 2020: kernels, expansions, depths) and BigNAS (Yu et al. 2020: widths, centre-cropped
kernels). Images below 64 px have a stage table of their own with fewer strides, because the table for large images would
shrink them to one pixel.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from hwnas.core.choice import Choice
from hwnas.core.space import SearchSpace
from hwnas.errors import SpaceError
from hwnas.operators.conv import ConvBlock, MBConv, PoolClassifier, widened
from hwnas.operators.dense import PixelClassifier
from hwnas.spaces.compose import Blocks, Place, compose, pick, place, stage

KERNELS: Final = (3, 5, 7)
EXPANSIONS: Final = (3, 4, 6)


@dataclass(frozen=True, slots=True)
class StagePlan:
    """The width options of a stage (before the width multiplier), the stride of its first block, and the depth options."""

    widths: tuple[int, int]
    stride: int
    depths: tuple[int, ...]


SMALL_IMAGES: Final = (
    StagePlan((12, 16), 1, (1, 2, 3)),
    StagePlan((20, 28), 2, (1, 2, 3)),
    StagePlan((40, 56), 2, (1, 2, 3)),
    StagePlan((72, 96), 1, (1, 2)),
)
LARGE_IMAGES: Final = (
    StagePlan((16, 24), 2, (1, 2, 3)),
    StagePlan((32, 40), 2, (2, 3, 4)),
    StagePlan((64, 80), 2, (2, 3, 4)),
    StagePlan((96, 112), 1, (2, 3, 4)),
    StagePlan((160, 192), 2, (2, 3, 4)),
)
SQUEEZE_EXCITE: Final = ("none", "all", "choice")
HEADS: Final = ("classifier", "dense")


def mobilenet(
    resolution: int = 32,
    channels: int = 3,
    classes: int = 10,
    width: float = 1.0,
    squeeze_excite: str = "none",
    head: str = "classifier",
) -> SearchSpace:
    """Returns the space for square images of `resolution` pixels.

    `width` multiplies every number of channels; `squeeze_excite` is `none`, `all` or `choice` (one choice per stage). `head` is
    `classifier`, one prediction per image, or `dense`, one prediction per pixel: outputs (classes, resolution, resolution).
    """
    for name, value in (("resolution", resolution), ("channels", channels), ("classes", classes)):
        if not isinstance(value, int):
            raise SpaceError(f"mobilenet's {name} is {value!r}, not a whole number")
    if resolution < 16:
        raise SpaceError(f"mobilenet needs images of at least 16 px, not {resolution}")
    if squeeze_excite not in SQUEEZE_EXCITE:
        raise SpaceError(f"squeeze_excite is {squeeze_excite!r}; known: {', '.join(SQUEEZE_EXCITE)}")
    if head not in HEADS:
        raise SpaceError(f"head is {head!r}; known: {', '.join(HEADS)}")
    if not 0 < width < math.inf or classes < 1 or channels < 1:
        raise SpaceError(f"mobilenet cannot have width {width}, {classes} classes, {channels} channels")
    plans: tuple[StagePlan, ...] = SMALL_IMAGES if resolution < 64 else LARGE_IMAGES
    if head == "dense":
        plans = _finer(plans)
    gate = {"none": False, "all": True}.get(squeeze_excite)
    parts: list[Place | Blocks] = [place("stem", ConvBlock, channels=widened(16, width), stride=2)]
    parts += [_stage(f"stage{number}", plan, width, gate) for number, plan in enumerate(plans, start=1)]
    features = widened(2 * plans[-1].widths[-1], width)
    if head == "dense":
        parts.append(_dense(plans, resolution, features, classes))
    else:
        parts.append(place("head", PoolClassifier, features=features, classes=classes))
    return compose("mobilenet", (channels, resolution, resolution), classes, parts)


def _finer(plans: Sequence[StagePlan]) -> tuple[StagePlan, ...]:
    """Returns the plans with stride 1 in the last stage that has stride 2.

    A dense head needs positions: the smallest network has mIoU 0.57 on `digits-canvas` with it, 0.13 without
    (`scripts/bench/learnable.py`, docs/log.md). DeepLab and LR-ASPP do the same.
    """
    last = max(number for number, plan in enumerate(plans) if plan.stride > 1)
    return (*plans[:last], replace(plans[last], stride=1), *plans[last + 1 :])


def _dense(plans: Sequence[StagePlan], resolution: int, features: int, classes: int) -> Place:
    """Returns the place of the dense head. Raises SpaceError where strides do not divide the resolution."""
    scale = 2 * math.prod(plan.stride for plan in plans)
    if resolution % scale:
        raise SpaceError(f"mobilenet's dense head needs images of a multiple of {scale} px, not {resolution}")
    return place("head", PixelClassifier, features=features, classes=classes, scale=scale)


def _stage(name: str, plan: StagePlan, width: float, gate: bool | None) -> Blocks:
    """Returns a stage. `gate`: squeeze-excite in all blocks (True), in no block (False), or a choice of the stage (None)."""
    widths = Choice(f"{name}.width", tuple(dict.fromkeys(widened(channels, width) for channels in plan.widths)))
    squeeze_excite = Choice(f"{name}.squeeze_excite", (False, True)) if gate is None else gate

    def block(number: int) -> Place:
        return place(
            f"{name}.block{number}",
            MBConv,
            channels=widths,
            squeeze_excite=squeeze_excite,
            kernel=pick(*KERNELS),
            expansion=pick(*EXPANSIONS),
            stride=plan.stride if number == 1 else 1,
            shortcut=number > 1,
        )

    return stage(name, plan.depths, block)
