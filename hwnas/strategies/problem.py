"""What a strategy searches: cheap, exact latency and limits; an expensive loss.

Shapes: N architectures, C choices.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np

from hwnas.core.arrays import FloatArray, IntArray
from hwnas.core.space import SearchSpace

# Rows drawn at a time when feasible ones are looked for, and how often before giving up on chance.
DRAW: Final = 4096
DRAWS: Final = 25


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Minimise `loss` and `latency_ms` where every one of `limits` is at most 0.

    `latency_ms` and each limit map rows (N, C) to (N,) and are cheap; limits are relative (0.1: ten percent over).
    `loss` is expensive: strategies ask it only for feasible rows they have not asked before. `fastest_C` is a feasible
    row to start from where chance finds none.
    """

    space: SearchSpace
    latency_ms: Callable[[IntArray], FloatArray]
    loss: Callable[[IntArray], FloatArray]
    limits: Mapping[str, Callable[[IntArray], FloatArray]] = field(default_factory=dict)
    fastest_C: IntArray

    def violation(self, rows_NC: IntArray) -> FloatArray:
        """The worst limit of each architecture, at least 1 where the space's requirements are not met; feasible where at
        most 0; shape (N,)."""
        unmet = np.where(self.space.meets_requirements(rows_NC), -1.0, 1.0)
        return np.asarray(np.max([unmet, *(limit(rows_NC) for limit in self.limits.values())], axis=0))

    def feasible(self, draw: Callable[[int], IntArray], count: int, rng: np.random.Generator) -> IntArray:
        """Up to `count` different feasible rows out of `draw(n)`; where those are rare, neighbours of the fastest."""
        found: dict[bytes, IntArray] = {}
        for attempt in range(2 * DRAWS):
            rows = draw(DRAW) if attempt < DRAWS else self._neighbours(DRAW, rng)
            for row in rows[self.violation(rows) <= 0]:
                found.setdefault(row.tobytes(), row)
                if len(found) == count:
                    return np.array(list(found.values()))
        return np.array(list(found.values())).reshape(-1, len(self.space.choices))

    def _neighbours(self, count: int, rng: np.random.Generator) -> IntArray:
        """The fastest architecture with a random share of its choices drawn anew."""
        drawn = self.space.sample_rows(rng, count)
        share = rng.uniform(0, 1, (count, 1))
        return self.space.normalise(np.where(rng.uniform(size=drawn.shape) < share, drawn, self.fastest_C))


class Strategy(Protocol):
    """Asks `problem.loss` for `evaluations` different feasible architectures, fewer where there are no more.

    Given the same problem and seed it asks for the same architectures in the same order.
    """

    def __call__(self, problem: Problem, *, evaluations: int, seed: int) -> None: ...


def random_search(problem: Problem, *, evaluations: int, seed: int) -> None:
    """Feasible architectures with every option equally likely."""
    rng = np.random.default_rng(seed)
    rows = problem.feasible(lambda count: problem.space.sample_rows(rng, count), evaluations, rng)
    for row in rows:
        problem.loss(row[None])
