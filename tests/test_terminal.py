"""Laws of what is printed: of fronts, reports and lists."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from hwnas.report.front_table import front_table
from hwnas.runs.folder import create_run
from hwnas.runs.front import DeviceLatency, FrontRow
from hwnas.runs.objectives import RunGoal, goal_of
from hwnas.tasks.task import Metric
from hwnas.terminal import print_front, print_report, print_rows

ERRORS = {"mape": 0.0123, "within_5": 1.0, "within_10": 1.0, "spearman": None, "kendall": None}
REPORT = {
    "networks": 8,
    "held_out": ERRORS,
    "baselines": {"flops": {**ERRORS, "mape": 0.5}},
    "interval_coverage": 7 / 9,
    "covered": 0.75,
    "repeat_noise": None,
    "reference_ms": None,
    "points": {"predicted_ms": [1.0], "measured_ms": [1.0]},
}


def test_a_report_of_little_says_what_is_not_known(capsys: pytest.CaptureFixture[str]) -> None:
    print_report({"predictor": Path("p.json")}, REPORT, (0.97, 1.04), as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("│")[1].strip() for line in lines if line.startswith("│")] == [
        "held-out prediction",
        "a + b * FLOPs",
    ]
    assert "none │    none │" in lines[3]
    assert lines[-4:] == [
        "8 networks, each predicted by a fit to others",
        "repeat noise unknown: no network was measured twice",
        "interval -3.0 % to +4.0 %: meant for 78 % of networks, kept for 75 % of the held-out ones",
        "predictor p.json",
    ]


LOSS, ACCURACY = Metric(name="loss", unit="nats"), Metric(name="accuracy", unit="share", highest=True)
GOAL = goal_of(("loss", "latency"), (LOSS, ACCURACY))
ELSEWHERE = DeviceLatency(
    device="cpu",
    predicted_ms=1.0,
    interval_low_ms=0.9,
    interval_high_ms=1.1,
    measured_ms=None,
    measured_median_ms=None,
    measured_p90_ms=None,
    within_budget=True,
    budget_ms=2.0,
)
HERE = replace(ELSEWHERE, measured_ms=1.0, measured_median_ms=1.1, measured_p90_ms=1.2)
ROW = FrontRow(
    arch_id="a",
    arch="{}",
    stages="supernet",
    metrics={"loss_val": 0.5, "accuracy_val": 0.9, "accuracy_test": 0.875},
    latencies=(ELSEWHERE,),
    costs={"params": 1234567, "flops": 10, "model_mib": 0.1, "peak_mib": 0.1},
    onnx="a.onnx",
)


def headers(rows: Sequence[FrontRow], goal: RunGoal = GOAL) -> list[str]:
    return [str(column.header).replace("\n", " ") for column in front_table(rows, goal).columns]


def cells(header: str, rows: Sequence[FrontRow], goal: RunGoal = GOAL) -> list[str]:
    return list(front_table(rows, goal).columns[headers(rows, goal).index(header)].cells)


def test_a_front_that_was_not_timed_has_no_columns_of_what_was_measured() -> None:
    timed = headers([replace(ROW, latencies=(HERE,))])
    assert [header for header in timed if header not in headers([ROW])] == ["measured median ms", "error of p10"]


def test_an_energy_that_is_predicted_has_a_column() -> None:
    row = replace(ROW, costs={**ROW.costs, "energy_mj": 1.23456})
    assert cells("energy mJ", [row]) == ["1.235"]
    assert "energy mJ" not in headers([ROW])


def test_the_table_of_a_usual_front_has_what_people_decide_by() -> None:
    assert headers([replace(ROW, latencies=(HERE,))]) == [
        "id",
        "name",
        "val loss",
        "val accuracy",
        "test accuracy",
        "predicted ms (interval)",
        "measured median ms",
        "error of p10",
        "in budget",
        "params",
    ]
    assert cells("test accuracy", [ROW]) == ["87.5 %"] and cells("params", [ROW]) == ["1,234,567"]
    assert cells("predicted ms (interval)", [ROW]) == ["1.0000 (0.9000–1.1000)"]


def test_metrics_have_their_own_unit_and_objectives_their_own_columns() -> None:
    metrics = (Metric(name="loss"), Metric(name="rmse"), Metric(name="r2", highest=True))
    goal = goal_of(("r2", "latency", "peak", "params"), metrics)
    row = replace(ROW, metrics={"loss_val": 0.25, "rmse_val": 0.5, "r2_val": -0.125, "rmse_test": 0.75})
    shown = headers([row], goal)
    assert [name for name in shown if name.startswith(("val ", "test "))] == [
        "val loss",
        "val rmse",
        "test rmse",
        "val r2",
    ]
    assert shown[-2:] == ["peak MiB", "params"] and shown.count("params") == 1
    assert [cells(name, [row], goal) for name in ("val r2", "test rmse", "peak MiB")] == [
        ["-0.1250"],
        ["0.7500"],
        ["0.1"],
    ]


def test_every_device_has_its_columns_under_its_name() -> None:
    board = replace(ELSEWHERE, device="board", within_budget=False)
    row = replace(ROW, latencies=(HERE, board))
    assert headers([row])[5:11] == [
        "cpu predicted ms (interval)",
        "cpu measured median ms",
        "cpu error of p10",
        "cpu in budget",
        "board predicted ms (interval)",
        "board in budget",
    ]
    assert (cells("cpu in budget", [row]), cells("board in budget", [row])) == (["yes"], ["NO"])


def test_values_before_final_training_stand_before_those_after() -> None:
    before = {"loss_val_before": 0.625, "accuracy_val_before": 0.75, "accuracy_test_before": 0.7}
    row = replace(ROW, metrics={**ROW.metrics, **before})
    assert cells("val loss", [row]) == ["0.6250 → 0.5000"]
    assert cells("val accuracy", [row]) == ["75.0 → 90.0 %"]
    assert cells("test accuracy", [row]) == ["70.0 → 87.5 %"]


@pytest.mark.parametrize("final", [False, True])
def test_the_table_of_one_device_fits_120_columns_by_leaving_out_costs_that_are_no_objectives(final: bool) -> None:
    costs = {**ROW.costs, "energy_mj": 0.123456, "params": 123456789}
    before = {f"{name}_before": value for name, value in ROW.metrics.items()} if final else {}
    row = replace(ROW, arch_id="0123456789", latencies=(HERE,), costs=costs, metrics={**ROW.metrics, **before})
    table = front_table([row, replace(row, arch_id="9876543210")], GOAL)
    assert Console(width=1000).measure(table).maximum <= 120
    assert ("params" in [column.header for column in table.columns]) == (not final)
    objectives = goal_of(("loss", "latency", "params"), (LOSS, ACCURACY))
    assert "params" in headers([row], objectives)


@pytest.mark.parametrize("width", [60, 80, 100])
def test_in_a_narrow_terminal_cells_stand_one_above_the_other_and_none_is_lost(width: int) -> None:
    rows = [ROW, replace(ROW, arch_id="9876543210")]
    table = front_table(rows, GOAL, width)
    assert Console(width=1000).measure(table).maximum <= width
    lines = {line for column in table.columns for cell in column.cells for line in str(cell).split("\n")}
    wide = {
        str(cell) for column in front_table(rows, GOAL).columns if column.header != "params" for cell in column.cells
    }
    assert wide <= lines


def test_without_a_budget_there_is_no_verdict() -> None:
    unlimited = replace(ROW, latencies=(replace(HERE, budget_ms=None),))
    assert "in budget" in headers([ROW]) and "in budget" not in headers([unlimited])


def test_named_points_carry_their_names() -> None:
    slow = replace(
        ROW, arch_id="b", metrics={**ROW.metrics, "loss_val": 0.25}, latencies=(replace(HERE, measured_ms=2.0),)
    )
    assert cells("name", [replace(ROW, latencies=(HERE,)), slow]) == ["fastest", "best"]


def test_a_front_for_programs_has_every_column_of_its_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    print_front([ROW], tmp_path, as_json=True)
    printed = json.loads(capsys.readouterr().out)
    assert printed == {"run": str(tmp_path), "front": [ROW.cells]}
    assert printed["front"][0]["accuracy_test"] == 0.875 and printed["front"][0]["measured_ms"] is None


def test_a_front_for_people_is_a_table_by_the_goal_of_its_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run = create_run(tmp_path / "run", {}, {})
    metrics = [{"name": "loss", "unit": "nats", "highest": False}]
    run.write(run.read() | {"goal": {"objectives": ["loss", "latency"], "metrics": metrics, "budget_on": "median"}})
    print_front([ROW], run.path, as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert "0.5000" in lines[-3] and lines[-1].startswith(f"report {run.path / 'report.html'}")


def test_lists_are_printed_one_after_the_other_under_their_names_without_the_empty_ones(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_rows({"devices": [{"device": "cpu"}], "shipped": [{"spaces": ["gpt", "vit"]}]}, as_json=False)
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert lines.index("devices") < lines.index("shipped") and "│ gpt, vit │" in lines
    print_rows({"devices": [{"device": "cpu"}], "shipped": []}, as_json=False)
    assert capsys.readouterr().out.count("┏") == 1
    print_rows({"spaces": [{"space": "vit"}]}, as_json=False)
    assert "spaces" not in capsys.readouterr().out


def test_what_no_row_has_is_no_column(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows({"verified": [{"then_ms": None, "ms": 1.0}, {"then_ms": None, "ms": 2.0}]}, as_json=False)
    assert "then_ms" not in capsys.readouterr().out
    print_rows({"verified": [{"then_ms": None, "ms": 1.0}, {"then_ms": 0.5, "ms": 2.0}]}, as_json=False)
    out = capsys.readouterr().out
    assert "then_ms" in out and "None" not in out


def test_numbers_for_people_have_four_digits_and_those_for_programs_all(capsys: pytest.CaptureFixture[str]) -> None:
    rows = {"verified": [{"measured_ms": 0.029063901595976008, "networks": 123456}]}
    print_rows(rows, as_json=False)
    printed = capsys.readouterr().out
    assert "0.02906 " in printed and "123,456 " in printed
    print_rows(rows, as_json=True)
    assert json.loads(capsys.readouterr().out) == rows
