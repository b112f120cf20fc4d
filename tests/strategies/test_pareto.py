"""Laws of Pareto fronts, against the definition written out."""

from itertools import pairwise
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymoo.operators.survival.rank_and_crowding.metrics import get_crowding_function

from hwnas.strategies.pareto import best, crowded_order, crowding, hypervolume, knee, non_dominated, ranks

# Few values, so that ties and duplicates are common; and any finite numbers.
FEW = st.integers(0, 3).map(float)
ANY = st.floats(-1e6, 1e6)


@st.composite
def points(draw: st.DrawFn, values: st.SearchStrategy[float] = FEW | ANY, least: int = 0) -> np.ndarray:
    objectives = draw(st.integers(2, 3))
    count = draw(st.integers(least, 15))
    rows = st.lists(st.tuples(*[values] * objectives), min_size=count, max_size=count)
    return np.array(draw(rows), dtype=float).reshape(count, objectives)


def beats(a: np.ndarray, b: np.ndarray) -> bool:
    return bool((a <= b).all() and (a < b).any())


def kept_by_definition(points_ND: np.ndarray) -> list[bool]:
    """Nothing beats it, and no earlier point equals it."""
    return [
        not any(beats(other, point) for other in points_ND)
        and not any(np.array_equal(other, point) for other in points_ND[:i])
        for i, point in enumerate(points_ND)
    ]


def as_set(points_ND: np.ndarray) -> set[tuple[float, ...]]:
    return set(map(tuple, points_ND.tolist()))


@given(points())
def test_the_front_is_what_nothing_beats_and_of_equal_points_the_first(points_ND: np.ndarray) -> None:
    assert non_dominated(points_ND).tolist() == kept_by_definition(points_ND)


@given(points(least=1), st.randoms(use_true_random=False))
def test_a_front_does_not_depend_on_the_order(points_ND: np.ndarray, random: Random) -> None:
    order = list(range(len(points_ND)))
    random.shuffle(order)
    shuffled = points_ND[order]
    assert as_set(shuffled[non_dominated(shuffled)]) == as_set(points_ND[non_dominated(points_ND)])


@given(points(least=1))
def test_a_front_is_its_own_front_and_leaves_its_argument_alone(points_ND: np.ndarray) -> None:
    before = points_ND.copy()
    front = points_ND[non_dominated(points_ND)]
    assert len(front) >= 1 and non_dominated(front).all()
    assert np.array_equal(points_ND, before)


def test_a_front_of_nothing_is_empty() -> None:
    assert non_dominated(np.zeros((0, 2))).tolist() == []
    assert non_dominated(np.array([])).tolist() == []


# ---- ranks and crowding


@given(points())
def test_ranks_are_the_fronts_that_are_left_when_better_fronts_are_taken_away(points_ND: np.ndarray) -> None:
    expected, rank = np.full(len(points_ND), -1), 0
    while (expected < 0).any():
        left = expected < 0
        beaten = [any(beats(other, point) for other in points_ND[left]) for point in points_ND]
        expected[left & ~np.array(beaten)] = rank
        rank += 1
    assert ranks(points_ND).tolist() == expected.tolist()


def test_a_point_with_an_unknown_coordinate_ranks_behind() -> None:
    points_ND = np.array([[1.0, np.nan], [1.0, 2.0], [np.inf, 2.0]])
    assert ranks(points_ND).tolist() == [1, 0, 1]
    assert crowded_order(points_ND)[1] == 0


@given(st.integers(3, 12), st.integers(2, 4), st.integers(0, 2**31))
def test_crowding_distances_are_those_of_pymoo(count: int, objectives: int, seed: int) -> None:
    """Without equal values: of these, either may be taken for the end."""
    rng = np.random.default_rng(seed)
    points_ND = np.stack([rng.permutation(count) ** 2.0 for _ in range(objectives)], axis=1)
    assert crowding(points_ND) == pytest.approx(get_crowding_function("cd").do(points_ND) * objectives)


def test_crowding_distances_that_are_known() -> None:
    front = np.array([(0, 10), (1, 3), (5, 2), (10, 0)], dtype=float)
    assert crowding(front).tolist() == pytest.approx([np.inf, 0.5 + 0.8, 0.9 + 0.3, np.inf])
    assert crowding(np.zeros((0, 2))).tolist() == [] and crowding(np.array([[1.0, 2.0]])).tolist() == [np.inf]


@given(points(least=1))
def test_the_crowded_order_is_by_rank_and_then_by_distance(points_ND: np.ndarray) -> None:
    place_N = crowded_order(points_ND)
    assert sorted(place_N) == list(range(len(points_ND)))
    sorted_ND = points_ND[place_N.argsort()]
    rank_N = ranks(sorted_ND)
    assert (np.diff(rank_N) >= 0).all()
    for rank in np.unique(rank_N):
        front = points_ND[ranks(points_ND) == rank]
        distance_N = np.sort(crowding(front))[::-1]
        assert crowding(front)[place_N[ranks(points_ND) == rank].argsort()].tolist() == distance_N.tolist()


