"""Laws of objectives and of the points with names: for any number of objectives, whatever the order of the rows."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwnas.errors import RunError, UnknownNameError
from hwnas.runs.folder import RunFolder, create_run
from hwnas.runs.front import DeviceLatency, FrontRow
from hwnas.runs.objectives import (
    Objective,
    RunGoal,
    best_under,
    cost_column,
    goal_of,
    known_names,
    named,
    read_goal,
)
from hwnas.tasks.task import Metric

LOSS, ACCURACY = Metric(name="loss", unit="nats"), Metric(name="accuracy", unit="share", highest=True)
GOAL = goal_of(("loss", "latency"), (LOSS, ACCURACY))
# Objectives that fronts are drawn for: of each kind, in any number.
NAMES = ("loss", "accuracy", "latency", "latency@board", "params", "peak")


def device_latency(device: str, measured_ms: float | None, predicted_ms: float = 1.0) -> DeviceLatency:
    return DeviceLatency(
        device=device,
        predicted_ms=predicted_ms,
        interval_low_ms=0.9,
        interval_high_ms=1.1,
        measured_ms=measured_ms,
        measured_median_ms=measured_ms,
        measured_p90_ms=measured_ms,
        within_budget=True,
        budget_ms=None,
    )


def row_of(values: dict[str, float], arch_id: str = "a") -> FrontRow:
    """A row whose objectives have these values; a device `board` that is not here is predicted."""
    return FrontRow(
        arch_id=arch_id,
        arch="{}",
        stages="supernet",
        metrics={"loss_val": values.get("loss", 1.0), "accuracy_val": values.get("accuracy", 0.5)},
        latencies=(
            device_latency("cpu", values.get("latency", 1.0)),
            device_latency("board", None, values.get("latency@board", 1.0)),
        ),
        costs={"params": values.get("params", 1.0), "peak_mib": values.get("peak", 1.0)},
        onnx="a.onnx",
    )


def plane(*points: tuple[float, float]) -> list[FrontRow]:
    return [row_of({"latency": x, "loss": y}, f"{index}") for index, (x, y) in enumerate(points)]


@st.composite
def fronts(draw: st.DrawFn) -> tuple[RunGoal, list[FrontRow]]:
    """Any two to four objectives, and rows of which some may be equal in some of them."""
    names = draw(st.lists(st.sampled_from(NAMES), min_size=2, max_size=4, unique=True))
    values = st.integers(1, 9).map(float) | st.floats(0.1, 10)
    points = draw(st.lists(st.fixed_dictionaries(dict.fromkeys(names, values)), min_size=1, max_size=8))
    return goal_of(names, (LOSS, ACCURACY)), [row_of(point, f"{index}") for index, point in enumerate(points)]


# ---- values


@pytest.mark.parametrize(
    ("name", "value", "minimised", "column"),
    [
        ("loss", 0.5, 0.5, "loss_val"),
        ("accuracy", 0.9, -0.9, "accuracy_val"),
        ("latency", 2.0, 2.0, "predicted_ms"),
        ("latency@board", 3.0, 3.0, "predicted_ms@board"),
        ("params", 100.0, 100.0, "params"),
        ("peak", 0.25, 0.25, "peak_mib"),
    ],
)
def test_an_objective_has_a_value_a_sign_and_a_column(name: str, value: float, minimised: float, column: str) -> None:
    row = row_of({"loss": 0.5, "accuracy": 0.9, "latency": 2.0, "latency@board": 3.0, "params": 100.0, "peak": 0.25})
    objective = GOAL.objective(name)
    assert (objective.value(row), objective.minimised(row), objective.column(row)) == (value, minimised, column)
    assert name in known_names(row, GOAL.metrics)


def test_a_latency_is_the_measured_one_where_there_is_one() -> None:
    row = replace(row_of({}), latencies=(device_latency("cpu", 2.0, 3.0), device_latency("board", None, 4.0)))
    assert [GOAL.objective(name).value(row) for name in ("latency", "latency@board")] == [2.0, 4.0]


def test_a_value_that_is_not_a_number_is_the_worst() -> None:
    row = row_of({"loss": math.nan, "accuracy": math.nan})
    assert [GOAL.objective(name).minimised(row) for name in ("loss", "accuracy")] == [math.inf, math.inf]


def test_an_objective_that_a_front_does_not_have_says_which_costs_there_are() -> None:
    with pytest.raises(UnknownNameError, match="unknown objective of the front 'energy'; known: params, peak_mib"):
        Objective("energy").value(row_of({}))


@given(st.sampled_from(["params", "model", "energy"]), st.sampled_from(["", "MiB", "mJ", "ms"]))
def test_an_objective_finds_the_column_of_its_cost_by_name(name: str, unit: str) -> None:
    row = replace(row_of({}), costs={cost_column(name, unit): 2.5})
    assert Objective(name).value(row) == 2.5 and name in known_names(row, ())


# ---- names


def names(rows: Sequence[FrontRow]) -> dict[str, tuple[float, float]]:
    return {name: (row.latency_ms, row.loss_val) for name, row in named(rows, GOAL.objectives).items()}


def test_the_knee_of_two_objectives_is_furthest_below_the_line_between_the_ends() -> None:
    rows = plane((1, 1.0), (2, 0.3), (3, 0.25), (5, 0.2))
    assert names(rows) == {"fastest": (1, 1.0), "knee": (2, 0.3), "best": (5, 0.2)}


def test_the_knee_of_two_rows_is_the_best_and_one_row_is_all_three() -> None:
    fast, good = plane((1, 1.0), (2, 0.5))
    assert named([good, fast], GOAL.objectives) == {"fastest": fast, "knee": good, "best": good}
    assert named([fast], GOAL.objectives) == {"fastest": fast, "knee": fast, "best": fast}


def test_the_best_is_the_highest_of_a_metric_that_is_to_be_high() -> None:
    rows = [row_of({"accuracy": share, "latency": share}, f"{share}") for share in (0.5, 0.9, 0.7)]
    by_name = named(rows, goal_of(("latency", "accuracy"), (LOSS, ACCURACY)).objectives)
    assert {name: row.accuracy_val for name, row in by_name.items()} == {"fastest": 0.5, "knee": 0.7, "best": 0.9}


def test_the_knee_of_three_objectives_weighs_all_of_them() -> None:
    ends = [
        row_of({"loss": 0.0, "latency": 9.0, "params": 5.0}, "best"),
        row_of({"loss": 9.0, "latency": 0.0, "params": 5.0}, "fast"),
    ]
    small = row_of({"loss": 4.0, "latency": 4.0, "params": 1.0}, "small")
    large = row_of({"loss": 3.0, "latency": 3.0, "params": 9.0}, "large")
    rows = [large, *ends, small]
    assert named(rows, GOAL.objectives)["knee"] == large
    assert named(rows, goal_of(("loss", "latency", "params"), (LOSS, ACCURACY)).objectives)["knee"] == small


@given(fronts(), st.randoms(use_true_random=False))
def test_names_do_not_depend_on_the_order_of_the_rows(front: tuple[RunGoal, list[FrontRow]], random: Random) -> None:
    goal, rows = front
    by_name = named(rows, goal.objectives)
    random.shuffle(rows)
    assert {name: row.arch_id for name, row in named(rows, goal.objectives).items()} == {
        name: row.arch_id for name, row in by_name.items()
    }


@given(fronts())
def test_no_row_is_faster_than_the_fastest_nor_better_than_the_best(front: tuple[RunGoal, list[FrontRow]]) -> None:
    goal, rows = front
    by_name = named(rows, goal.objectives)
    first = next((objective for objective in goal.objectives if objective.metric), goal.objectives[0])
    assert list(by_name) == ["fastest", "knee", "best"] and set(by_name.values()) <= set(rows)
    assert by_name["fastest"].latency_ms == min(row.latency_ms for row in rows)
    assert first.minimised(by_name["best"]) == min(map(first.minimised, rows))


@given(fronts())
def test_no_row_between_the_ends_has_a_lower_sum_of_scaled_objectives_than_the_knee(
    front: tuple[RunGoal, list[FrontRow]],
) -> None:
    goal, rows = front
    by_name = named(rows, goal.objectives)
    ends = {by_name["fastest"].arch_id, by_name["best"].arch_id}
    between = [row for row in rows if row.arch_id not in ends]
    if not between:
        assert by_name["knee"] == by_name["best"]
        return

    def height(row: FrontRow) -> float:
        total = 0.0
        for objective in goal.objectives:
            values = [objective.minimised(one) for one in rows]
            total += (objective.minimised(row) - min(values)) / ((max(values) - min(values)) or 1.0)
        return total

    assert by_name["knee"] in between
    assert height(by_name["knee"]) == pytest.approx(min(map(height, between)))


@given(fronts(), st.sampled_from([2.0**-10, 0.5, 1024.0]))
def test_names_do_not_depend_on_units(front: tuple[RunGoal, list[FrontRow]], unit: float) -> None:
    goal, rows = front
    other = [
        replace(
            row,
            metrics={name: value * unit for name, value in row.metrics.items()},
            costs={name: value * 4 for name, value in row.costs.items()},
        )
        for row in rows
    ]
    assert [row.arch_id for row in named(other, goal.objectives).values()] == [
        row.arch_id for row in named(rows, goal.objectives).values()
    ]


@given(fronts())
def test_a_row_that_is_not_a_number_in_an_objective_is_never_the_only_best(
    front: tuple[RunGoal, list[FrontRow]],
) -> None:
    goal, rows = front
    lost = replace(rows[0], arch_id="lost", metrics=dict.fromkeys(rows[0].metrics, math.nan))
    objectives = goal_of(
        ("loss", *(one.name for one in goal.objectives if one.metric is None)), goal.metrics
    ).objectives
    assert named([lost, *rows], objectives)["best"].arch_id != "lost"


# ---- the best under a bound


@given(fronts(), st.sampled_from(["predicted_ms", "measured_ms", "params", "peak_mib"]), st.floats(0, 12))
def test_the_best_under_a_bound_is_within_it_and_nothing_within_it_is_better(
    front: tuple[RunGoal, list[FrontRow]], column: str, bound: float
) -> None:
    goal, rows = front
    found = best_under(rows, goal.objectives, column, bound)
    within = [row for row in rows if getattr(row, column) <= bound]
    if found is None:
        assert within == []
        return
    assert getattr(found, column) <= bound
    assert found == named(within, goal.objectives)["best"]


def test_what_was_not_measured_is_under_no_bound_of_measurements() -> None:
    rows = [replace(row_of({}), latencies=(device_latency("cpu", None),))]
    assert best_under(rows, GOAL.objectives, "measured_ms", 1e9) is None
    assert best_under(rows, GOAL.objectives, "predicted_ms", 1.0) == rows[0]


# ---- the goal of a run


def run_with(path: Path, **facts: object) -> RunFolder:
    run = create_run(path, {}, {})
    run.write(run.read() | facts)
    return run


def test_the_goal_of_a_run_is_read_from_its_facts(tmp_path: Path) -> None:
    metrics = [{"name": "loss", "unit": "nats", "highest": False}, {"name": "r2", "unit": "", "highest": True}]
    facts = {"objectives": ["r2", "latency@board"], "metrics": metrics, "budget_on": "p90"}
    goal = read_goal(run_with(tmp_path, goal=json.loads(json.dumps(facts))))
    assert [objective.highest for objective in goal.objectives] == [True, False]
    assert (goal.metrics, goal.budget_on) == ((LOSS, Metric(name="r2", highest=True)), "p90")
    assert goal.quality.name == "r2" and goal.objectives[1].device == "board"


@pytest.mark.parametrize(
    "goal", [{}, {"objectives": ["loss"]}, [], {"objectives": [], "metrics": [1], "budget_on": "p10"}]
)
def test_a_goal_that_cannot_be_read_is_damage(tmp_path: Path, goal: object) -> None:
    with pytest.raises(RunError, match=r"run.json: damaged \(goal: .*\); start again under another --out"):
        read_goal(run_with(tmp_path, goal=goal))


def test_the_only_metric_of_a_task_is_what_people_read() -> None:
    assert goal_of(("loss", "latency"), (LOSS,)).quality == LOSS
