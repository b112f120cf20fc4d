"""Laws of the predictor: files that survive or say what is wrong, restricted spaces, breakdowns."""

import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hwnas
from hwnas.core.factors import total
from hwnas.core.operations import fix
from hwnas.core.optimum import minimise
from hwnas.core.space import SearchSpace
from hwnas.errors import PredictorError
from hwnas.predict.predictor import SCHEMA, LatencyPredictor
from hwnas.spaces import with_recipe

JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.floats(allow_nan=False), st.text(max_size=3)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def rows(tiny_space: SearchSpace) -> np.ndarray:
    return tiny_space.sample_rows(np.random.default_rng(99), 100)


@pytest.fixture(scope="module", params=["additive", "with trees"])
def any_predictor(request: pytest.FixtureRequest) -> LatencyPredictor:
    return request.getfixturevalue({"additive": "predictor", "with trees": "predictor_with_trees"}[request.param])


@pytest.fixture(scope="module")
def content(predictor: LatencyPredictor, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a saved predictor."""
    path = tmp_path_factory.mktemp("saved") / "predictor.json"
    predictor.save(path)
    return path.read_bytes()


@pytest.fixture(scope="module")
def content_with_trees(predictor_with_trees: LatencyPredictor, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """The JSON of a saved predictor with three trees."""
    booster = deepcopy(predictor_with_trees.booster)
    del trees_of(booster)[3:]
    path = tmp_path_factory.mktemp("saved") / "predictor.json"
    replace(predictor_with_trees, booster=booster).save(path)
    return json.loads(path.read_bytes())


def trees_of(booster: dict) -> list[dict]:
    return booster["learner"]["gradient_booster"]["model"]["trees"]


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


def test_a_saved_predictor_is_read_back_exactly(any_predictor, tmp_path, rows) -> None:
    any_predictor.save(tmp_path / "predictor.json")
    again = LatencyPredictor.load(tmp_path / "predictor.json")
    assert np.array_equal(again.predict_ms(rows), any_predictor.predict_ms(rows))
    for name in ("choices", "interval", "statistics", "uppers", "report", "conditions", "space", "booster"):
        assert getattr(again, name) == getattr(any_predictor, name), name
    for one, other in zip(again.factors, any_predictor.factors, strict=True):
        assert (one.name, one.scope) == (other.name, other.scope)
        assert np.array_equal(one.values, other.values)


def test_saving_what_was_read_writes_the_same_bytes(any_predictor, tmp_path) -> None:
    any_predictor.save(tmp_path / "predictor.json")
    LatencyPredictor.load(tmp_path / "predictor.json").save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "predictor.json").read_bytes()


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
@settings(max_examples=100)
def test_a_file_with_any_value_replaced_loads_or_is_a_predictor_error(content, load, data) -> None:
    damaged = json.loads(content)
    _replace_somewhere(damaged, data)
    require_loads_or_is_a_predictor_error(load, damaged)


@given(st.data())
@settings(max_examples=60)
def test_a_file_with_any_value_of_its_trees_replaced_loads_or_is_a_predictor_error(
    content_with_trees, load, data
) -> None:
    damaged = deepcopy(content_with_trees)
    _replace_somewhere(damaged["booster"], data)
    require_loads_or_is_a_predictor_error(load, damaged)


def require_loads_or_is_a_predictor_error(load: Callable[[bytes], LatencyPredictor], damaged: dict) -> None:
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
        ({"schema": 1}, rf"schema 1, this version reads {SCHEMA}; update hwnas or fit again"),
        ({"schema": None}, rf"schema None, this version reads {SCHEMA}"),
        ({"schema": "\n"}, rf"schema '\\n', this version reads {SCHEMA}"),
        ({"booster": {}}, r"damaged \(KeyError: 'learner'\); fit it again"),
        ({"booster": []}, r"damaged \(TypeError: "),
        ({"interval": [10**400, 1]}, r"damaged \(OverflowError: "),
        ({"choices": []}, r"damaged \(KeyError: .*\); fit it again"),
        ({"choices": [{"name": "a", "options": [], "when": []}]}, r"damaged \(SpaceError: choice 'a' has no options"),
        ({"interval": [0.9]}, r"damaged \(ValueError: not enough values to unpack"),
        ({"statistics": 3}, r"damaged \(AttributeError: "),
        ({"uppers": {"p90": 0.9}}, r"damaged \(ValueError: upper ends \{'p90': 0.9\}"),
        (
            {"factors": [{"name": "a", "scope": [], "values": [1.0]}]},
            r"damaged \(ValueError: factor a has shape \(1,\)",
        ),
        (
            {"factors": [{"name": "a\nb", "scope": [], "values": [1.0]}]},
            r"damaged \(ValueError: factor a b has shape \(1,\)",
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_said(content, load, replaced, message) -> None:
    with pytest.raises(PredictorError, match=rf"predictor\.json: {message}") as raised:
        load(json.dumps({**json.loads(content), **replaced}).encode())
    assert is_one_line_that_names_the_file(raised.value)


@pytest.mark.parametrize("content", [b"[]", b"3", b"null", b'"schema"'])
def test_a_file_of_something_else_is_a_predictor_error(load, content) -> None:
    with pytest.raises(PredictorError, match="schema None, this version reads"):
        load(content)


def _leads_back(tree: dict) -> None:
    tree["left_children"][0] = 0


def _lacks_a_node(tree: dict) -> None:
    tree["split_conditions"].pop()


def _splits_on_what_is_not_there(tree: dict) -> None:
    tree["split_indices"][0] = 99


def _splits_before_the_first(tree: dict) -> None:
    tree["split_indices"][0] = -1


def _is_not_finite(tree: dict) -> None:
    tree["split_conditions"][-1] = float("nan")


@pytest.mark.parametrize(
    "damage", [_leads_back, _lacks_a_node, _splits_on_what_is_not_there, _splits_before_the_first, _is_not_finite]
)
def test_damaged_trees_are_refused_in_one_line(content_with_trees, load, damage) -> None:
    damaged = deepcopy(content_with_trees)
    damage(trees_of(damaged["booster"])[1])
    with pytest.raises(PredictorError, match=r"damaged \(ValueError: .*tree.*\); fit it again") as raised:
        load(json.dumps(damaged).encode())
    assert is_one_line_that_names_the_file(raised.value)


def test_a_file_without_a_word_on_trees_is_damaged(content, load) -> None:
    without = json.loads(content)
    del without["booster"]
    with pytest.raises(PredictorError, match=r"damaged \(KeyError: 'booster'\); fit it again"):
        load(json.dumps(without).encode())


def test_a_missing_file_says_what_makes_it(tmp_path: Path) -> None:
    message = r"missing\.json: cannot be read \(No such file or directory\); `hwnas fit --out .*missing\.json` makes it"
    with pytest.raises(PredictorError, match=message):
        LatencyPredictor.load(tmp_path / "missing.json")
    with pytest.raises(PredictorError, match=r"is a folder; give the file of a predictor, such as .*predictor\.json"):
        LatencyPredictor.load(tmp_path)
    (tmp_path / "deep.json").write_text("[" * 200_000 + "]" * 200_000)
    with pytest.raises(PredictorError, match="not a predictor's JSON, or damaged; fit it again"):
        LatencyPredictor.load(tmp_path / "deep.json")


# ---- predictions


def test_a_predictor_knows_its_cost_and_answers_for_no_other(predictor, rows, tmp_path) -> None:
    energy = replace(predictor, cost="energy", statistics={"mean": 1.0})
    energy.save(tmp_path / "e.json")
    read = LatencyPredictor.load(tmp_path / "e.json")
    assert (read.cost, read.unit, predictor.unit) == ("energy", "mJ", "ms")
    assert np.array_equal(read.predict(rows), predictor.predict_ms(rows))
    assert np.array_equal(read.upper(rows, "mean"), predictor.interval[1] * read.predict(rows))
    assert read.breakdown(rows[0]) == predictor.breakdown_ms(rows[0])
    for ask in (lambda: read.predict_ms(rows), lambda: read.breakdown_ms(rows[0])):
        with pytest.raises(
            PredictorError, match=r"^the predictor: predicts energy, not latency; `hwnas fit --cost lat"
        ):
            ask()
    with pytest.raises(PredictorError, match="the predictor of energy has no statistic 'p10'; ask for mean"):
        read.upper(rows, "p10")


def test_a_file_that_names_no_cost_is_of_latency(content, load, predictor, rows) -> None:
    older = {name: value for name, value in json.loads(content).items() if name != "cost"}
    assert np.array_equal(load(json.dumps(older).encode()).predict_ms(rows), predictor.predict_ms(rows))


@pytest.mark.parametrize("cost", ["energy", "money", ["latency"], None])
def test_a_file_of_a_cost_that_is_not_its_own_is_damaged(content, load, cost) -> None:
    with pytest.raises(PredictorError, match=r"damaged \("):
        load(json.dumps(json.loads(content) | {"cost": cost}).encode())


def test_a_part_of_a_space_has_the_same_cost(predictor, tiny_space) -> None:
    energy = replace(predictor, cost="energy", statistics={"mean": 1.0})
    assert energy.for_space(tiny_space).cost == "energy"


def test_a_breakdown_sums_to_the_prediction(any_predictor, rows) -> None:
    for row, predicted_ms in zip(rows, any_predictor.predict_ms(rows), strict=True):
        assert sum(any_predictor.breakdown_ms(row).values()) == pytest.approx(predicted_ms, rel=1e-12)


def test_a_breakdown_gives_absent_layers_and_pairs_nothing(predictor, tiny_space) -> None:
    smallest = tiny_space.smallest()
    breakdown = predictor.breakdown_ms(tiny_space.encode([smallest])[0])
    absent = {layer.name for layer in tiny_space.layers if layer.operator(smallest) is None}
    for name, ms in breakdown.items():
        if absent & set(name.split(" + ")):
            assert ms == 0.0
        elif " + " not in name and name != "intercept":
            assert ms > 0.0
    assert absent <= set(breakdown)


def test_a_breakdown_names_every_layer_some_that_meet_and_the_intercept(predictor, tiny_space, rows) -> None:
    layers = {layer.name for layer in tiny_space.layers}
    met = {f"{first.name} + {second.name}" for first, second in tiny_space.wiring.meetings()}
    names = set(predictor.breakdown_ms(rows[0]))
    assert layers | {"intercept"} < names <= layers | met | {"intercept"}


def test_all_trees_are_one_entry_of_a_breakdown_in_a_smaller_space_too(
    predictor, predictor_with_trees, tiny_space, rows
) -> None:
    smaller = restricted(tiny_space, lambda options: options[-2:])
    row = smaller.sample_rows(np.random.default_rng(0), 1)[0]
    for_smaller = predictor_with_trees.for_space(smaller).breakdown_ms(row)
    entries = {*predictor.breakdown_ms(rows[0]), "trees"}
    assert set(predictor_with_trees.breakdown_ms(rows[0])) == set(for_smaller) == entries


def test_a_prediction_is_the_additive_models_and_its_trees(predictor_with_trees, tiny_space, rows) -> None:
    additive = replace(predictor_with_trees, booster=None)
    trees_ms = total(predictor_with_trees.trees, rows, tiny_space.columns)
    assert np.abs(trees_ms).max() > 0 and additive.trees == ()
    assert predictor_with_trees.predict_ms(rows) == pytest.approx(additive.predict_ms(rows) + trees_ms, rel=1e-12)


def test_one_architecture_is_predicted_as_in_a_batch(any_predictor, rows) -> None:
    one_by_one = [float(any_predictor.predict_ms(row[None])[0]) for row in rows]
    assert any_predictor.predict_ms(rows).tolist() == one_by_one
    assert any_predictor.predict_ms(rows[:0]).shape == (0,)


def test_a_measurement_cannot_tell_what_is_nearer_than_its_half_width(predictor) -> None:
    noisy = replace(predictor, report={**predictor.report, "repeat_noise": 0.02})
    assert noisy.half_width == pytest.approx(1.645 * 0.02 * np.sqrt(np.pi) / 2)
    assert noisy.within_noise(1.0, 1.01) and noisy.within_noise(1.0, 0.99)
    assert not noisy.within_noise(1.0, 1.05) and not noisy.within_noise(1.0, 0.95)
    assert not noisy.within_noise(1.0, np.inf)
    unknown = replace(predictor, report={**predictor.report, "repeat_noise": None})
    assert 0 < unknown.half_width < noisy.half_width


def test_half_of_a_measurements_interval_is_made_of_the_distance_of_two(predictor) -> None:
    first, second = np.random.default_rng(0).normal(1, 0.01, (2, 100_000))
    noisy = replace(predictor, report={**predictor.report, "repeat_noise": float(np.abs(first - second).mean())})
    assert np.mean(np.abs(first - 1) < noisy.half_width) == pytest.approx(0.9, abs=0.005)


def test_files_of_earlier_builds_have_the_upper_ends_that_they_had(predictor, rows, tmp_path) -> None:
    path = tmp_path / "predictor.json"
    predictor.save(path)
    content = json.loads(path.read_text())
    del content["uppers"]
    path.write_text(json.dumps(content))
    earlier = LatencyPredictor.load(path)
    for statistic, ratio in predictor.statistics.items():
        expected = predictor.predict_ms(rows) * predictor.interval[1] * ratio
        assert earlier.upper(rows, statistic) == pytest.approx(expected, rel=1e-12)


def test_the_upper_end_is_the_prediction_times_that_of_its_statistic(predictor, rows) -> None:
    assert predictor.uppers["p10"] == predictor.interval[1]
    for statistic in predictor.statistics:
        expected = predictor.predict_ms(rows) * predictor.uppers[statistic]
        assert predictor.upper(rows, statistic) == pytest.approx(expected, rel=1e-12)
        assert (predictor.upper(rows, statistic) >= predictor.predict_ms(rows)).all()


def test_the_exact_minimum_is_no_slower_than_anything_drawn(any_predictor, tiny_space) -> None:
    fastest = tiny_space.encode([minimise(tiny_space.choices, any_predictor.factors)])
    drawn = tiny_space.spread_rows(np.random.default_rng(0), 20_000)
    assert any_predictor.predict_ms(fastest)[0] <= any_predictor.predict_ms(drawn).min() * (1 + 1e-9)


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
def test_a_restricted_spaces_predictions_are_its_parents(any_predictor, tiny_space, options_of) -> None:
    smaller = restricted(tiny_space, options_of)
    rows = smaller.sample_rows(np.random.default_rng(0), 50)
    archs = [smaller.decode(row) for row in rows]
    ours = any_predictor.for_space(smaller)
    # Through `arch`: what is switched off is another first option there.
    parents = [tiny_space.arch(arch) for arch in archs]
    assert ours.predict_ms(rows) == pytest.approx(any_predictor.predict_ms(tiny_space.encode(parents)), rel=1e-12)
    assert ours.space["fingerprint"] == smaller.fingerprint
    assert (ours.interval, ours.statistics) == (any_predictor.interval, any_predictor.statistics)


def test_choices_of_the_recipe_change_no_prediction(any_predictor, tiny_space) -> None:
    """A predictor of the space without them serves."""
    varied = with_recipe(tiny_space, rate=(0.3, 1.0, 3.0))
    rows = varied.sample_rows(np.random.default_rng(0), 50)
    expected = any_predictor.predict_ms(rows[:, : len(tiny_space.choices)])
    assert np.array_equal(any_predictor.for_space(varied).predict_ms(rows), expected)


def test_a_restricted_predictor_with_trees_survives_its_file(predictor_with_trees, tiny_space, tmp_path) -> None:
    smaller = restricted(tiny_space, lambda options: options[-2:])
    ours = predictor_with_trees.for_space(smaller)
    ours.save(tmp_path / "predictor.json")
    rows = smaller.sample_rows(np.random.default_rng(0), 50)
    again = LatencyPredictor.load(tmp_path / "predictor.json")
    assert np.array_equal(again.predict_ms(rows), ours.predict_ms(rows))


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
    widest = tiny_space.choice("stage3.width").options[-1]
    cut = fix(tiny_space, "stage3.width", widest)
    fewer = replace(
        cut,
        choices=tuple(choice for choice in cut.choices if not choice.name.startswith("stage4")),
        wiring=replace(cut.wiring, parts=cut.wiring.parts[:-2]),
        classes=widest,  # the channels of what is left
    )
    with pytest.raises(PredictorError, match=r"the predictor depends on stage4\.\w+.*, which this space has not"):
        predictor.for_space(fewer)
