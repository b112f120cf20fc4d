"""What is printed where something is not known."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from hwnas.runs.front import FrontRow
from hwnas.terminal import front_table, print_report, print_rows

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
        "interval -3.0 % to +4.0 %: promised for 78 % of networks, kept for 75 % of the held-out ones",
        "predictor p.json",
    ]


ROW = FrontRow(
    arch_id="a",
    arch="{}",
    loss_val=0.5,
    accuracy_val=0.9,
    accuracy_test=0.9,
    predicted_ms=1.0,
    interval_low_ms=0.9,
    interval_high_ms=1.1,
    measured_ms=None,
    measured_median_ms=None,
    measured_p90_ms=None,
    within_budget=True,
    budget_ms=2.0,
    params=10,
    flops=10,
    model_mib=0.1,
    peak_mib=0.1,
    onnx="a.onnx",
)


def test_a_front_that_was_not_timed_has_no_columns_of_what_was_measured() -> None:
    untimed = [column.header for column in front_table([ROW]).columns]
    timed = replace(ROW, measured_ms=1.0, measured_median_ms=1.1, measured_p90_ms=1.2)
    headers = [column.header for column in front_table([timed]).columns]
    assert [header for header in headers if header not in untimed] == ["measured ms", "median", "error"]


def test_an_energy_that_is_predicted_has_a_column() -> None:
    (energy,) = [
        column for column in front_table([replace(ROW, energy_mj=1.23456)]).columns if column.header == "energy mJ"
    ]
    assert list(energy.cells) == ["1.235"]
    assert "energy mJ" not in [column.header for column in front_table([ROW]).columns]


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
    assert "0.02906 " in printed and "123456 " in printed
    print_rows(rows, as_json=True)
    assert json.loads(capsys.readouterr().out) == rows
