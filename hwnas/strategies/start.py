"""The networks that a population begins with: feasible, and spread over the costs that are searched.

Shapes: N architectures, C choices.
"""

from functools import partial
from typing import Final

import numpy as np

from hwnas.core.arrays import FloatArray, IntArray
from hwnas.core.space import SearchSpace
from hwnas.strategies.coarse import grid
from hwnas.strategies.problem import Problem

# Rows drawn for each row that is taken. 5 to 50 give equal fronts on NAS-Bench-201, and costs may be slow.
POOL: Final = 10
# Feasible rows of the coarse grid that one is chosen from, so that searches of different seeds begin differently.
COARSE: Final = 4


def first_rows(problem: Problem, rows_NC: IntArray, count: int) -> IntArray:
    """Returns given rows, then other feasible rows, each once, in their order; shape (at most `count`, C).

    Given rows are at most half of them. Those of another device may lack one end of this problem's front, so a population of
    nothing else was worse than none at first (NAS-Bench-201, docs/log.md).
    """
    if problem.given_NC is not None:
        rows_NC = np.concatenate([problem.given_NC[: (count + 1) // 2], rows_NC])
    return _distinct(rows_NC[problem.violation(rows_NC) <= 0], set())[:count]


def spread(problem: Problem, count: int, rng: np.random.Generator, *, coarse: int = 0) -> IntArray:
    """Returns given rows, `problem.start_C` and other feasible rows, evenly spread over the costs; shape (at most `count`, C).

    Rows are distinct and, after the given ones and the start, in random order. Each cost among the objectives chooses an equal
    share of them: from ten times as many drawn rows, those closest to evenly spaced values between its lowest and its highest
    drawn value; `coarse` rows are chosen in this way from the coarse grid, in which choices of one kind are alike, as far as it
    has so many. Without such a cost the rows are `SearchSpace.spread_rows`, which spread from first to last options, and none is
    of the grid. Fewer rows than `count` are returned only where no more feasible ones were found.
    """
    start_NC = first_rows(problem, np.asarray(problem.start_C, dtype=np.int64)[None], count)
    by_cost = any(name in problem.costs for name in problem.objectives)
    coarse_NC = _coarse(problem, start_NC, min(coarse, count - len(start_NC)) if by_cost else 0, rng)
    known = {row_C.tobytes() for row_C in (*start_NC, *coarse_NC)}
    missing = count - len(known)
    draw = partial(mixed_rows if by_cost else _by_options, problem.space, rng)
    rows_NC = problem.feasible(draw, missing, rng, known=known)
    if by_cost and missing and len(rows_NC) == missing:
        more_NC = draw(POOL * count)
        pool_NC = np.concatenate([rows_NC, more_NC[problem.violation(more_NC) <= 0]])
        rows_NC = _spaced(problem, _distinct(pool_NC, known), missing)
    return np.concatenate([start_NC, rng.permutation(np.concatenate([coarse_NC, rows_NC]))])


def _coarse(problem: Problem, known_NC: IntArray, count: int, rng: np.random.Generator) -> IntArray:
    """Returns feasible rows of the coarse grid that are not known, spread over the costs; shape (at most `count`, C)."""
    if count <= 0:
        return known_NC[:0]
    grid_NC = grid(problem.space, rng)[: POOL * count]
    known = {row_C.tobytes() for row_C in known_NC}
    drawn_NC = _distinct(grid_NC[problem.violation(grid_NC) <= 0], known)[: COARSE * count]
    return _spaced(problem, drawn_NC, min(count, len(drawn_NC))) if len(drawn_NC) else drawn_NC


def _by_options(space: SearchSpace, rng: np.random.Generator, count: int) -> IntArray:
    """Returns rows that spread from first to last options; shape (count, C)."""
    return space.spread_rows(rng, count)


def mixed_rows(space: SearchSpace, rng: np.random.Generator, count: int) -> IntArray:
    """Returns rows half of which spread from first to last options, and half have equally likely options; shape (count, C).

    Where options are ordered, the first half reaches the ends of a cost. Where they are not, the second half is the more varied.
    """
    return np.concatenate([space.spread_rows(rng, count // 2), space.sample_rows(rng, count - count // 2)])


def _distinct(rows_NC: IntArray, known: set[bytes]) -> IntArray:
    """Returns each row once, in order, without the known ones; shape (at most N, C)."""
    distinct = {row_C.tobytes(): row_C for row_C in rows_NC if row_C.tobytes() not in known}
    return np.array(list(distinct.values()), dtype=np.int64).reshape(-1, rows_NC.shape[1])


def _spaced(problem: Problem, pool_NC: IntArray, count: int) -> IntArray:
    """Returns `count` rows of a pool whose costs are closest to evenly spaced values; shape (count, C)."""
    costs = list(problem.cheap(pool_NC).values())
    taken: list[int] = []
    for number, cost_N in enumerate(costs):
        for value in _places(cost_N, len(range(number, count, len(costs)))):
            distance_N = np.abs(cost_N - value)
            distance_N[taken] = np.inf
            taken.append(int(distance_N.argmin()))
    return pool_NC[taken]


def _places(cost_N: FloatArray, count: int) -> FloatArray:
    """Returns evenly spaced values from above the lowest cost, where the start often is, to the highest; shape (count,)."""
    return np.asarray(np.linspace(cost_N.min(), cost_N.max(), count + 1)[1:])
