"""What is printed where something is not known."""

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


def test_a_front_that_was_not_timed_has_no_columns_of_what_was_measured() -> None:
    row = FrontRow(
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
    untimed = [column.header for column in front_table([row]).columns]
    timed = replace(row, measured_ms=1.0, measured_median_ms=1.1, measured_p90_ms=1.2)
    headers = [column.header for column in front_table([timed]).columns]
    assert [header for header in headers if header not in untimed] == ["measured ms", "median", "error"]


def test_lists_are_printed_one_after_the_other_without_the_empty_ones(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows({"devices": [{"device": "cpu"}], "shipped": [{"spaces": ["gpt", "vit"]}]}, as_json=False)
    assert "gpt, vit" in capsys.readouterr().out
    print_rows({"devices": [{"device": "cpu"}], "shipped": []}, as_json=False)
    assert capsys.readouterr().out.count("┏") == 1
