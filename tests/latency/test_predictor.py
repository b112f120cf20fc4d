"""Laws of the predictor: files that survive or say what is wrong, restricted spaces, breakdowns."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hwnas
from hwnas.core.optimum import minimise
from hwnas.core.space import SearchSpace
from hwnas.errors import PredictorError
from hwnas.latency.predictor import SCHEMA, LatencyPredictor

JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.floats(allow_nan=False), st.text(max_size=3)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def rows(tiny_space: SearchSpace) -> np.ndarray:
    return tiny_space.sample_rows(np.random.default_rng(99), 100)


@pytest.fixture(scope="module")
def content(predictor: LatencyPredictor, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a saved predictor."""
    path = tmp_path_factory.mktemp("saved") / "predictor.json"
    predictor.save(path)
    return path.read_bytes()


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bytes], LatencyPredictor]:
    path = tmp_path_factory.mktemp("loaded") / "predictor.json"

    def load(content: bytes) -> LatencyPredictor:
        path.write_bytes(content)
        return LatencyPredictor.load(path)

    return load


def is_one_line_that_names_the_file(error: PredictorError) -> bool:
    return "\n" not in str(error) and "predictor.json: " in str(error)


# ---- files


def test_a_saved_predictor_is_read_back_exactly(predictor, content, load, rows) -> None:
    again = load(content)
    assert np.array_equal(again.predict_ms(rows), predictor.predict_ms(rows))
    for name in ("choices", "interval", "statistics", "report", "conditions", "space"):
        assert getattr(again, name) == getattr(predictor, name), name
    for one, other in zip(again.factors, predictor.factors, strict=True):
        assert (one.name, one.scope) == (other.name, other.scope)
        assert np.array_equal(one.values, other.values)


def test_saving_what_was_read_writes_the_same_bytes(content, load, tmp_path) -> None:
    load(content).save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == content


@given(st.data())
@settings(max_examples=150)
def test_a_truncated_file_is_a_predictor_error(content, load, data) -> None:
    with pytest.raises(PredictorError, match="not a predictor's JSON, or damaged; fit it again") as raised:
        load(content[: data.draw(st.integers(0, len(content) - 1))])
    assert is_one_line_that_names_the_file(raised.value)


@given(st.data())
@settings(max_examples=150)
def test_a_file_with_bytes_overwritten_loads_or_is_a_predictor_error(content, load, data) -> None:
    start = data.draw(st.integers(0, len(content) - 1))
    scribble = data.draw(st.binary(min_size=1, max_size=8))
    try:
        loaded = load(content[:start] + scribble + content[start + len(scribble) :])
    except PredictorError as error:
        assert is_one_line_that_names_the_file(error)
    else:
        assert isinstance(loaded, LatencyPredictor)


@given(st.data())
@settings(max_examples=300)
def test_a_file_with_any_value_replaced_loads_or_is_a_predictor_error(content, load, data) -> None:
    damaged = json.loads(content)
    _replace_somewhere(damaged, data)
    try:
        loaded = load(json.dumps(damaged).encode())
    except PredictorError as error:
        assert is_one_line_that_names_the_file(error)
    else:
        assert all(isinstance(ratio, float) for ratio in (*loaded.interval, *loaded.statistics.values()))


