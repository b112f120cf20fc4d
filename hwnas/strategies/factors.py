"""Loss factors choose what to evaluate: integer programs over a sum that is fitted to the evaluated networks.

Shapes: N architectures, C choices.
"""

from dataclasses import dataclass, field
from typing import ClassVar, Final, final

import numpy as np
from pydantic.dataclasses import dataclass as options

from hwnas.core.arrays import FloatArray, IntArray
from hwnas.strategies.candidates import Candidates, neighbours
from hwnas.strategies.loss_factors import LossFactors
from hwnas.strategies.options import STRICT, Evaluations
from hwnas.strategies.problem import Problem
from hwnas.strategies.start import spread
from hwnas.strategies.workshop import Workshop

# Architectures spread over the costs before the first fit, and evaluated between fits.
START: Final = 12
BATCH: Final = 4
# Programs per architecture that is looked for: late ones often name a known one.
TRIES: Final = 3


@final
@options(frozen=True, kw_only=True, config=STRICT)
class FactorsSearch:
    """Evaluates the exact best architectures of sums of factors that are drawn from what losses say (Thompson sampling).

    Each draw is minimised by an integer program, under the limits and a random bound of every cost that is an objective,
    so that the architectures spread over the front.
    """

    name: ClassVar[str] = "factors"
    trains_weights: ClassVar[bool] = False

    evaluations: Evaluations = 200

    def search(self, problem: Problem, workshop: Workshop) -> None:
        """Evaluates `evaluations` different architectures, or all where there are fewer."""
        rng = np.random.default_rng(workshop.seed)
        search = _Search(problem, Candidates(problem, rng))
        search.evaluate(spread(problem, START, rng)[: self.evaluations])
        while (left := self.evaluations - len(search.known)) > 0:
            rows_NC = search.chosen(BATCH)
            if not len(rows_NC):
                break
            search.evaluate(rows_NC[:left])


@final
@dataclass(eq=False)
class _Search:
    """What was evaluated: rows by their bytes, and their objectives (D,), all to be minimised."""

    problem: Problem
    candidates: Candidates
    known: dict[bytes, FloatArray] = field(default_factory=dict)

    def evaluate(self, rows_NC: IntArray) -> None:
        if len(rows_NC):
            points_ND = self.problem.points(rows_NC, self.problem.evaluate(rows_NC))
            self.known.update(zip((row_C.tobytes() for row_C in rows_NC), points_ND, strict=True))

    def chosen(self, count: int) -> IntArray:
        """Returns at most `count` new architectures: optima of draws, then neighbours of optima, then random ones; (N, C)."""
        rng, found, optima = self.candidates.rng, dict[bytes, IntArray](), list[IntArray]()
        models = self._models()
        for attempt in range(TRIES * count if models else 0):
            model = models[attempt % len(models)]
            row_C = self.candidates.best(model.drawn(rng), self.candidates.bounds())
            if row_C is not None:
                optima.append(row_C)
                if row_C.tobytes() not in self.known:
                    found.setdefault(row_C.tobytes(), row_C)
            if len(found) == count:
                break
        for rows_NC in (neighbours(self.problem.space, np.array(optima)) if optima else None, None):
            if len(found) < count:
                found.update(self._drawn(rows_NC, count - len(found), {*self.known, *found}))
        return np.array(list(found.values()), dtype=np.int64).reshape(-1, len(self.problem.space.choices))

    def _drawn(self, rows_NC: IntArray | None, count: int, known: set[bytes]) -> dict[bytes, IntArray]:
        """Returns feasible rows that are not known, drawn from the given ones or from the whole space, by their bytes."""
        rng, problem = self.candidates.rng, self.problem
        if rows_NC is None:
            new_NC = problem.feasible(lambda n: problem.space.sample_rows(rng, n), count, rng, known=known)
        else:
            feasible_NC = rows_NC[problem.violation(rows_NC) <= 0]
            new_NC = feasible_NC[[row_C.tobytes() not in known for row_C in feasible_NC]]
            new_NC = rng.permutation(new_NC)[:count]
        return {row_C.tobytes(): row_C for row_C in new_NC}

    def _models(self) -> list[LossFactors]:
        """Returns the factors of every objective that is a metric; networks without a finite metric teach nothing."""
        rows_NC = np.array([np.frombuffer(row, dtype=np.int64) for row in self.known])
        models = []
        for name, metric_N in zip(self.problem.objectives, np.array(list(self.known.values())).T, strict=True):
            finite_N = np.isfinite(metric_N)
            if name not in self.problem.costs and finite_N.any():
                models.append(LossFactors.fit(self.problem.space, rows_NC[finite_N], metric_N[finite_N]))
        return models
