"""Laws of problems: objectives are checked, points are minimised, and feasible rows are found and nothing else."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from hwnas.core.arrays import FloatArray, IntArray
from hwnas.costs.cost import Limit
from hwnas.costs.function import FunctionCost
from hwnas.errors import HwnasError, UnknownNameError
from hwnas.strategies.problem import Problem
from hwnas.testing.problems import choices_of, steps

SPACE = choices_of([4] * 6)
ROWS = SPACE.sample_rows(np.random.default_rng(0), 20)


def evaluate(rows_NC: IntArray) -> Mapping[str, FloatArray]:
    return {"loss": rows_NC.sum(axis=1).astype(float), "accuracy": rows_NC[:, 0] / 4}


def problem(*objectives: str) -> Problem:
    return replace(steps(SPACE).problem(), objectives=objectives, evaluate=evaluate)


@pytest.mark.parametrize("objectives", [(), ("loss", "loss"), ("loss", "accuracy", "latency", "size", "energy")])
def test_other_than_one_to_four_different_objectives_are_refused(objectives: tuple[str, ...]) -> None:
    with pytest.raises(HwnasError, match="give 2 to 4 different ones"):
        problem(*objectives)


def test_an_unknown_objective_is_answered_with_the_known_ones() -> None:
    with pytest.raises(
        UnknownNameError, match="unknown objective 'speed'; known: accuracy, energy, latency, loss, size"
    ):
        problem("loss", "speed")


def test_points_are_the_objectives_in_order_all_minimised() -> None:
    one = problem("latency", "accuracy", "loss", "size")
    metrics = evaluate(ROWS)
    columns = [
        one.costs["latency"].values(ROWS),
        -metrics["accuracy"],
        metrics["loss"],
        one.costs["size"].values(ROWS),
    ]
    assert np.array_equal(one.points(ROWS, metrics), np.stack(columns, axis=1))
    assert one.points(ROWS[:0], evaluate(ROWS[:0])).shape == (0, 4)


def test_cheap_objectives_are_the_costs() -> None:
    one = problem("latency", "accuracy", "size")
    assert list(one.cheap(ROWS)) == ["latency", "size"]
    assert np.array_equal(one.cheap(ROWS)["size"], one.costs["size"].values(ROWS))


def test_the_violation_is_that_of_the_worst_limit() -> None:
    first, last = (FunctionCost(name, "", lambda rows, at=at: rows[:, at]) for name, at in (("first", 0), ("last", -1)))
    one = replace(problem("loss", "latency"), limits=(Limit(first, 2.0), Limit(last, 1.0)))
    expected = np.maximum.reduce([ROWS[:, 0] / 2 - 1, ROWS[:, -1] - 1.0, np.full(len(ROWS), -1.0)])
    assert one.violation(ROWS) == pytest.approx(expected)


@pytest.mark.parametrize("count", [1, 7, 100])
def test_feasible_rows_are_different_within_the_limits_and_not_known(count: int) -> None:
    size = FunctionCost("sum", "", lambda rows: rows.sum(axis=1).astype(float))
    one = replace(problem("loss", "latency"), limits=(Limit(size, 5.0),))

    def feasible(seed: int, known: set[bytes]) -> IntArray:
        rng = np.random.default_rng(seed)
        return one.feasible(lambda number: SPACE.sample_rows(rng, number), count, rng, known=known)

    rows_NC = feasible(0, set())
    known = {row_C.tobytes() for row_C in rows_NC}
    assert len(known) == len(rows_NC) == count and (rows_NC.sum(axis=1) <= 5).all()
    others_NC = feasible(0, known)
    assert len(others_NC) == count and not known & {row_C.tobytes() for row_C in others_NC}


def test_few_rows_are_limited_where_most_meet_the_limits() -> None:
    limited: list[int] = []

    def slow(rows_NC: IntArray) -> FloatArray:
        limited.append(len(rows_NC))
        return np.zeros(len(rows_NC))

    one = replace(problem("loss", "latency"), limits=(Limit(FunctionCost("slow", "", slow), 1.0),))
    rng = np.random.default_rng(0)
    assert len(one.feasible(lambda number: SPACE.sample_rows(rng, number), 10, rng)) == 10
    assert sum(limited) <= 30
