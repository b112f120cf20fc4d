"""Loss factors choose what to evaluate: integer programs over a sum that is fitted to the evaluated networks.

Shapes: N architectures, C choices.
"""

from typing import ClassVar, Final, final

import numpy as np
from pydantic.dataclasses import dataclass

from hwnas.core.arrays import IntArray
from hwnas.strategies.candidates import Candidates
from hwnas.strategies.evaluated import Evaluated, rows_of
from hwnas.strategies.loss_factors import LossFactors
from hwnas.strategies.neighbours import neighbours
from hwnas.strategies.options import STRICT, Evaluations
from hwnas.strategies.problem import Problem
from hwnas.strategies.start import spread
from hwnas.strategies.workshop import Workshop

# Architectures spread over the costs before the first fit, and evaluated between fits.
START: Final = 12
BATCH: Final = 4
# Programs per architecture that is looked for: late ones often name a known one.
TRIES: Final = 3
# Neighbours and random architectures looked at where programs name too few new ones.
NEAR: Final = 64


@final
@dataclass(frozen=True, kw_only=True, config=STRICT)
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
        evaluated, candidates = Evaluated(problem, self.evaluations), Candidates(problem, rng)
        rows_NC = spread(problem, START, rng)
        while len(rows_NC):
            evaluated.add(rows_NC)
            rows_NC = _chosen(evaluated, candidates, BATCH) if evaluated.room else rows_NC[:0]


def _chosen(evaluated: Evaluated, candidates: Candidates, count: int) -> IntArray:
    """Returns new architectures: optima of draws, then neighbours of optima, then random ones; shape (at most count, C)."""
    problem, rng, optima = evaluated.problem, candidates.rng, list[IntArray]()
    found: dict[bytes, IntArray] = {}
    models = _models(evaluated)
    for attempt in range(TRIES * count if models else 0):
        row_C = candidates.best(models[attempt % len(models)].drawn(rng), candidates.bounds())
        if row_C is not None:
            optima.append(row_C)
            if row_C.tobytes() not in evaluated.points:
                found.setdefault(row_C.tobytes(), row_C)
        if len(found) == count:
            break
    near = [row_C for optimum_C in optima for row_C in rng.permutation(neighbours(problem.space, optimum_C))]
    for rows_NC in (np.array(near[:NEAR]), problem.space.sample_rows(rng, NEAR)):
        if len(found) < count and len(rows_NC):
            for row_C in rows_NC[problem.violation(rows_NC) <= 0]:
                if row_C.tobytes() not in evaluated.points and len(found) < count:
                    found.setdefault(row_C.tobytes(), row_C)
    if not found:  # where feasible rows are rare, or nearly all are known
        known = evaluated.points
        return problem.feasible(lambda number: problem.space.sample_rows(rng, number), count, rng, known=known)
    return np.array(list(found.values()))


def _models(evaluated: Evaluated) -> list[LossFactors]:
    """Returns the factors of every objective that is a metric; networks without a finite metric teach nothing."""
    rows_NC, points_ND = rows_of(list(evaluated.points)), np.array(list(evaluated.points.values()))
    models = []
    for name, metric_N in zip(evaluated.problem.objectives, points_ND.T, strict=True):
        finite_N = np.isfinite(metric_N)
        if name not in evaluated.problem.costs and finite_N.any():
            models.append(LossFactors.fit(evaluated.problem.space, rows_NC[finite_N], metric_N[finite_N]))
    return models