def _replace_somewhere(value: Any, data: st.DataObject) -> None:
    """Descends at random, and puts something else where it stops; sometimes takes it away."""
    keys = sorted(value) if isinstance(value, dict) else range(len(value))
    key = data.draw(st.sampled_from(keys))
    if isinstance(value[key], dict | list) and value[key] and data.draw(st.booleans()):
        _replace_somewhere(value[key], data)
    elif data.draw(st.booleans()):
        value[key] = data.draw(JSON)
    else:
        del value[key]


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        ({"schema": SCHEMA + 1}, rf"schema {SCHEMA + 1}, this version reads {SCHEMA}; update hwnas or fit again"),
        ({"schema": None}, rf"schema None, this version reads {SCHEMA}"),
        ({"choices": []}, r"damaged \(KeyError: .*\); fit it again"),
        ({"choices": [{"name": "a", "options": [], "when": []}]}, r"damaged \(SpaceError: choice 'a' has no options"),
        ({"interval": [0.9]}, r"damaged \(ValueError: not enough values to unpack"),
        ({"statistics": 3}, r"damaged \(AttributeError: "),
        (
            {"factors": [{"name": "a", "scope": [], "values": [1.0]}]},
            r"damaged \(ValueError: factor a has shape \(1,\)",
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_said(content, load, replaced, message) -> None:
    with pytest.raises(PredictorError, match=rf"predictor\.json: {message}"):
        load(json.dumps({**json.loads(content), **replaced}).encode())


@pytest.mark.parametrize("content", [b"[]", b"3", b"null", b'"schema"'])
def test_a_file_of_something_else_is_a_predictor_error(load, content) -> None:
    with pytest.raises(PredictorError, match="schema None, this version reads"):
        load(content)


def test_a_missing_file_says_what_makes_it(tmp_path: Path) -> None:
    message = r"missing\.json: cannot be read \(No such file or directory\); `hwnas fit --out .*missing\.json` makes it"
    with pytest.raises(PredictorError, match=message):
        LatencyPredictor.load(tmp_path / "missing.json")
    with pytest.raises(PredictorError, match=r"cannot be read \(Is a directory\)"):
        LatencyPredictor.load(tmp_path)


# ---- predictions


def test_a_breakdown_sums_to_the_prediction(predictor, rows) -> None:
    for row, predicted_ms in zip(rows, predictor.predict_ms(rows), strict=True):
        assert sum(predictor.breakdown_ms(row).values()) == pytest.approx(predicted_ms, rel=1e-12)


def test_a_breakdown_names_every_layer_and_gives_absent_ones_nothing(predictor, tiny_space) -> None:
    smallest = tiny_space.smallest()
    breakdown = predictor.breakdown_ms(tiny_space.encode([smallest])[0])
    for layer in tiny_space.layers:
        if layer.operator(smallest) is None:
            assert breakdown[layer.name] == 0.0
        else:
            assert breakdown[layer.name] > 0.0
    assert set(breakdown) == {"intercept", *(layer.name for layer in tiny_space.layers)}


def test_one_architecture_is_predicted_as_in_a_batch(predictor, rows) -> None:
    one_by_one = [float(predictor.predict_ms(row[None])[0]) for row in rows]
    assert predictor.predict_ms(rows).tolist() == one_by_one
    assert predictor.predict_ms(rows[:0]).shape == (0,)


def test_the_upper_end_is_the_prediction_times_interval_and_statistic(predictor, rows) -> None:
    for statistic, ratio in predictor.statistics.items():
        expected = predictor.predict_ms(rows) * predictor.interval[1] * ratio
        assert predictor.upper_ms(rows, statistic) == pytest.approx(expected, rel=1e-12)
        assert (predictor.upper_ms(rows, statistic) >= predictor.predict_ms(rows)).all()


def test_the_exact_minimum_is_no_slower_than_anything_drawn(predictor, tiny_space) -> None:
    fastest = tiny_space.encode([minimise(tiny_space, predictor.factors)])
    drawn = tiny_space.spread_rows(np.random.default_rng(0), 20_000)
    assert predictor.predict_ms(fastest)[0] <= predictor.predict_ms(drawn).min()


# ---- other spaces


def restricted(space: SearchSpace, options_of: Callable[[tuple], tuple]) -> SearchSpace:
    """The space with other options of every choice but depths, and choices in another order."""
    choices = [
        choice if choice.name.endswith(".depth") else replace(choice, options=options_of(choice.options))
        for choice in space.choices
    ]
    return replace(space, choices=tuple(choices[::-1]))


@pytest.mark.parametrize(
    "options_of",
    [
        pytest.param(lambda options: options, id="only the choices' order"),
        pytest.param(lambda options: options[::-1], id="options in reverse"),
        pytest.param(lambda options: options[-1:] + options[:1] if len(options) > 1 else options, id="fewer options"),
        pytest.param(lambda options: options[-1:], id="one option each"),
    ],
)
def test_a_restricted_spaces_predictions_are_its_parents(predictor, tiny_space, options_of) -> None:
    smaller = restricted(tiny_space, options_of)
    rows = smaller.sample_rows(np.random.default_rng(0), 50)
    archs = [smaller.decode(row) for row in rows]
    ours = predictor.for_space(smaller)
    # Through `arch`: what is switched off is another first option there.
    parents = [tiny_space.arch(arch) for arch in archs]
    assert ours.predict_ms(rows) == pytest.approx(predictor.predict_ms(tiny_space.encode(parents)), rel=1e-12)
    assert ours.space["fingerprint"] == smaller.fingerprint
    assert (ours.interval, ours.statistics) == (predictor.interval, predictor.statistics)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0.75}, r"the predictor knows nothing of stage1.width = 12; fit one for this space"),
        ({"width": 0.5, "squeeze_excite": "choice"}, r"the predictor knows nothing of stage1.squeeze_excite = False"),
    ],
)
def test_a_space_with_more_than_was_measured_is_refused(predictor, options, message) -> None:
    with pytest.raises(PredictorError, match=message):
        predictor.for_space(hwnas.space("mobilenet", resolution=16, **options))


def test_a_space_with_a_choice_less_is_refused(predictor, tiny_space) -> None:
    stages = tiny_space.wiring.parts[:-2]
    fewer = replace(
        tiny_space,
        choices=tuple(choice for choice in tiny_space.choices if not choice.name.startswith("stage4")),
        wiring=replace(tiny_space.wiring, parts=stages),
        classes=2,  # the last axis of what is left
    )
    with pytest.raises(PredictorError, match=r"the predictor depends on stage4\.\w+.*, which this space has not"):
        predictor.for_space(fewer)
