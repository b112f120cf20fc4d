"""The strategy seam: the problem that strategies search, and what a strategy is. Knows no strategy by name.

Shapes: N architectures, C choices, D objectives.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Final, Protocol, runtime_checkable

import numpy as np

from hwnas.core.arrays import FloatArray, IntArray
from hwnas.core.space import SearchSpace
from hwnas.costs.cost import Cost, Limit
from hwnas.errors import HwnasError, UnknownNameError
from hwnas.tasks.task import Metric

if TYPE_CHECKING:
    from hwnas.strategies.workshop import Workshop

MOST_OBJECTIVES: Final = 4
# Rows drawn at a time in a search for feasible ones, and rows drawn before chance gives way to neighbours of the start.
FIRST_DRAW: Final = 16
LARGEST_DRAW: Final = 4096
DRAWN: Final = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Minimise `objectives` among the architectures that meet the space's requirements and every one of `limits`.

    An objective is the name of one of `metrics`, which `evaluate` returns and which is expensive, or of one of `costs`,
    which are cheap. One objective is allowed; people's searches have two to four. `evaluate(rows_NC)`, or
    `evaluate(rows_NC, evaluator)` for a strategy with weights of its own, returns every metric by name, (N,) each;
    strategies call it only with feasible rows that they have not evaluated before. `start_C` is a feasible row, for
    spaces in which chance finds none; where the integer program cannot hold a limit, it may be infeasible, and so may all rows.
    `asked` are the limits as people asked for them: `limits` are tighter where a search is repeated because its networks took
    longer than predicted.

    `probe(rows_NC)` returns the metrics of networks that a strategy only learns from: what people get is chosen from
    evaluated networks. None where there is no such difference. Rows of `earlier_NC` were evaluated before, under other
    limits; to probe them is free.

    `given_NC` are different feasible rows that the search was given, best first (`--warm-start`); None where there are none.
    A run has evaluated them by then, so to ask for them is free. A strategy with a first population takes some of them into it
    (`start.first_rows`).

    Raises HwnasError, UnknownNameError for objectives that cannot be.
    """

    space: SearchSpace
    objectives: tuple[str, ...]
    metrics: tuple[Metric, ...]
    costs: Mapping[str, Cost]
    evaluate: Callable[..., Mapping[str, FloatArray]]
    probe: Callable[[IntArray], Mapping[str, FloatArray]] | None = None
    earlier_NC: IntArray | None = None
    given_NC: IntArray | None = None
    limits: tuple[Limit, ...] = ()
    asked: tuple[Limit, ...] = ()
    start_C: IntArray

    def __post_init__(self) -> None:
        count = len(self.objectives)
        if not 1 <= count <= MOST_OBJECTIVES or len(set(self.objectives)) < count:
            raise HwnasError(f"objectives {', '.join(self.objectives)}: give 2 to {MOST_OBJECTIVES} different ones")
        known = [*(metric.name for metric in self.metrics), *self.costs]
        for name in self.objectives:
            if name not in known:
                raise UnknownNameError("objective", name, known)

    def violation(self, rows_NC: IntArray) -> FloatArray:
        """Returns the worst violation of each architecture; at most 0 where it is feasible; shape (N,).

        Violations of limits are relative to the bound. An architecture that the space does not allow violates by 1 or more.
        """
        forbidden_N = np.where(self.space.meets_requirements(rows_NC), -1.0, 1.0)
        return np.asarray(np.max([forbidden_N, *(limit.over(rows_NC) for limit in self.limits)], axis=0))

    def feasible(
        self, draw: Callable[[int], IntArray], count: int, rng: np.random.Generator, *, known: Collection[bytes] = ()
    ) -> IntArray:
        """Returns up to `count` different feasible rows from `draw(n)`; shape (at most count, C).

        Rows of the space whose bytes are in `known` are left out. Where feasible rows are rare, neighbours of `start_C` are
        tried, too.
        """
        feasible_rows: dict[bytes, IntArray] = {}
        count = min(count, self.space.size - len(known))
        for rows_NC in self._drawn(draw, count, rng):
            for row_C in rows_NC[self.violation(rows_NC) <= 0]:
                if len(feasible_rows) < count and row_C.tobytes() not in known:
                    feasible_rows.setdefault(row_C.tobytes(), row_C)
            if len(feasible_rows) >= count:
                break
        return np.array(list(feasible_rows.values()), dtype=np.int64).reshape(-1, len(self.space.choices))

    def _drawn(self, draw: Callable[[int], IntArray], first: int, rng: np.random.Generator) -> Iterator[IntArray]:
        """Yields draws that double in size: limits may be slow, and few rows are needed where most rows meet them."""
        for rows in (draw, partial(self._neighbours, rng)):
            drawn, size = 0, min(max(first, FIRST_DRAW), LARGEST_DRAW)
            while drawn < DRAWN:
                yield rows(size)
                drawn, size = drawn + size, min(2 * size, LARGEST_DRAW)

    def _neighbours(self, rng: np.random.Generator, count: int) -> IntArray:
        """Returns copies of `start_C` with a random share of the choices drawn anew; shape (count, C)."""
        drawn_NC = self.space.sample_rows(rng, count)
        share_N1 = rng.uniform(0, 1, (count, 1))
        return self.space.normalise(np.where(rng.uniform(size=drawn_NC.shape) < share_N1, drawn_NC, self.start_C))

    def cheap(self, rows_NC: IntArray) -> dict[str, FloatArray]:
        """Returns the objectives that are costs, by name; shape (N,) each."""
        return {name: self.costs[name].values(rows_NC) for name in self.objectives if name in self.costs}

    def points(self, rows_NC: IntArray, metrics: Mapping[str, FloatArray]) -> FloatArray:
        """Returns every objective of evaluated architectures, all to be minimised; shape (N, D)."""
        sign = {metric.name: metric.minimised(1.0) for metric in self.metrics}
        cheap = self.cheap(rows_NC)
        columns = [cheap[name] if name in cheap else sign[name] * metrics[name] for name in self.objectives]
        return np.stack(columns, axis=1).astype(np.float64)


