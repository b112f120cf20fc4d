"""Vision transformers after AutoFormer (Chen et al. 2021, table 1): searched depth, embedding, heads and feed-forward.

Heads have a fixed size, and fewer heads are the first ones, so heads nest. Unlike AutoFormer, positions are absolute (no
relative position encoding).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from hwnas.core.choice import Choice
from hwnas.core.space import SearchSpace
from hwnas.errors import SpaceError, UnknownNameError
from hwnas.operators.transformer import Attention, FeedForward, PatchEmbedding, TokenClassifier
from hwnas.spaces.compose import Blocks, Place, compose, pick, place, stage


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """Options of the choices, and the size of a head."""

    embeddings: tuple[int, ...]
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    ratios: tuple[float, ...]
    head_size: int


PRESETS: Final = {
    "tiny": Preset(embeddings=(192, 216, 240), depths=(12, 13, 14), heads=(3, 4), ratios=(3.5, 4), head_size=64),
    # For images of about 32 px: trains in minutes on two cores.
    "small_images": Preset(embeddings=(48, 64, 80), depths=(3, 4, 5), heads=(2, 3, 4), ratios=(2, 3), head_size=16),
}


def vit(
    resolution: int = 32,
    channels: int = 3,
    classes: int = 10,
    patch: int = 0,
    preset: str = "tiny",
    embeddings: Sequence[int] = (),
    depths: Sequence[int] = (),
    heads: Sequence[int] = (),
    ratios: Sequence[float] = (),
    head_size: int = 0,
) -> SearchSpace:
    """Returns the space for square images of `resolution` pixels cut into patches (0: 4 px below 64 px, else 16 px).

    `ratios` are widths of the feed-forward layers relative to the embedding. Options that are empty or 0 come from the
    preset: `tiny` (AutoFormer-T) or `small_images`.
    """
    if preset not in PRESETS:
        raise UnknownNameError("preset of vit", preset, list(PRESETS))
    default = PRESETS[preset]
    patch = patch or (4 if resolution < 64 else 16)
    head_size = head_size or default.head_size
    if resolution % patch or min(depths or default.depths) < 1 or classes < 1:
        raise SpaceError(f"vit needs images of a multiple of {patch} px, at least one block and one class")
    embedding = Choice("embedding", tuple(embeddings) or default.embeddings)

    def block(number: int) -> tuple[Place, Place]:
        name = f"block{number}"
        attention = place(f"{name}.attention", Attention, heads=pick(*(heads or default.heads)), head_size=head_size)
        return attention, place(f"{name}.mlp", feed_forward, ratio=pick(*(ratios or default.ratios)))

    parts: list[Place | Blocks] = [
        place("patches", PatchEmbedding, patch=patch, embedding=embedding),
        stage("", tuple(depths) or default.depths, block),
        place("head", TokenClassifier, classes=classes),
    ]
    return compose("vit", (channels, resolution, resolution), classes, parts)


def feed_forward(input_shape: tuple[int, ...], ratio: float) -> FeedForward:
    """Returns a feed-forward layer that is `ratio` times as wide as the embedding."""
    return FeedForward(input_shape=input_shape, hidden=int(ratio * input_shape[-1]))
