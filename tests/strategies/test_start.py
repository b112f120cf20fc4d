"""Laws of the networks that a population begins with.

Shapes: N architectures, C choices.
"""

from dataclasses import replace

import numpy as np
import pytest

from hwnas.core.arrays import FloatArray, IntArray
from hwnas.core.choice import Choice
from hwnas.core.choices import Choices
from hwnas.core.space import SearchSpace
from hwnas.core.wiring import Chain
from hwnas.costs.cost import Limit
from hwnas.costs.function import FunctionCost
from hwnas.strategies.candidates import all_rows
from hwnas.strategies.coarse import kinds
from hwnas.strategies.problem import Problem
from hwnas.strategies.start import spread
from hwnas.testing.problems import choices_of, steps

SPACE = choices_of([4] * 8)


def scrambled(rows_NC: IntArray) -> FloatArray:
    """A cost in which the number of an option says nothing."""
    cells_CO = np.array([[0.0, 9.0, 1.0, 3.0], [5.0, 0.0, 7.0, 1.0]] * 4)
    return np.asarray(cells_CO[np.arange(8), rows_NC].sum(axis=1))


def problem(*objectives: str, bound: float | None = None) -> Problem:
    one = steps(SPACE).problem()
    costs = {**one.costs, "scrambled": FunctionCost("scrambled", "", scrambled)}
    limits = () if bound is None else (Limit(costs["scrambled"], bound),)
    return replace(one, objectives=objectives, costs=costs, limits=limits)


def start_of(one: Problem, count: int, seed: int = 0) -> IntArray:
    return spread(one, count, np.random.default_rng(seed))


@pytest.mark.parametrize("count", [1, 2, 7, 20])
@pytest.mark.parametrize(
    "objectives", [("loss",), ("loss", "scrambled"), ("loss", "latency", "size", "energy"), ("loss", "accuracy")]
)
@pytest.mark.parametrize("bound", [None, 24.0])
def test_rows_are_as_many_as_asked_distinct_and_feasible_and_the_start_is_first(
    count: int, objectives: tuple[str, ...], bound: float | None
) -> None:
    one = problem(*objectives, bound=bound)
    rows_NC = start_of(one, count)
    assert len(np.unique(rows_NC, axis=0)) == len(rows_NC) == count
    assert np.array_equal(rows_NC[0], one.start_C)
    assert (one.violation(rows_NC) <= 0).all() and np.array_equal(SPACE.normalise(rows_NC), rows_NC)


@pytest.mark.parametrize("objectives", [("loss",), ("loss", "scrambled")])
def test_given_rows_are_first_and_the_start_follows(objectives: tuple[str, ...]) -> None:
    one = problem(*objectives)
    given_NC = np.array([[3] * 8, [1, 2] * 4])
    rows_NC = start_of(replace(one, given_NC=given_NC), 6)
    assert np.array_equal(rows_NC[:3], [*given_NC, one.start_C])
    assert len(np.unique(rows_NC, axis=0)) == len(rows_NC) == 6
    assert np.array_equal(start_of(replace(one, given_NC=given_NC), 1), given_NC[:1])
    halved_NC = start_of(replace(one, given_NC=given_NC), 2)
    assert np.array_equal(halved_NC, [given_NC[0], one.start_C])
    assert np.array_equal(start_of(replace(one, given_NC=given_NC[:0]), 6), start_of(one, 6))
    again = replace(one, given_NC=np.stack([given_NC[0], one.start_C]))
    assert len(np.unique(start_of(again, 6), axis=0)) == 6


def test_a_single_row_under_a_limit_that_few_meet_is_the_start() -> None:
    one = steps(SPACE, bounds={"latency": 1.0}).problem()
    assert np.array_equal(start_of(one, 1), one.start_C[None])


def gaps(cost_N: FloatArray) -> FloatArray:
    return np.diff(np.sort(cost_N))


@pytest.mark.parametrize("seed", range(5))
def test_a_cost_is_covered_evenly_however_its_options_are_numbered(seed: int) -> None:
    one = problem("loss", "scrambled")
    cost_N = scrambled(start_of(one, 20, seed))
    random_N = scrambled(SPACE.sample_rows(np.random.default_rng(seed), 20))
    assert np.ptp(cost_N) > np.ptp(random_N)
    inner = gaps(cost_N[1:])[1:-1]  # few drawn rows are near the ends
    assert inner.max() <= 2 * inner.mean()