class Strategy(Protocol):
    """A way to choose which architectures to evaluate: a frozen dataclass of its own options.

    The same problem and seed must give the same rows in the same order, so that a search is resumed by running it again.
    A strategy evaluates each row once, only feasible rows, and may stop before its evaluations are used up. Where it finds no
    feasible row, it evaluates nothing and returns.
    """

    name: ClassVar[str]

    @property
    def trains_weights(self) -> bool:
        """True where the strategy trains weights of its own, so that no supernet is trained beforehand."""
        ...

    def search(self, problem: Problem, workshop: "Workshop") -> None:
        """Calls `problem.evaluate` with batches of rows."""
        ...


@runtime_checkable
class ReadsCosts(Protocol):
    """A strategy that reads costs which may be neither objectives nor limits: `problem.costs` then has them."""

    @property
    def costs(self) -> tuple[str, ...]:
        """The names of these costs, as `--objectives` takes them: `snip`, `params`, `FILE.py:NAME`."""
        ...


@runtime_checkable
class TrainsAlone(Protocol):
    """A strategy that may train every network by itself, by the recipe that the network's choices name."""

    @property
    def trains_alone(self) -> bool:
        """True where every network is trained by itself: its space may then have choices of the recipe (`spaces.with_recipe`)."""
        ...


def trains_alone(strategy: Strategy) -> bool:
    """Returns True for a strategy that trains every network by its own recipe; False for most strategies."""
    return isinstance(strategy, TrainsAlone) and strategy.trains_alone


def costs_read(strategy: Strategy) -> tuple[str, ...]:
    """Returns the names of the costs that a strategy reads by itself; none for most strategies."""
    return strategy.costs if isinstance(strategy, ReadsCosts) else ()
