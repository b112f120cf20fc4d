"""Candidates: feasible architectures, not evaluated yet, among which a model of the loss chooses.

Shapes: N architectures, C choices.
"""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Final, final

import numpy as np

from hwnas.core import optimum
from hwnas.core.arrays import FloatArray, IntArray
from hwnas.core.factors import Factor, absorbed
from hwnas.core.optimum import minimise
from hwnas.core.space import SearchSpace
from hwnas.errors import BudgetError
from hwnas.strategies.loss_factors import LossFactors
from hwnas.strategies.neighbours import neighbours
from hwnas.strategies.problem import Problem
from hwnas.strategies.start import mixed_rows

# Combinations of options up to which a space is listed whole.
LISTED: Final = 20_000
# Rows drawn at random, and the most neighbours that are compared at a time.
DRAWN: Final = 512
NEIGHBOURS: Final = 4096
# Both where an objective or a limit is slow.
DRAWN_SLOWLY: Final = 48
# Rows that costs without factors are fitted to.
FITTED: Final = 256
# Steps of local search from the best candidates, and how many are the best.
STEPS: Final = 2
BEST: Final = 8

# Scores of rows (N, C), shape (N,): higher is better.
Score = Callable[[IntArray], FloatArray]


def all_rows(space: SearchSpace) -> IntArray:
    """Returns every architecture of a small space once; shape (N, C)."""
    sizes = [len(choice.options) for choice in space.choices]
    rows_NC = np.unique(space.normalise(np.indices(sizes).reshape(len(sizes), -1).T), axis=0)
    return rows_NC[space.meets_requirements(rows_NC)]


@final
@dataclass(frozen=True, eq=False)
class Candidates:
    """The feasible architectures of a problem: listed where the space is small, else found by local search."""

    problem: Problem
    rng: np.random.Generator
    _bounds: dict[str, tuple[float, float]] = field(default_factory=dict)

    @cached_property
    def listed(self) -> IntArray | None:
        """All feasible rows (N, C) of a small space, None for a large one."""
        space = self.problem.space
        if self._slow or math.prod(len(choice.options) for choice in space.choices) > LISTED:
            return None
        rows_NC = all_rows(space)
        return rows_NC[self.problem.violation(rows_NC) <= 0]

    @cached_property
    def sample(self) -> IntArray:
        """A sample (N, C) of the feasible rows, half of it spread from first to last options; or all of a small space's."""
        if self.listed is not None:
            return self.listed

        draw = partial(mixed_rows, self.problem.space, self.rng)
        return self.problem.feasible(draw, DRAWN_SLOWLY if self._slow else DRAWN, self.rng)

    @cached_property
    def _slow(self) -> bool:
        """True where an objective or a limit builds every network that it is asked for, as zero-cost scores do."""
        costs = [self.problem.costs.get(name) for name in self.problem.objectives]
        return any(getattr(cost, "slow", False) for cost in [*costs, *(limit.cost for limit in self.problem.limits)])

    def unknown(self, known: Collection[bytes], starts_NC: IntArray, score: Score) -> IntArray:
        """Returns feasible rows, none of them known; shape (N, C).

        In a large space: random ones, `starts_NC` with their neighbours, and neighbours of those with the highest scores.
        """
        if self.listed is not None:
            return _without(self.listed, known)
        found_NC = _without(self._feasible(np.concatenate([self.sample, self._around(starts_NC)])), known)
        for _ in range(0 if self._slow else STEPS):
            if not len(found_NC):
                break
            best_NC = found_NC[np.argsort(-score(found_NC), kind="stable")[:BEST]]
            near_NC = _without(self._feasible(self._around(best_NC)), known)
            found_NC = np.unique(np.concatenate([found_NC, near_NC]), axis=0)
        return found_NC

    def best(
        self, objective: Sequence[Factor], bounds: Sequence[tuple[str, float]] = (), *, gap: float = 0.0
    ) -> IntArray | None:
        """Returns the row with the least sum of factors, up to `gap`, within the limits and the bounds of costs; shape (C,).

        Limits that are no sums are left out of the integer program, and costs that are no sums are fitted by one. None
        where the row is infeasible after all, or where no architecture is within the bounds.
        """
        programs = [limit.program() for limit in self.problem.limits]
        limits: list[optimum.Limit] = [
            (absorbed(program[0]), program[1]) for program in programs if program is not None
        ]
        limits += [(self._sums[name][0], bound + self._sums[name][1]) for name, bound in bounds]
        try:
            arch = minimise(self.problem.space.choices, objective, limits, gap=gap)
        except BudgetError:
            return None
        row_1C = self.problem.space.encode([arch])
        return row_1C[0] if (self.problem.violation(row_1C) <= 0).all() else None

    @cached_property
    def _sums(self) -> dict[str, tuple[Sequence[Factor], float]]:
        """The factors of each cost that is an objective, and what their sum has more than the cost."""
        sums, rows_NC = {}, self.rng.permutation(self.sample)[:FITTED]
        for name, cost_N in self.problem.cheap(rows_NC).items():
            factors = self.problem.costs[name].factors
            fit = None if factors else LossFactors.fit(self.problem.space, rows_NC, cost_N)
            sums[name] = (fit.mean, fit.shift) if fit else (absorbed(factors or ()), 0.0)
        return sums

    def bounds(self) -> list[tuple[str, float]]:
        """Draws a bound for each cost that is an objective, evenly between the least and the greatest of the sample."""
        if not self._bounds:
            cheap = self.problem.cheap(self.sample)
            self._bounds.update({name: (float(cost_N.min()), float(cost_N.max())) for name, cost_N in cheap.items()})
        return [(name, float(self.rng.uniform(low, high))) for name, (low, high) in self._bounds.items()]

    def _around(self, rows_NC: IntArray) -> IntArray:
        """Returns rows and their neighbours, at most `NEIGHBOURS`; at most `DRAWN_SLOWLY` where costs are slow."""
        near_NC = np.concatenate([rows_NC, *(neighbours(self.problem.space, row_C) for row_C in rows_NC)])
        most = DRAWN_SLOWLY if self._slow else NEIGHBOURS
        if len(near_NC) > most:
            near_NC = near_NC[np.sort(self.rng.choice(len(near_NC), most, replace=False))]
        return near_NC

    def _feasible(self, rows_NC: IntArray) -> IntArray:
        rows_NC = np.unique(rows_NC, axis=0)
        return rows_NC[self.problem.violation(rows_NC) <= 0]


def _without(rows_NC: IntArray, known: Collection[bytes]) -> IntArray:
    """Returns the rows whose bytes are not known."""
    return rows_NC[[row_C.tobytes() not in known for row_C in rows_NC]]
