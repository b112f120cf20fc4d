"""The request of what becomes elastic, as a value."""

from dataclasses import dataclass
from typing import Final, final

from hwnas.elastic.axes import Atom
from hwnas.elastic.importance import IMPORTANCES
from hwnas.errors import SpaceError, UnknownNameError

# A width of fewer units keeps every number of units; a wider one is kept at multiples of `MULTIPLE`.
FEW: Final = 16
MULTIPLE: Final = 8
MOST_DEPTHS: Final = 4


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Elasticity:
    """The sizes that are made elastic.

    `widths` are shares of a width's units, or of an attention's heads. Images can be scaled down to `smaller_resolutions`.
    `depth` and `kernels` say whether blocks can be left out and kernels be cropped. `streams` makes the widths elastic, too,
    that all blocks of a stage share. `importance` names the function of `IMPORTANCES` that orders the units.
    """

    widths: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0)
    smaller_resolutions: tuple[int, ...] = ()
    depth: bool = True
    kernels: bool = True
    streams: bool = False
    importance: str = "l1"

    def __post_init__(self) -> None:
        if not self.widths or not all(0 < share <= 1 for share in self.widths):
            raise SpaceError(f"widths are shares above 0, up to 1, not {list(self.widths)}; give some, such as [0.5,1]")
        if self.importance not in IMPORTANCES:
            raise UnknownNameError("importance", self.importance, [*IMPORTANCES, "FILE.safetensors"])

    def options(self, atom: Atom) -> tuple[int, ...]:
        """Returns how many units can be kept, ascending; the last is all."""
        size = atom.size or 1
        multiple = 1 if size < FEW else MULTIPLE
        rounded = {max(multiple, round(size * share / multiple) * multiple) for share in self.widths}
        return tuple(sorted({*(one for one in rounded if one < size), size}))

    def resolutions(self, largest: int) -> tuple[int, ...]:
        """Returns the resolutions of images, ascending. Raises SpaceError for one that is not smaller than the model's."""
        for size in self.smaller_resolutions:
            if not 0 < size < largest:
                raise SpaceError(f"a smaller resolution of {size} is not below the model's, {largest}; leave it out")
        return tuple(sorted({*self.smaller_resolutions, largest}))

    def depths(self, blocks: int) -> tuple[int, ...]:
        """Returns how many of a run of blocks can be kept, ascending: half to all of them.

        >>> Elasticity().depths(1), Elasticity().depths(3), Elasticity().depths(12)
        ((0, 1), (1, 2, 3), (6, 8, 10, 12))
        """
        fewest = blocks // 2
        steps = min(MOST_DEPTHS, blocks - fewest + 1)
        return tuple(sorted({round(fewest + (blocks - fewest) * step / (steps - 1)) for step in range(steps)}))
