"""GBDT-NAS: gradient-boosted trees predict many architectures, and the best predicted are evaluated (Luo et al. 2020).

Shapes: N architectures, C choices, D objectives.
"""

from dataclasses import dataclass as plain_dataclass
from functools import cached_property
from math import prod
from typing import Annotated, ClassVar, Final, Literal, final

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from hwnas.core.arrays import FloatArray, IntArray
from hwnas.predict.trees import RegressionTrees
from hwnas.strategies.candidates import all_rows
from hwnas.strategies.evaluated import Evaluated
from hwnas.strategies.learned import Fit, Predict, one_hot, predicted, search_in_rounds
from hwnas.strategies.options import STRICT, Evaluations, PerRound
from hwnas.strategies.pareto import best
from hwnas.strategies.problem import Problem
from hwnas.strategies.pruning import ORDERS, Kept, pruned
from hwnas.strategies.workshop import Workshop

# A space with at most so many combinations of options is predicted as a whole.
WHOLE: Final = 2**16
# The number of architectures drawn and predicted per round in larger spaces, as on ImageNet in the paper.
CANDIDATES: Final = 5_000


def boosted(features_NF: FloatArray, target_N: FloatArray, seed: int) -> Predict:
    """Fits gradient-boosted trees."""
    return RegressionTrees.fit(features_NF, target_N, seed).predict


@final
@dataclass(frozen=True, kw_only=True, config=STRICT)
class Gbdt:
    """Evaluates, round after round, the architectures that boosted trees predict to be best.

    The paper has one objective. Here every objective that is a metric has its own trees, and costs are exact; a round
    takes the best of the predicted architectures by non-dominated sorting and crowding distance.
    """

    name: ClassVar[str] = "gbdt"
    trains_weights: ClassVar[bool] = False

    evaluations: Evaluations = 200
    per_round: PerRound = 50
    prune: Annotated[
        Literal["none", "first-order", "second-order"],
        Field(
            description="Options that each round takes from the space: none, those of harmful SHAP values, "
            "or those of harmful SHAP interactions (GBDT-NAS-3S)."
        ),
    ] = "none"

    def search(self, problem: Problem, workshop: Workshop) -> None:
        """Evaluates `evaluations` different architectures, or all where there are fewer."""
        self.search_with(boosted, problem, workshop.seed)

    def search_with(self, fit: Fit, problem: Problem, seed: int) -> None:
        """Searches with another predictor in place of boosted trees."""
        rng = np.random.default_rng(seed)
        rounds = _Rounds(
            problem=problem,
            fit=fit,
            per_round=self.per_round,
            prune=self.prune,
            rng=rng,
            kept=Kept.all_of(problem.space),
        )
        search_in_rounds(problem, rounds.propose, evaluations=self.evaluations, per_round=self.per_round, rng=rng)


@final
@plain_dataclass(kw_only=True)
class _Rounds:
    """The rounds of one search, and the options that they have not pruned so far."""

    problem: Problem
    fit: Fit
    per_round: int
    prune: str
    rng: np.random.Generator
    kept: Kept

    def propose(self, evaluated: Evaluated) -> IntArray:
        """Returns the best predicted of the architectures that were not evaluated; shape (at most per_round, C)."""
        seed = int(self.rng.integers(2**31))
        if self.prune in ORDERS:
            features_NF = one_hot(self.problem.space, evaluated.rows)
            trees = [RegressionTrees.fit(features_NF, target_N, seed) for target_N in evaluated.finite_points.T]
            self.kept = pruned(ORDERS[self.prune], trees, features_NF, self.kept)
        rows_NC = self._candidates(evaluated)
        if len(rows_NC) == 0:
            return rows_NC
        guess = predicted(evaluated, self.fit, seed)
        return rows_NC[best(guess.points(rows_NC, guess.evaluate(rows_NC)), self.per_round)]

    def _candidates(self, evaluated: Evaluated) -> IntArray:
        """Returns feasible rows that were not evaluated; where pruning leaves less than a round, pruned ones, too."""
        if self._whole is None:
            rows_NC = self.problem.feasible(self._draw, CANDIDATES, self.rng, known=evaluated.points)
        else:
            is_new_N = [row_C.tobytes() not in evaluated.points for row_C in self._whole]
            rows_NC = self._whole[is_new_N]
        kept_NC = rows_NC[self.kept.allows(rows_NC)]
        return kept_NC if len(kept_NC) >= self.per_round else rows_NC

    @cached_property
    def _whole(self) -> IntArray | None:
        """Every feasible architecture of a small space; None for a large one."""
        space = self.problem.space
        if prod(len(choice.options) for choice in space.choices) > WHOLE:
            return None
        rows_NC = all_rows(space)
        return rows_NC[self.problem.violation(rows_NC) <= 0]

    def _draw(self, count: int) -> IntArray:
        """Draws architectures of kept options: half with equal probability, half spread from small to large networks.

        The paper draws with equal probability. Independent draws hardly reach the ends of a front.
        """
        space, half = self.problem.space, count // 2
        drawn = space.sample_rows(self.rng, count - half), space.spread_rows(self.rng, half)
        return self.kept.redrawn(np.concatenate(drawn), self.rng)
