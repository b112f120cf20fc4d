"""RoBoT: Bayesian optimisation over weights of zero-cost scores, then the best architectures by the best weights.

Shapes: N architectures of a pool, C choices, M scores, K weightings that were tried.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass as plain_dataclass
from dataclasses import field
from functools import partial
from itertools import chain, zip_longest
from typing import Annotated, ClassVar, Final, final

import numpy as np
from pydantic import Field, field_validator
from pydantic.dataclasses import dataclass

from hwnas.core.arrays import FloatArray, IntArray
from hwnas.errors import HwnasError, UnknownNameError
from hwnas.strategies.bayesian import most_promising
from hwnas.strategies.options import STRICT, Evaluations
from hwnas.strategies.problem import Problem
from hwnas.strategies.workshop import Workshop

# Parts of the pool, by quantiles of the first objective that is a cost, in each of which a weighting's best is evaluated.
STRATA: Final = 4
# Random weightings among which the most promising one is tried next.
CANDIDATES: Final = 10_000
# Architectures in one call: few enough that progress shows.
BATCH: Final = 32


@final
@dataclass(frozen=True, kw_only=True, config=STRICT)
class Robot:
    """Ranks a pool of random feasible architectures by a weighted sum of scores, and learns the weights (He et al. 2024).

    RoBoT is published for one objective. For a front, hwnas divides the pool into four parts by quantiles of the first objective
    that is a cost, evaluates the best architecture of every part, and takes the mean of their metrics for the reward.
    """

    name: ClassVar[str] = "robot"
    trains_weights: ClassVar[bool] = False

    evaluations: Evaluations = 60
    scores: Annotated[
        str, Field(description="Zero-cost scores and other costs that architectures are ranked by, with commas.")
    ] = "jacobian,grad-norm,snip,synflow"
    pool: Annotated[int, Field(ge=1, description="Random feasible architectures whose scores are computed.")] = 200
    weightings: Annotated[
        int,
        Field(
            ge=1,
            description="Weightings of the scores that Bayesian optimisation tries, before the best one ranks the rest.",
        ),
    ] = 10

    @field_validator("scores")
    @classmethod
    def _named(cls, text: str) -> str:
        names = text.split(",")
        if not all(name.strip() for name in names) or len({name.strip() for name in names}) < len(names):
            raise HwnasError(f"--scores {text}: give different names with commas between them, such as snip,params")
        return text

    @property
    def costs(self) -> tuple[str, ...]:
        """The names of the costs that the strategy reads."""
        return tuple(name.strip() for name in self.scores.split(","))

    def search(self, problem: Problem, workshop: Workshop) -> None:
        """Evaluates `evaluations` different architectures, or all where there are fewer.

        The weights are learnt on the first pool, and rank further pools where the first is used up. Raises UnknownNameError for
        a score that the problem does not have.
        """
        rng, weights_M = np.random.default_rng(workshop.seed), None
        draw, rewards = partial(problem.space.sample_rows, rng), _Rewards(problem, self.evaluations)
        while rewards.left:
            rows_NC = problem.feasible(draw, self.pool, rng, known=rewards.known)
            if not len(rows_NC):
                break
            pool = _Pool(rows_NC, _scaled(problem, self.costs, rows_NC), _strata(problem, rows_NC))
            if weights_M is None:
                weights_M = self._best_weights(pool, rewards, rng)
            rest = [number for number in _in_turn(pool.ranked(weights_M)) if not rewards.has(rows_NC[number])]
            for first in range(0, len(rest), BATCH):
                rewards.of(rows_NC[rest[first : first + BATCH]])

    def _best_weights(self, pool: "_Pool", rewards: "_Rewards", rng: np.random.Generator) -> FloatArray:
        """Returns the best of the weightings in [-1, 1]^M that were tried, the latest of equals; shape (M,)."""
        tried: list[FloatArray] = []
        reward: list[float] = []
        for _ in range(self.weightings):
            points_KM = rng.uniform(-1, 1, (CANDIDATES, pool.scores_NM.shape[1]))
            chosen = most_promising(np.array(tried), np.array(reward), points_KM, rng)
            best = [ranked[0] for ranked in pool.ranked(points_KM[chosen])]
            tried.append(points_KM[chosen])
            reward.append(float(rewards.of(pool.rows_NC[best]).mean()))
            if not rewards.left:
                break
        last_best = len(reward) - 1 - int(np.argmax(np.nan_to_num(reward[::-1], nan=-np.inf)))
        return tried[last_best]


@final
@plain_dataclass(frozen=True, slots=True, eq=False)
class _Pool:
    """Architectures with scaled scores, and the numbers of those in each stratum."""

    rows_NC: IntArray
    scores_NM: FloatArray
    strata: Sequence[IntArray]

    def ranked(self, weights_M: FloatArray) -> list[IntArray]:
        """Returns the numbers of each stratum's architectures, the highest weighted score first."""
        score_N = self.scores_NM @ weights_M
        return [stratum[np.argsort(-score_N[stratum], kind="stable")] for stratum in self.strata]


