"""MobileNet space: stages of MBConv blocks with searched depth, width, kernel and expansion.

After Once-for-All (Cai et al. 2020: kernels, expansions, depths) and BigNAS (Yu et al. 2020: widths, centre-cropped
kernels). Stage tables differ below 64 px, where a network for large images would have shrunk its input to a dot.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

from hwnas.core.choice import Choice, only_if
from hwnas.core.layer import Layer, Options
from hwnas.core.operator import Operator, strided
from hwnas.core.space import SearchSpace
from hwnas.core.wiring import Chain, Stage
from hwnas.errors import SpaceError
from hwnas.spaces.blocks import ConvBlock, MBConv, PoolClassifier

KERNELS: Final = (3, 5, 7)
EXPANSIONS: Final = (3, 4, 6)


@dataclass(frozen=True, slots=True)
class StagePlan:
    """The stage's width options (before the width multiplier), stride of its first block, and depth options."""

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


def mobilenet(
    resolution: int = 32, channels: int = 3, classes: int = 10, width: float = 1.0, squeeze_excite: str = "none"
) -> SearchSpace:
    """The space for square images of `resolution` pixels.

    `width` multiplies every width; `squeeze_excite` is `none`, `all` or `choice` (per stage).
    """
    for name, value in (("resolution", resolution), ("channels", channels), ("classes", classes)):
        if not isinstance(value, int):
            raise SpaceError(f"mobilenet's {name} is {value!r}, not a whole number")
    if resolution < 16:
        raise SpaceError(f"mobilenet needs images of at least 16 px, not {resolution}")
    if squeeze_excite not in SQUEEZE_EXCITE:
        raise SpaceError(f"squeeze_excite is {squeeze_excite!r}; known: {', '.join(SQUEEZE_EXCITE)}")
    if not 0 < width < math.inf or classes < 2 or channels < 1:
        raise SpaceError(f"mobilenet cannot have width {width}, {classes} classes, {channels} channels")
    plans = SMALL_IMAGES if resolution < 64 else LARGE_IMAGES
    stem = ConvBlock(
        input_shape=(channels, resolution, resolution),
        channels=_rounded(16 * width),
        stride=2,
    )
    choices: list[Choice] = []
    parts: list[Layer | Stage] = [Layer("stem", (), partial(_always, stem))]
    incoming: str | int = stem.channels  # a width, or the name of the choice that decides it
    size = stem.output_shape[1]
    for number, plan in enumerate(plans, start=1):
        stage = f"stage{number}"
        choices += _stage_choices(stage, plan, width, squeeze_excite)
        parts.append(_stage(stage, plan, incoming, size, squeeze_excite))
        incoming, size = f"{stage}.width", strided(size, plan.stride)
    features = _rounded(2 * plans[-1].widths[-1] * width)
    parts.append(Layer("head", (f"{stage}.width",), partial(_head, f"{stage}.width", size, features, classes)))
    return SearchSpace("mobilenet", tuple(choices), Chain(tuple(parts)), stem.input_shape, classes)


def _rounded(channels: float) -> int:
    """To a multiple of 4, the vector width of the smallest targets."""
    return max(4, round(channels / 4) * 4)


def _stage_choices(stage: str, plan: StagePlan, width: float, squeeze_excite: str) -> Iterator[Choice]:
    yield Choice(f"{stage}.depth", plan.depths)
    yield Choice(f"{stage}.width", tuple(dict.fromkeys(_rounded(width * channels) for channels in plan.widths)))
    if squeeze_excite == "choice":
        yield Choice(f"{stage}.squeeze_excite", (False, True))
    for number in range(1, max(plan.depths) + 1):
        depths = tuple(depth for depth in plan.depths if depth >= number)
        condition = only_if({f"{stage}.depth": depths}) if depths != plan.depths else ()
        yield Choice(f"{stage}.block{number}.kernel", KERNELS, condition)
        yield Choice(f"{stage}.block{number}.expansion", EXPANSIONS, condition)


def _stage(stage: str, plan: StagePlan, incoming: str | int, size: int, squeeze_excite: str) -> Stage:
    blocks = []
    for number in range(1, max(plan.depths) + 1):
        scope = [f"{stage}.depth"] if number > min(plan.depths) else []
        scope += [incoming] if isinstance(incoming, str) and number == 1 else []
        scope += [f"{stage}.width"]
        scope += [f"{stage}.squeeze_excite"] if squeeze_excite == "choice" else []
        scope += [f"{stage}.block{number}.kernel", f"{stage}.block{number}.expansion"]
        make = _Block(
            stage=stage,
            number=number,
            incoming=incoming if number == 1 else f"{stage}.width",
            size=size if number == 1 else strided(size, plan.stride),
            stride=plan.stride if number == 1 else 1,
            squeeze_excite=squeeze_excite == "all",
        )
        blocks.append(Layer(f"{stage}.block{number}", tuple(scope), make))
    return Stage(stage, f"{stage}.depth", tuple(blocks))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Block:
    """What stands at one place of a stage, given the options of its scope."""

    stage: str
    number: int
    incoming: str | int
    size: int
    stride: int
    squeeze_excite: bool

    def __call__(self, options: Options) -> Operator | None:
        if self.number > int(options.get(f"{self.stage}.depth", self.number)):
            return None
        in_channels = options[self.incoming] if isinstance(self.incoming, str) else self.incoming
        return MBConv(
            input_shape=(int(in_channels), self.size, self.size),
            channels=int(options[f"{self.stage}.width"]),
            kernel=int(options[f"{self.stage}.block{self.number}.kernel"]),
            expansion=int(options[f"{self.stage}.block{self.number}.expansion"]),
            stride=self.stride,
            squeeze_excite=bool(options.get(f"{self.stage}.squeeze_excite", self.squeeze_excite)),
            shortcut=self.number > 1,
        )


def _always(operator: Operator, _: Options) -> Operator:
    return operator


def _head(width: str, size: int, features: int, classes: int, options: Options) -> Operator:
    return PoolClassifier(input_shape=(int(options[width]), size, size), features=features, classes=classes)
