"""NARS, the search of FBNetV3 (Dai et al. 2021): a pretrained predictor chooses architectures and training recipes together.

Shapes: N architectures, C choices.
"""

from dataclasses import dataclass as plain_dataclass
from dataclasses import replace
from functools import cached_property, partial
from typing import Annotated, ClassVar, Final, Literal, final

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from hwnas.core.arrays import IntArray
from hwnas.core.space import SearchSpace
from hwnas.strategies.bred import bred
from hwnas.strategies.evaluated import Evaluated
from hwnas.strategies.learned import Fit, predicted, search_in_rounds
from hwnas.strategies.options import STRICT, Evaluations, PerRound, Predictions
from hwnas.strategies.pareto import best
from hwnas.strategies.problem import Problem
from hwnas.strategies.workshop import Workshop

# Quasi-random architectures within the limits, among which rounds choose, and rounds that choose among them.
POOL: Final = 4_096
POOL_ROUNDS: Final = 4
# Random architectures whose FLOPs and parameters pretrain the predictor.
PRETRAINING: Final = 2_048


@final
@dataclass(frozen=True, kw_only=True, config=STRICT)
class Nars:
    """Evaluates what a predictor ranks best: three rounds from a quasi-random pool, then rounds that are bred on predictions.

    Choices of the training recipe are searched together with the architecture: each network is trained by itself, by the
    recipe that its choices name. Every objective that is a metric has its own predictor on one pretrained encoder.
    """

    name: ClassVar[str] = "nars"

    evaluations: Evaluations = 200
    per_round: PerRound = 40
    predictions: Predictions = 5_000
    weights_from: Annotated[
        Literal["alone", "supernet"],
        Field(
            description="alone: every network is trained by itself for --epochs, by the recipe that its choices name; supernet: "
            "all share weights, and no recipe is searched."
        ),
    ] = "alone"

    @property
    def trains_weights(self) -> bool:
        """True where every network has weights of its own."""
        return self.weights_from == "alone"

    @property
    def trains_alone(self) -> bool:
        """True where choices of the recipe have an effect."""
        return self.trains_weights

    def search(self, problem: Problem, workshop: Workshop) -> None:
        """Evaluates `evaluations` different architectures, or all where there are fewer."""
        if self.trains_alone:
            from hwnas.strategies.alone import alone

            evaluate, evaluator = problem.evaluate, alone(problem.space, workshop)
            problem = replace(problem, evaluate=lambda rows_NC: evaluate(rows_NC, evaluator))
        rounds = _Rounds(self, problem, workshop.seed)
        search_in_rounds(
            problem,
            rounds.propose,
            evaluations=self.evaluations,
            per_round=self.per_round,
            rng=rounds.rng,
            draw=rounds.draw.rows,
        )


@final
@plain_dataclass(eq=False)
class _Rounds:
    """The rounds of one search."""

    options: Nars
    problem: Problem
    seed: int

    @cached_property
    def rng(self) -> np.random.Generator:
        return np.random.default_rng(self.seed)

    @cached_property
    def draw(self) -> "QuasiRandom":
        return QuasiRandom(self.problem.space, self.seed)

    @cached_property
    def pool(self) -> IntArray:
        """The rows (N, C) that the first rounds choose among."""
        return self.problem.feasible(self.draw.rows, POOL, self.rng)

    @cached_property
    def fit(self) -> Fit:
        """The predictor's fit, on an encoder that is pretrained once (section 3.1)."""
        from hwnas.strategies.pretrained import Pretrained

        rng = np.random.default_rng((self.seed, 1))
        return Pretrained.of(self.problem.space, self.problem.space.sample_rows(rng, PRETRAINING), self.seed)

    def propose(self, evaluated: Evaluated) -> IntArray:
        """Returns the next round: from the pool at first (section 3.2), later bred (section 3.3); shape (at most N, C)."""
        seed, count = int(self.rng.integers(2**31)), self.options.per_round
        if len(evaluated.points) >= POOL_ROUNDS * count:
            return bred(evaluated, self.fit, count, self.options.predictions, seed, self._parents(evaluated))
        is_new_N = [row_C.tobytes() not in evaluated.points for row_C in self.pool]
        rows_NC = self.pool[is_new_N]
        if not len(rows_NC):
            return rows_NC
        guess = predicted(evaluated, self.fit, seed)
        return rows_NC[best(guess.points(rows_NC, guess.evaluate(rows_NC)), count)]

    def _parents(self, evaluated: Evaluated) -> IntArray:
        """Returns the first population: half the best evaluated, half random; shape (at most per_round, C)."""
        count = self.options.per_round
        best_NC = evaluated.rows[best(evaluated.finite_points, count // 2)]
        known = {row_C.tobytes() for row_C in best_NC}
        draw = partial(self.problem.space.sample_rows, self.rng)
        random_NC = self.problem.feasible(draw, count - len(best_NC), self.rng, known=known)
        return np.concatenate([best_NC, random_NC])


@final
class QuasiRandom:
    """Draws of a scrambled Sobol sequence, one dimension per choice: they cover all combinations of few choices evenly."""

    def __init__(self, space: SearchSpace, seed: int) -> None:
        from scipy.stats import qmc

        self._space = space
        self._sizes = np.array([len(choice.options) for choice in space.choices])
        self._sobol = qmc.Sobol(len(self._sizes), rng=np.random.default_rng((seed, 2)))

    def rows(self, count: int) -> IntArray:
        """Returns the next rows of the sequence, normalised; shape (count, C)."""
        # Powers of two avoid scipy's warning; the rest is discarded.
        points_NC = self._sobol.random(1 << max(count - 1, 0).bit_length())
        return self._space.normalise((points_NC[:count] * self._sizes).astype(np.int64))