@final
@plain_dataclass(slots=True, eq=False)
class _Rewards:
    """The rewards of evaluated architectures: their first metric, with the sign that makes higher better."""

    problem: Problem
    evaluations: int
    known: dict[bytes, float] = field(default_factory=dict)

    @property
    def left(self) -> int:
        """The number of evaluations that are left."""
        return self.evaluations - len(self.known)

    def has(self, row_C: IntArray) -> bool:
        """Returns True for an architecture that was evaluated."""
        return row_C.tobytes() in self.known

    def of(self, rows_NC: IntArray) -> FloatArray:
        """Returns rewards, after evaluating what is new, as far as evaluations are left; NaN for the rest; shape (N,)."""
        new_NC = np.array([row_C for row_C in rows_NC if not self.has(row_C)][: self.left])
        if len(new_NC):
            metrics, measured = self.problem.metrics, self.problem.evaluate(new_NC)
            first = next((m for name in self.problem.objectives for m in metrics if m.name == name), metrics[0])
            rewards_N = -first.minimised(1.0) * np.asarray(measured[first.name], dtype=np.float64)
            self.known.update(zip((row_C.tobytes() for row_C in new_NC), rewards_N.tolist(), strict=True))
        return np.array([self.known.get(row_C.tobytes(), np.nan) for row_C in rows_NC])


def _scaled(problem: Problem, names: Sequence[str], rows_NC: IntArray) -> FloatArray:
    """Returns the scores, each from 0 to 1 over the pool; shape (N, M). Raises UnknownNameError.

    On NAS-Bench-201 logarithms or ranks in their place were worse for four and six scores (docs/strategies.md).
    """
    for name in names:
        if name not in problem.costs:
            raise UnknownNameError("score", name, list(problem.costs))
    values_NM = np.stack([problem.costs[name].values(rows_NC) for name in names], axis=1)
    span_M = np.ptp(values_NM, axis=0)
    return np.asarray((values_NM - values_NM.min(axis=0)) / np.where(span_M > 0, span_M, 1.0))


def _strata(problem: Problem, rows_NC: IntArray) -> list[IntArray]:
    """Returns the numbers of the pool's architectures by quantile of the first objective that is a cost.

    Without such an objective there is one stratum.
    """
    cheap = next(iter(problem.cheap(rows_NC).values()), None)
    if cheap is None:
        return [np.arange(len(rows_NC))]
    return np.array_split(np.argsort(cheap, kind="stable"), min(STRATA, len(rows_NC)))


def _in_turn(ranked: Sequence[IntArray]) -> Iterator[int]:
    """Yields the numbers of all strata: the best of each, then the second of each, and so on."""
    return (int(number) for number in chain.from_iterable(zip_longest(*ranked)) if number is not None)
