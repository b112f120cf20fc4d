"""The content of a plot of gradient searches, as plain values. Knows no plotting library and no run folder."""

from dataclasses import dataclass

from hwnas.errors import HwnasError


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchCurve:
    """One search by epoch (E): numbers of the epochs, expected costs over their bounds and their multipliers (E, constraints),
    and how undecided the choices were, from 0 to 1."""

    label: str
    constraints: tuple[str, ...]
    epochs: tuple[int, ...]
    ratios: tuple[tuple[float, ...], ...]
    multipliers: tuple[tuple[float, ...], ...]
    entropies: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchPlot:
    """Searches of one run. Raises HwnasError where there are none."""

    title: str
    searches: tuple[SearchCurve, ...]

    def __post_init__(self) -> None:
        if not any(search.epochs for search in self.searches):
            raise HwnasError(f"{self.title}: no gradient search to draw; search with --strategy gradient")
