"""Wiring: how layers are joined into a network. Values only: networks run `layers()` in order and leave out what is absent."""

from collections.abc import Iterator
from dataclasses import dataclass

from hwnas.core.layer import Layer


@dataclass(frozen=True, slots=True)
class Stage:
    """Blocks in sequence, of which a depth choice (options: numbers of blocks) keeps the first ones.

    The blocks themselves decide whether they stand; that it is the depth that decides is recorded for what will mix
    outputs over depths.
    """

    name: str
    depth: str
    blocks: tuple[Layer, ...]


@dataclass(frozen=True, slots=True)
class Chain:
    """Layers and stages in sequence."""

    parts: tuple[Layer | Stage, ...]

    def layers(self) -> Iterator[Layer]:
        """All layers in the order in which data passes them."""
        for part in self.parts:
            if isinstance(part, Stage):
                yield from part.blocks
            else:
                yield part
