"""The search of a controller: draw, evaluate what is new and feasible, learn from every draw.

Shapes: N architectures, C choices, D objectives, A aims.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final, final

import numpy as np
import torch

from hwnas.core.arrays import BoolArray, FloatArray, IntArray
from hwnas.core.condition import holds
from hwnas.core.space import SearchSpace
from hwnas.strategies.problem import Problem
from hwnas.strategies.reinforcement.diagnostics import Sample, state_correlation, twin_note
from hwnas.strategies.reinforcement.learner import Batch, Learner
from hwnas.strategies.reinforcement.policies import POLICIES, RecurrentPolicy
from hwnas.strategies.reinforcement.rewards import rewards_of
from hwnas.strategies.workshop import Workshop

if TYPE_CHECKING:
    from hwnas.strategies.controller import Controller

# Architectures drawn uniformly at first: the sample of the random-search twin.
UNIFORM: Final = 20
# Architectures that show the range of costs.
RANGE: Final = 256
# Batches without one new feasible architecture after which the rest is drawn uniformly.
PATIENCE: Final = 30
# Adam's rates, chosen by fronts after 200 evaluations (docs/log.md). Adam moves a logit by about its rate per step, and 30
# steps of ENAS's 3.5e-4 are 0.01.
RATES: Final = {
    ("factorised", "reinforce"): 0.2,
    ("factorised", "ppo"): 0.1,
    ("recurrent", "reinforce"): 0.01,
    ("recurrent", "ppo"): 0.01,
}
# The standardised reward of infeasible architectures, before their violation (up to 1) is taken off.
INFEASIBLE: Final = -1.0


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatedDraws:
    """The points (D,) of evaluated rows by the rows' bytes, in order; at most `most`."""

    problem: Problem
    most: int
    points: dict[bytes, FloatArray] = field(default_factory=dict)

    @property
    def left(self) -> int:
        return self.most - len(self.points)

    def add(self, rows_NC: IntArray) -> IntArray:
        """Evaluates the feasible rows that are new, as many as are left, and returns their positions; shape (at most N,)."""
        first = {row_C.tobytes(): number for number, row_C in reversed(list(enumerate(rows_NC)))}
        new_N = np.array(
            sorted(number for row, number in first.items() if row not in self.points)[: self.left], dtype=int
        )
        if len(new_N):
            new_NC = rows_NC[new_N]
            points_ND = self.problem.points(new_NC, self.problem.evaluate(new_NC))
            self.points.update(zip((row_C.tobytes() for row_C in new_NC), points_ND, strict=True))
        return new_N

    def add_uniform(self, rng: np.random.Generator) -> IntArray:
        """Evaluates up to UNIFORM new feasible rows, drawn uniformly, and returns them; shape (N, C)."""
        rows_NC = self.problem.feasible(partial(self.problem.space.sample_rows, rng), UNIFORM, rng, known=self.points)
        return rows_NC[self.add(rows_NC)]

    def of(self, rows_NC: IntArray) -> FloatArray:
        """Returns the points of evaluated rows; shape (N, D)."""
        return np.array([self.points[row_C.tobytes()] for row_C in rows_NC])


def control(problem: Problem, options: "Controller", workshop: Workshop) -> None:
    """Evaluates uniform draws, then what a policy draws that learns from every draw; the rest uniformly, if it runs dry."""
    rng = np.random.default_rng(workshop.seed)
    evaluated = EvaluatedDraws(problem=problem, most=options.evaluations)
    uniform_NC = evaluated.add_uniform(rng)
    if evaluated.left and len(uniform_NC) == UNIFORM:
        search = Search(problem, options, evaluated, uniform_NC, workshop.seed)
        search.run()
        for text in search.notes():
            workshop.reporter.note(text)
    while evaluated.left and len(evaluated.add_uniform(rng)):
        pass