# ---- hypervolume


@pytest.mark.parametrize(
    ("points_ND", "volume"),
    [
        ([], 0.0),
        ([(1, 1)], 4.0),
        ([(1, 1), (1, 1), (2, 2)], 4.0),
        ([(0, 2), (1, 1), (2, 0)], 6.0),
        ([(3, 0)], 0.0),  # on the reference: worse than what counts
        ([(5, 1)], 0.0),
        ([(1, 1), (-1, 5)], 4.0),
    ],
)
def test_hypervolumes_that_are_known(points_ND: list[tuple[float, float]], volume: float) -> None:
    assert hypervolume(np.array(points_ND, dtype=float), (3, 3)) == volume


def test_the_hypervolume_in_three_objectives() -> None:
    assert hypervolume(np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]]), (2, 2, 2)) == 7.0


UNIT = points(values=st.floats(0, 1), least=1)


@given(UNIT)
def test_a_hypervolume_never_falls_when_points_are_added(points_ND: np.ndarray) -> None:
    reference = np.ones(points_ND.shape[1])
    volumes = [hypervolume(points_ND[:count], reference) for count in range(len(points_ND) + 1)]
    assert all(after >= before - 1e-12 for before, after in pairwise(volumes))
    assert 0 <= volumes[-1] <= 1 + 1e-12


@given(UNIT)
def test_the_hypervolume_is_that_of_the_front_alone(points_ND: np.ndarray) -> None:
    reference = np.ones(points_ND.shape[1])
    front = points_ND[non_dominated(points_ND)]
    assert hypervolume(points_ND, reference) == pytest.approx(hypervolume(front, reference), abs=1e-12)


@given(points(values=st.integers(0, 4).map(float), least=1))
def test_the_hypervolume_counts_the_cells_that_some_point_is_at_least_as_good_as(points_ND: np.ndarray) -> None:
    cells = np.indices((4,) * points_ND.shape[1]).reshape(points_ND.shape[1], -1).T
    covered = (points_ND[:, None, :] <= cells[None]).all(axis=2).any(axis=0)
    assert hypervolume(points_ND, np.full(points_ND.shape[1], 4.0)) == covered.sum()


# ---- knee


@given(points(least=1))
def test_the_knee_has_the_smallest_sum_of_normalised_objectives(points_ND: np.ndarray) -> None:
    span_D = np.where(np.ptp(points_ND, axis=0) > 0, np.ptp(points_ND, axis=0), 1.0)
    sums_N = ((points_ND - points_ND.min(axis=0)) / span_D).sum(axis=1)
    assert sums_N[knee(points_ND)] == sums_N.min()


@given(points(least=1), st.integers(0, 2**31))
def test_the_knee_does_not_depend_on_units(points_ND: np.ndarray, seed: int) -> None:
    points_ND = np.where(np.abs(points_ND) < 1e-300, 0.0, points_ND)  # below, halving is not exact
    scale_D = 2.0 ** np.random.default_rng(seed).integers(-8, 8, points_ND.shape[1])
    assert knee(points_ND * scale_D) == knee(points_ND)


def test_the_knee_of_two_objectives_is_furthest_below_the_line_between_the_ends() -> None:
    front = np.array([(0, 10), (1, 3), (5, 2), (10, 0)], dtype=float)
    assert knee(front) == 1
    assert knee(front[::-1]) == 2


def test_an_objective_in_which_all_are_equal_does_not_decide_the_knee() -> None:
    assert knee(np.array([(0, 7, 10), (1, 7, 3), (10, 7, 0)], dtype=float)) == 1


# ---- the best points


@given(points(least=1), st.integers(1, 20))
def test_the_best_points_are_different_and_no_other_beats_one_of_them(points_ND: np.ndarray, count: int) -> None:
    chosen = best(points_ND, count).tolist()
    assert len(set(chosen)) == len(chosen) == min(count, len(points_ND))
    others = points_ND[[number for number in range(len(points_ND)) if number not in chosen]]
    assert not any(beats(other, points_ND[number]) for other in others for number in chosen)


@given(points(least=1), st.integers(1, 10))
def test_more_of_the_best_begin_with_fewer(points_ND: np.ndarray, count: int) -> None:
    assert best(points_ND, count).tolist() == best(points_ND, len(points_ND)).tolist()[:count]


def test_of_one_front_the_ends_come_first_then_the_loneliest() -> None:
    points_ND = np.array([[0, 10], [1, 9], [2, 8], [6, 4], [10, 0]])
    assert best(points_ND, 3).tolist() == [0, 4, 3]


def test_with_one_objective_the_order_is_that_of_values() -> None:
    assert best(np.array([[3.0], [1.0], [2.0], [1.0]]), 3).tolist() == [1, 3, 2]
