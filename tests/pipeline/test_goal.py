"""Laws of goals: every duration has a unit, and budgets, limits and objectives are what was asked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwnas.core.requests import checked
from hwnas.errors import HwnasError, UnknownNameError
from hwnas.pipeline.goal import UNITS_MS, Budget, GoalRequest, parse_budget

POSITIVE = st.floats(1e-12, 1e20)
BLANKS = st.text(" \t", max_size=2)


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [("0.4ms", 0.4), ("250us", 0.25), ("1s", 1000.0), ("500ns", 0.0005), (".5 ms", 0.5), ("1e-05ms", 1e-5)],
)
def test_durations_of_every_unit(text: str, milliseconds: float) -> None:
    assert parse_budget(text).milliseconds == pytest.approx(milliseconds)
    assert parse_budget(text).share is None


@given(POSITIVE, st.sampled_from(sorted(UNITS_MS)), BLANKS)
def test_any_positive_number_as_python_writes_it_is_a_duration(value: float, unit: str, blanks: str) -> None:
    budget = parse_budget(f"{blanks}{value}{blanks}{unit}{blanks}")
    assert budget == Budget(milliseconds=value * UNITS_MS[unit])
    assert budget.resolve(largest_ms=3.0) == value * UNITS_MS[unit]


@given(POSITIVE, POSITIVE)
def test_a_percentage_is_a_share_of_the_largest_network(percent: float, largest_ms: float) -> None:
    budget = parse_budget(f"{percent}%")
    assert budget.milliseconds is None and budget.share == percent / 100
    assert budget.resolve(largest_ms) == pytest.approx(percent / 100 * largest_ms)


@given(st.floats(1e-6, 1e6))
def test_units_differ_by_thousands(value: float) -> None:
    in_ms = [parse_budget(f"{value}{unit}").milliseconds for unit in ("ns", "us", "ms", "s")]
    assert in_ms == pytest.approx([value * 1e-6, value * 1e-3, value, value * 1e3])


@given(POSITIVE)
def test_a_number_without_a_unit_is_answered_with_what_could_be_meant(value: float) -> None:
    with pytest.raises(HwnasError) as refusal:
        parse_budget(str(value))
    message = str(refusal.value)
    assert "has no unit" in message
    for meant in (f"{value}ms", f"{value}us", f"{value}%"):
        assert meant in message


NOT_POSITIVE = ["0ms", "0.0%", "-1ms", "-60%", "nanms", "infms", "1e999ms", "1e-999ms"]
NOT_DURATIONS = [
    "",
    "ms",
    "%",
    "fast",
    "1 2ms",
    "1..2ms",
    "1ms1ms",
    "1 minute",
    "1,5ms",
    "0x10ms",
    "1MS",
    "١ms",
    "1ms\n2ms",
]


@pytest.mark.parametrize("text", [*NOT_POSITIVE, *NOT_DURATIONS])
def test_what_is_not_a_positive_duration_is_refused_with_examples(text: str) -> None:
    with pytest.raises(HwnasError, match=r"is not a positive duration; write 0\.4ms, 250us or 60%"):
        parse_budget(text)


@given(st.text(max_size=12))
def test_any_text_is_a_positive_budget_or_a_wrong_request(text: str) -> None:
    try:
        budget = parse_budget(text)
    except HwnasError as error:
        assert repr(text) in str(error) and error.exit_code == 2
    else:
        assert budget.resolve(largest_ms=1.0) > 0


# ---- goals


def goal(**options: object) -> GoalRequest:
    return checked(GoalRequest, options)


def test_without_a_budget_there_is_none() -> None:
    assert goal().budgets_of(["cpu"]) == []
    assert goal().bounds() == []


def test_every_device_has_the_budget_that_names_none() -> None:
    (budget,) = goal(latency_budget="0.4ms").budgets_of(["cpu", "amd-epyc"])
    assert {name: each.milliseconds for name, each in budget.items()} == {"cpu": 0.4, "amd-epyc": 0.4}


def test_devices_have_the_budgets_that_name_them() -> None:
    (budget,) = goal(latency_budget="cpu+threads=2:0.4ms,amd-epyc:60%").budgets_of(["cpu+threads=2", "amd-epyc"])
    assert budget["cpu+threads=2"].milliseconds == 0.4 and budget["amd-epyc"].share == 0.6


def test_several_budgets_of_one_device_are_as_many_searches() -> None:
    assert [budget["cpu"].share for budget in goal(latency_budget="40%,60%").budgets_of(["cpu"])] == [0.4, 0.6]


def test_a_share_of_all_limits_nothing() -> None:
    for text in ("100%", "250%", "100%,100%", "cpu:100%"):
        assert goal(latency_budget=text).budgets_of(["cpu"]) == []
    assert [list(budget) for budget in goal(latency_budget="60%,100%").budgets_of(["cpu"])] == [["cpu"], []]
    assert [list(budget) for budget in goal(latency_budget="cpu:99.9%,b:100%").budgets_of(["cpu", "b"])] == [["cpu"]]


@pytest.mark.parametrize(
    ("text", "devices", "message"),
    [
        ("gpu:1ms", ["cpu"], "unknown device of --latency-budget 'gpu'; known: cpu"),
        ("1ms,2ms", ["cpu", "amd-epyc"], "give one budget per device, as cpu:0.4ms,amd-epyc:60%"),
        ("cpu:1ms,cpu:2ms", ["cpu"], "give one budget for each device"),
        (":1ms", ["cpu"], "not a positive duration"),
        ("60%,60%", ["cpu"], "--latency-budget 60%,60%: has a budget twice; give each once"),
        ("250us,0.25ms", ["cpu"], "has a budget twice"),
    ],
)
def test_budgets_that_fit_no_device_are_refused(text: str, devices: list[str], message: str) -> None:
    with pytest.raises(HwnasError, match=message):
        goal(latency_budget=text).budgets_of(devices)


def test_limits_are_those_of_the_flags_and_of_limit() -> None:
    request = goal(max_params=1000, max_flops=2e6, max_peak_mib=0.5, limit=("model<=1MiB", "energy<=2mJ"))
    assert dict(request.bounds()) == {"params": 1000.0, "flops": 2e6, "peak": 0.5, "model": 1.0, "energy": 2.0}


def test_objectives_are_a_metric_and_every_latency_unless_they_are_named() -> None:
    assert goal().objectives_of("loss", ["latency", "latency@amd-epyc"]) == ("loss", "latency", "latency@amd-epyc")
    assert goal(objectives="accuracy, params").objectives_of("loss", ["latency"]) == ("accuracy", "params")
    for wrong in ("loss", "loss,loss", "a,b,c,d,e"):
        with pytest.raises(HwnasError, match="two to four different names"):
            goal(objectives=wrong).objectives_of("loss", ["latency"])


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"latency_budget": "3"}, HwnasError, "has no unit"),
        ({"latency_budget": "-3ms"}, HwnasError, "not a positive duration"),
        ({"budget_on": "mean"}, UnknownNameError, "unknown latency statistic 'mean'; known: median, p10, p90"),
        ({"max_params": 0}, HwnasError, "--max-params must be at least 1, not 0"),
        ({"max_model_mib": 0.0}, HwnasError, r"--max-model-mib must be above 0, not 0\.0"),
        ({"max_peak_mib": float("inf")}, HwnasError, "--max-peak-mib must be a finite number, not inf"),
        ({"max_energy_mj": 0}, HwnasError, "--max-energy-mj must be above 0, not 0"),
    ],
)
def test_a_goal_that_cannot_be_is_refused(wrong: dict[str, object], error: type[HwnasError], message: str) -> None:
    with pytest.raises(error, match=message):
        goal(**wrong)
