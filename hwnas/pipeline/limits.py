"""Hard limits of a search besides latency: parameters, bytes of the model, bytes of activations, predicted energy.

Shapes: N architectures, C choices.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Context
from typing import ClassVar, Final, final

import numpy as np

from hwnas.core import optimum
from hwnas.core.arrays import FloatArray, IntArray
from hwnas.core.costs import PEAK
from hwnas.core.factors import exceeding
from hwnas.core.optimum import minimise
from hwnas.core.space import SearchSpace
from hwnas.errors import BudgetError, PredictorError
from hwnas.pipeline.config import SearchConfig
from hwnas.predict.measurements import ENERGY, STATISTICS
from hwnas.predict.predictor import LatencyPredictor

MIB: Final = 2**20
# Of each cost: the unit in which people ask, and its name.
UNITS: Final[Mapping[str, tuple[int, str]]] = {
    "params": (1, "parameters"),
    "bytes": (MIB, "MiB of weights"),
    PEAK: (MIB, "MiB of activations"),
}


@dataclass(frozen=True, slots=True)
class Limit:
    """At most so many units of a cost (`SearchSpace.costs`)."""

    cost: str
    most: float

    @property
    def bound(self) -> float:
        return self.most * UNITS[self.cost][0]

    def __str__(self) -> str:
        return f"at most {self.most} {UNITS[self.cost][1]}"

    def over(self, space: SearchSpace, rows_NC: IntArray) -> FloatArray:
        """How far each architecture is over the limit, relative to it; within where at most 0; shape (N,)."""
        return space.costs(self.cost, rows_NC) / self.bound - 1

    def of_sums(self, space: SearchSpace) -> optimum.Limit:
        """The same limit on a sum: a peak is within it where no cell is over it."""
        if self.cost == PEAK:
            return exceeding(space.peak_factors, self.bound), 0.5
        return space.cost_factors(self.cost), self.bound

    def least(self, space: SearchSpace, kept: Sequence[optimum.Limit]) -> str:
        """The least units that an architecture within the limits `kept` has, rounded up: so many are enough."""
        size, _ = UNITS[self.cost]
        if self.cost != PEAK:
            least = space.cost(self.cost, minimise(space.choices, space.cost_factors(self.cost), kept))
        else:
            bounds = np.unique(np.concatenate([factor.values.reshape(-1) for factor in space.peak_factors]))
            sums = [(exceeding(space.peak_factors, bound), 0.5) for bound in bounds]
            least = int(bounds[bisect_left(sums, True, key=lambda limit: _possible(space, [*kept, limit]))])
        return str(least) if size == 1 else _rounded_up(least / size)


@final
@dataclass(frozen=True, slots=True, eq=False)
class EnergyLimit:
    """At most so many millijoules an inference, at the upper end of the interval that `predictor` gives, of energy and for
    the space itself. Like a `Limit` in all else."""

    predictor: LatencyPredictor
    most: float
    cost: ClassVar[str] = ENERGY

    def __str__(self) -> str:
        return f"at most {self.most} mJ an inference"

    def over(self, space: SearchSpace, rows_NC: IntArray) -> FloatArray:
        return self.predictor.upper_mj(rows_NC) / self.most - 1

    def of_sums(self, space: SearchSpace) -> optimum.Limit:
        return self.predictor.factors, self.most / self.predictor.upper_ratio(STATISTICS[ENERGY])

    def least(self, space: SearchSpace, kept: Sequence[optimum.Limit]) -> str:
        frugal = minimise(space.choices, self.predictor.factors, kept)
        return _rounded_up(float(self.predictor.upper_mj(space.encode([frugal]))[0]))


HardLimit = Limit | EnergyLimit


def _rounded_up(least: float) -> str:
    return f"{Context(prec=4, rounding=ROUND_CEILING).create_decimal(least):f}"


def limits_of(config: SearchConfig, energy: LatencyPredictor | None = None) -> tuple[HardLimit, ...]:
    """The limits that a search is given; one of energy is by the predictor of that, which it then needs."""
    asked = {"params": config.max_params, "bytes": config.max_model_mib, PEAK: config.max_peak_mib}
    limits: list[HardLimit] = [Limit(cost, most) for cost, most in asked.items() if most is not None]
    if config.max_energy_mj is not None:
        if energy is None:
            raise PredictorError("--max-energy-mj needs a predictor of energy; give --energy-predictor")
        limits.append(EnergyLimit(energy.require(ENERGY), config.max_energy_mj))
    return tuple(limits)


def possible_limits(space: SearchSpace, limits: Sequence[HardLimit]) -> list[optimum.Limit]:
    """The limits on sums that say the same. Raises BudgetError, with the least there is, where none is within all."""
    kept: list[optimum.Limit] = []
    for number, limit in enumerate(limits):
        of_sums = limit.of_sums(space)
        if not _possible(space, [*kept, of_sums]):
            others = f" with {' and '.join(map(str, limits[:number]))}" if number else ""
            raise BudgetError(
                f"no architecture of {space.name}{others} has {limit}; the least is {limit.least(space, kept)}"
            )
        kept.append(of_sums)
    return kept


def _possible(space: SearchSpace, limits: Sequence[optimum.Limit]) -> bool:
    try:
        minimise(space.choices, (), limits)
    except BudgetError:
        return False
    return True