@pytest.mark.parametrize("seed", range(5))
def test_every_cost_is_covered_where_there_are_several(seed: int) -> None:
    one = problem("loss", "scrambled", "size")
    rows_NC = start_of(one, 21, seed)
    for name in ("scrambled", "size"):
        cost_N = one.costs[name].values(rows_NC)
        random_N = one.costs[name].values(SPACE.sample_rows(np.random.default_rng(seed), 21))
        assert np.ptp(cost_N) > np.ptp(random_N)


def test_the_spread_lies_within_the_limits() -> None:
    cost_N = scrambled(start_of(problem("loss", "scrambled", bound=20.0), 12))
    assert cost_N.max() <= 20 and cost_N.max() > 17 and gaps(cost_N).max() <= 4


def test_without_a_cost_small_and_large_options_are_drawn() -> None:
    """Sums of eight independent options seldom leave 6 to 18; those of a spread do."""
    sums_N = start_of(problem("loss", "accuracy"), 40)[1:].sum(axis=1)
    assert np.count_nonzero((sums_N < 6) | (sums_N > 18)) >= 10


def test_all_feasible_rows_are_returned_where_there_are_too_few() -> None:
    space = choices_of([3, 2, 2], conditional=True)
    rows_NC = spread(steps(space).problem(), 50, np.random.default_rng(0))
    assert np.array_equal(np.unique(rows_NC, axis=0), all_rows(space))


def test_the_same_generator_gives_the_same_rows_and_another_seed_others() -> None:
    one = problem("loss", "scrambled")
    assert np.array_equal(start_of(one, 20, 3), start_of(one, 20, 3))
    assert not np.array_equal(start_of(one, 20, 3), start_of(one, 20, 4))


def test_a_start_that_a_limit_rules_out_is_left_out() -> None:
    one = problem("loss", "latency", bound=20.0)
    infeasible = replace(one, start_C=np.array([1, 0] * 4))
    rows_NC = start_of(infeasible, 10)
    assert len(rows_NC) == 10 and (one.violation(rows_NC) <= 0).all()


def test_slow_costs_are_asked_for_few_rows() -> None:
    asked: list[int] = []

    def slow(rows_NC: IntArray) -> FloatArray:
        asked.append(len(rows_NC))
        return scrambled(rows_NC)

    one = problem("loss", "scrambled")
    start_of(replace(one, costs={**one.costs, "scrambled": FunctionCost("scrambled", "", slow)}), 20)
    assert sum(asked) <= 250


def kinds_of(space: SearchSpace, rows_NC: IntArray) -> list[int]:
    """Returns, for each row, the number of kinds whose choices differ: 0 for a row of the coarse grid."""
    kind_C = kinds(space)
    return [sum(len(set(row_C[kind_C == kind])) > 1 for kind in range(kind_C.max() + 1)) for row_C in rows_NC]


CHOICES = [Choice(f"s{stage}.{kind}", (0, 1, 2, 3)) for stage in range(4) for kind in ("kernel", "width", "depth")]
SEVERAL = SearchSpace("several", Choices(CHOICES), Chain(()), (1,), 1)


@pytest.mark.parametrize("seed", range(5))
def test_rows_of_the_coarse_grid_are_alike_within_kinds_and_cover_the_cost(seed: int) -> None:
    one = steps(SEVERAL).problem()
    rows_NC = spread(one, 7, np.random.default_rng(seed), coarse=3)
    different = kinds_of(SEVERAL, rows_NC[1:])
    assert len(np.unique(rows_NC, axis=0)) == 7
    assert different.count(0) >= 3 and any(different)
    cost_N = one.costs["latency"].values(rows_NC[1:][[number == 0 for number in different]])
    random_NC = spread(one, 7, np.random.default_rng(seed))
    assert not all(number == 0 for number in kinds_of(SEVERAL, random_NC[1:]))
    assert np.ptp(cost_N) > 0.4 * np.ptp(one.costs["latency"].values(random_NC))


def test_searches_of_different_seeds_take_different_rows_of_the_coarse_grid() -> None:
    one = steps(SEVERAL).problem()
    coarse = [
        {row_C.tobytes() for row_C in rows_NC[1:] if kinds_of(SEVERAL, row_C[None]) == [0]}
        for rows_NC in (spread(one, 7, np.random.default_rng(seed), coarse=3) for seed in range(2))
    ]
    assert coarse[0] != coarse[1]


def test_a_grid_of_few_feasible_rows_leaves_its_places_to_drawn_ones() -> None:
    one = steps(SEVERAL, bounds={"latency": 6.0}).problem()
    rows_NC = spread(one, 12, np.random.default_rng(0), coarse=6)
    assert len(np.unique(rows_NC, axis=0)) == 12 and (one.violation(rows_NC) <= 0).all()