@final
class Search:
    """A policy and its learner, which draw architectures until nothing is left or nothing new comes."""

    def __init__(
        self, problem: Problem, options: "Controller", evaluated: EvaluatedDraws, uniform_NC: IntArray, seed: int
    ) -> None:
        self._problem, self._options, self._evaluated, self._uniform_NC = problem, options, evaluated, uniform_NC
        spread_NC = problem.space.spread_rows(np.random.default_rng(seed), RANGE)
        range_NC = np.concatenate([uniform_NC, spread_NC[problem.violation(spread_NC) <= 0]])
        self._rewards = rewards_of(problem, options.reward, evaluated.of(uniform_NC), range_NC)
        self._aims = len(self._rewards)
        reward_NA = self._rewards.of(evaluated.of(uniform_NC))
        std_A = reward_NA.std(axis=0)
        self._mean_A, self._std_A = reward_NA.mean(axis=0), np.where(std_A > 0, std_A, 1.0)
        self._generator = torch.Generator().manual_seed(seed)
        sizes = [len(choice.options) for choice in problem.space.choices]
        self.policy = POLICIES[options.policy](sizes, self._aims, self._generator)
        rate = options.policy_rate or RATES[options.policy, options.algorithm]
        self._learner = Learner(
            self.policy, algorithm=options.algorithm, rate=rate, entropy=options.entropy, aims=self._aims
        )
        self._new: list[tuple[IntArray, IntArray]] = []
        self._untrained_correlation = self.correlation()

    def run(self) -> None:
        """Learns from the uniform draws under every aim, then from batches in which every aim has its turn."""
        self._learn(self._uniform_NC.repeat(self._aims, axis=0), np.tile(np.arange(self._aims), UNIFORM))
        idle, drawn = 0, 0
        while self._evaluated.left and idle < PATIENCE:
            aims_N = np.arange(drawn, drawn + self._options.samples) % self._aims
            with torch.no_grad():
                drawn_NC = self.policy.draw(torch.from_numpy(aims_N), self._generator).numpy()
            rows_NC = self._problem.space.normalise(drawn_NC)
            feasible_N = np.flatnonzero(self._problem.violation(rows_NC) <= 0)
            new_N = feasible_N[self._evaluated.add(rows_NC[feasible_N])]
            self._new.append((rows_NC[new_N], aims_N[new_N]))
            idle, drawn = 0 if len(new_N) else idle + 1, drawn + len(aims_N)
            if self._evaluated.left:
                self._learn(drawn_NC, aims_N)

    def _learn(self, drawn_NC: IntArray, aims_N: IntArray) -> None:
        buffer = self._best() if self._options.buffer else None
        self._learner.learn(self._batch(drawn_NC, aims_N), self._standardised(drawn_NC, aims_N), buffer)

    def _standardised(self, drawn_NC: IntArray, aims_N: IntArray) -> FloatArray:
        """Returns rewards in standard deviations of the uniform draws' rewards, above their mean; shape (N,)."""
        rows_NC = self._problem.space.normalise(drawn_NC)
        violation_N = self._problem.violation(rows_NC)
        reward_N = INFEASIBLE - np.minimum(violation_N, 1.0)
        feasible_N = violation_N <= 0
        if feasible_N.any():
            aims_N = aims_N[feasible_N]
            raw_N = self._rewards.of(self._evaluated.of(rows_NC[feasible_N]))[np.arange(len(aims_N)), aims_N]
            reward_N[feasible_N] = (raw_N - self._mean_A[aims_N]) / self._std_A[aims_N]
        return np.asarray(reward_N)

    def _batch(self, drawn_NC: IntArray, aims_N: IntArray) -> Batch:
        decided_NC = decided(self._problem.space, drawn_NC)
        return Batch(
            rows_NC=torch.from_numpy(drawn_NC), aims_N=torch.from_numpy(aims_N), decided_NC=torch.from_numpy(decided_NC)
        )

    def _best(self) -> Batch:
        """Returns the best evaluated architectures under each aim."""
        rows_NC = np.array([np.frombuffer(row, dtype=np.int64) for row in self._evaluated.points])
        order_NA = np.argsort(-self._rewards.of(self._evaluated.of(rows_NC)), axis=0, kind="stable")
        best_BA = order_NA[: self._options.buffer]
        return self._batch(rows_NC[best_BA.flatten()], np.tile(np.arange(self._aims), len(best_BA)))

    def notes(self) -> Iterator[str]:
        """Yields what people are told of the finished search."""
        reward_NA = self._rewards.of(self._evaluated.of(self._uniform_NC))
        uniform = Sample(self._uniform_NC, ((reward_NA - self._mean_A) / self._std_A).mean(axis=1))
        last = self._last(UNIFORM)
        if len(last.reward_N):
            yield twin_note(last, uniform)
        batch = self._batch(self._uniform_NC.repeat(self._aims, axis=0), np.tile(np.arange(self._aims), UNIFORM))
        sizes_C = torch.tensor([len(choice.options) for choice in self._problem.space.choices])
        with torch.no_grad():
            entropy = float(self._learner.likelihood(batch)[1].mean())
        most = float((sizes_C.log() * batch.decided_NC).sum(dim=1).mean())
        yield f"controller: the policy's entropy is {entropy:.2f} nats, that of uniform draws {most:.2f}"
        if np.isfinite(correlation := self.correlation()):
            yield (
                f"controller: distances of hidden states correlate with edit distances by {correlation:.2f} (Spearman), "
                f"before training by {self._untrained_correlation:.2f}"
            )

    def correlation(self) -> float:
        """Returns `state_correlation` over the uniform draws; NaN where the policy has no states."""
        if not isinstance(self.policy, RecurrentPolicy):
            return float("nan")
        return state_correlation(self.policy, self._uniform_NC)

    def _last(self, count: int) -> Sample:
        """Returns the last architectures that the policy drew and that were evaluated, at most so many."""
        rows_NC, aims_N = (np.concatenate(parts)[-count:] for parts in zip(*self._new, strict=True))
        return Sample(rows_NC, self._standardised(rows_NC, aims_N))


def decided(space: SearchSpace, drawn_NC: IntArray) -> BoolArray:
    """Returns True where a choice is on, tied to none, and has several options, so that its draw matters; shape (N, C)."""
    rows_NC = space.normalise(drawn_NC)
    by_name = {choice.name: choice for choice in space.choices}
    drawn = {name: rows_NC[:, column] for column, name in enumerate(by_name)}
    return np.stack(
        [
            np.broadcast_to(
                holds(choice.when, drawn, by_name) & (not choice.tied_to) & (len(choice.options) > 1), len(rows_NC)
            )
            for choice in space.choices
        ],
        axis=1,
    )
