"""What is printed where something is not known."""

from pathlib import Path

import pytest

from hwnas.terminal import print_report

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
