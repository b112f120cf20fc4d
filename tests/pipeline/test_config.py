"""Laws of budgets and configurations: every duration has a unit, and what is stored is what was asked."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwnas.errors import HwnasError, UnknownNameError
from hwnas.pipeline.config import UNITS_MS, Budget, SearchConfig, parse_budget

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


# ---- configuration


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"latency_budget": "3"}, HwnasError, "has no unit"),
        ({"latency_budget": "-3ms"}, HwnasError, "not a positive duration"),
        ({"budget_on": "mean"}, UnknownNameError, "unknown latency statistic 'mean'; known: median, p10, p90"),
        ({"recipe": "lamb"}, UnknownNameError, "unknown recipe 'lamb'; known: adamw, auto, sgd"),
        ({"learning_rate": 0.0}, HwnasError, r"--learning-rate must be positive, not 0\.0"),
        ({"learning_rate": float("nan")}, HwnasError, "--learning-rate must be positive, not nan"),
        ({"max_params": 0}, HwnasError, "--max-params must be at least 1, not 0"),
        ({"max_model_mib": 0.0}, HwnasError, r"--max-model-mib must be positive, not 0\.0"),
        ({"max_peak_mib": -0.5}, HwnasError, r"--max-peak-mib must be positive, not -0\.5"),
        ({"max_peak_mib": float("inf")}, HwnasError, "--max-peak-mib must be positive, not inf"),
        ({"epochs": 0}, HwnasError, "--epochs must be at least 1, not 0"),
        ({"evaluations": 0}, HwnasError, "--evaluations must be at least 1, not 0"),
        ({"networks": -4}, HwnasError, "--networks must be at least 1, not -4"),
        ({"seed": -1}, HwnasError, "--seed must be between 0 and 4294967295, not -1"),
    ],
)
def test_a_configuration_that_cannot_be_run_is_refused(
    wrong: dict[str, Any], error: type[HwnasError], message: str
) -> None:
    with pytest.raises(error, match=message):
        SearchConfig(**wrong)


CONFIGS = st.builds(
    SearchConfig,
    space_options=st.dictionaries(st.text(max_size=5), st.integers() | st.booleans() | st.text(max_size=5), max_size=3),
    limit_images=st.none() | st.integers(1, 1000),
    latency_budget=st.sampled_from(["0.4ms", "60%"]),
    budget_on=st.sampled_from(["p10", "median", "p90"]),
    max_params=st.none() | st.integers(1, 10**9),
    max_model_mib=st.none() | st.floats(1e-3, 1e3),
    max_peak_mib=st.none() | st.floats(1e-3, 1e3),
    seed=st.integers(0, 2**31),
    recipe=st.sampled_from(["auto", "sgd", "adamw"]),
    learning_rate=st.none() | st.floats(1e-6, 10),
    table=st.none() | st.text(min_size=1, max_size=5),
)


@given(CONFIGS)
def test_a_configuration_comes_back_from_the_json_of_its_description(config: SearchConfig) -> None:
    assert SearchConfig(**json.loads(json.dumps(config.describe()))) == config


def test_the_defaults_are_a_search_that_can_be_run() -> None:
    config = SearchConfig()
    assert parse_budget(config.latency_budget).resolve(largest_ms=2.0) == 2.0  # no more than the largest network takes
    assert config.budget_on == "median"
