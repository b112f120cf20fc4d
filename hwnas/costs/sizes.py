"""Costs that the operators of a space state exactly: FLOPs, parameters, model size, peak memory.

Shapes: N architectures, C choices.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final, final

from hwnas.core import optimum
from hwnas.core.arrays import FloatArray, IntArray
from hwnas.core.costs import PEAK
from hwnas.core.factors import Factor, exceeding, total
from hwnas.core.space import SearchSpace
from hwnas.costs.cost import Cost
from hwnas.errors import UnknownNameError

MIB: Final = 2**20


@dataclass(frozen=True, slots=True)
class SizeUnit:
    """The space's own name of a size, the unit people ask in, and how many of the space's own units it holds."""

    stated: str
    unit: str = ""
    scale: int = 1


# Sizes that are sums over layers.
SUMMED_SIZES: Final[Mapping[str, SizeUnit]] = {
    "flops": SizeUnit("flops"),
    "params": SizeUnit("params"),
    "model": SizeUnit("bytes", "MiB", MIB),
}


@final
@dataclass(frozen=True, eq=False)
class SizeCost:
    """FLOPs, parameters, or MiB of weights and statistics: a sum over layers. Raises UnknownNameError."""

    space: SearchSpace
    name: str

    def __post_init__(self) -> None:
        if self.name not in SUMMED_SIZES:
            raise UnknownNameError("size", self.name, list(SUMMED_SIZES))

    @property
    def unit(self) -> str:
        return SUMMED_SIZES[self.name].unit

    @cached_property
    def factors(self) -> tuple[Factor, ...]:
        size = SUMMED_SIZES[self.name]
        stated = self.space.cost_factors(size.stated)
        return tuple(Factor(factor.name, factor.scope, factor.values / size.scale) for factor in stated)

    def values(self, rows_NC: IntArray) -> FloatArray:
        """Returns the size of each architecture; shape (N,)."""
        return total(self.factors, rows_NC, self.space.columns)

    def upper(self, rows_NC: IntArray) -> FloatArray:
        """Returns `values`: sizes are exact."""
        return self.values(rows_NC)

    def program(self, bound: float) -> optimum.Limit:
        """Returns the limit as it is: the cost is a sum of factors."""
        return self.factors, bound


@final
@dataclass(frozen=True, eq=False)
class PeakCost:
    """MiB of activations that are alive at once: the maximum over layers, so no sum and no expectation."""

    space: SearchSpace
    name: str = PEAK

    @property
    def unit(self) -> str:
        return "MiB"

    @property
    def factors(self) -> None:
        return None

    def values(self, rows_NC: IntArray) -> FloatArray:
        """Returns the peak of each architecture; shape (N,)."""
        return self.space.costs(PEAK, rows_NC) / MIB

    def upper(self, rows_NC: IntArray) -> FloatArray:
        """Returns `values`: peaks are exact."""
        return self.values(rows_NC)

    def program(self, bound: float) -> optimum.Limit:
        """Returns the number of cells above the bound, limited to none."""
        return exceeding(self.space.peak_factors, bound * MIB), 0.5


# Costs that are made from a space alone.
SIZES: Final[Mapping[str, Callable[[SearchSpace], Cost]]] = {
    **{name: lambda space, name=name: SizeCost(space, name) for name in SUMMED_SIZES},  # type: ignore[misc]
    PEAK: PeakCost,
}
