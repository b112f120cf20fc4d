"""Wiring: how layers are joined into a network. Values only; `ops.assemble` and the supernet interpret them."""

from collections.abc import Iterator
from dataclasses import dataclass

from hwnas.core.layer import Layer


@dataclass(frozen=True, slots=True)
class Stage:
    """Blocks in sequence, of which a depth choice (options: numbers of blocks) keeps the first ones."""

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
