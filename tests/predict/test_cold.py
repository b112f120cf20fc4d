"""Laws of predicting a space of which nothing was measured, on devices whose truth is known."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest

import hwnas
from hwnas.core.costs import layer_factors
from hwnas.core.factors import total
from hwnas.core.operator import Operator
from hwnas.core.space import SearchSpace
from hwnas.errors import MissingMeasurementError, PredictorError
from hwnas.predict.cold import FEWEST_OPERATORS, cold_predictor, estimated_costs
from hwnas.predict.fit import fit
from hwnas.predict.measurements import Measurements
from hwnas.predict.predictor import LatencyPredictor
from hwnas.predict.related import (
    cold_related_predictor,
    estimated_words,
    has_choices_of,
    is_below_measured,
    related_predictor,
)
from hwnas.predict.report import errors
from hwnas.spaces import with_precisions

SHARE, SAVED_MS = 0.9, 0.002
OPTIONS = {"resolution": 16, "width": 0.25}
Device = Callable[[Operator], float]


def roofline_ms(operator: Operator) -> float:
    """A device with a rate for each thing that an operator needs."""
    cost = operator.cost()
    moved = operator.input_bytes + operator.output_bytes
    return 0.003 + 2e-8 * cost.flops + 3e-8 * cost.params + 1e-7 * moved + 5e-8 * operator.peak_bytes()


def in_memory_ms(operator: Operator) -> float:
    """A device that computes in no time, and waits for memory."""
    return 0.003 + 4e-7 * (operator.input_bytes + operator.output_bytes) + 2e-7 * operator.peak_bytes()


def measured_on(device: Device, space: SearchSpace, networks: int = 40, noise: float = 0.0) -> Measurements:
    """In a network, an operator takes a share of its time, less what it saves that is not called alone."""
    rng = np.random.default_rng(5)
    rows_NC = space.sample_rows(rng, networks)
    cost_N = true_ms(device, space, rows_NC) * rng.lognormal(0, noise, networks)
    isolated = {key: device(operator) * float(rng.lognormal(0, noise)) for key, operator in space.operators().items()}
    return Measurements(
        isolated=isolated,
        rows_NC=rows_NC,
        networks_N=cost_N,
        other={"median": 1.05 * cost_N, "p90": 1.2 * cost_N},
        repeat_noise=0.01,
        reference=0.5,
    )


def true_ms(device: Device, space: SearchSpace, rows_NC: np.ndarray) -> np.ndarray:
    factors = layer_factors(space.layers, space.choices, lambda operator: SHARE * device(operator) - SAVED_MS)
    return total(factors, rows_NC, space.columns)


def known_on(device: Device, space: SearchSpace) -> Mapping[Operator, float]:
    return {operator: device(operator) for operator in space.operators().values()}


@pytest.fixture(scope="module")
def other_space() -> SearchSpace:
    """None of its operators is one of the tiny space."""
    return hwnas.space("fbnet", width=0.25)


@pytest.fixture(scope="module")
def other_rows(other_space: SearchSpace) -> np.ndarray:
    return other_space.sample_rows(np.random.default_rng(7), 100)


@pytest.fixture(scope="module")
def cold(tiny_space: SearchSpace, other_space: SearchSpace) -> LatencyPredictor:
    """Of a noisy device."""
    noisy = measured_on(roofline_ms, tiny_space, noise=0.03)
    return cold_predictor(other_space, tiny_space, noisy, {"device": "a device", "threads": 1})


# ---- operators


def test_known_operators_keep_their_times(tiny_space: SearchSpace) -> None:
    rng = np.random.default_rng(0)
    operators = list(tiny_space.operators().values())
    known = {operator: float(rng.uniform(0.1, 9)) for operator in operators[::2]}
    estimates = estimated_costs(known, operators)
    assert estimates.keys() == tiny_space.operators().keys()
    assert all(estimates[operator.key] == ms for operator, ms in known.items())


def test_estimates_are_in_the_unit_of_what_is_known(tiny_space: SearchSpace, other_space: SearchSpace) -> None:
    known, operators = known_on(roofline_ms, tiny_space), list(other_space.operators().values())
    in_us = estimated_costs({operator: 1e3 * ms for operator, ms in known.items()}, operators)
    assert in_us == pytest.approx({key: 1e3 * ms for key, ms in estimated_costs(known, operators).items()})


def test_estimates_do_not_depend_on_the_order_of_what_is_known(
    tiny_space: SearchSpace, other_space: SearchSpace
) -> None:
    known, operators = known_on(roofline_ms, tiny_space), list(other_space.operators().values())
    assert estimated_costs(dict(reversed(known.items())), operators) == pytest.approx(estimated_costs(known, operators))


def test_operators_of_a_device_that_is_a_roofline_are_estimated_exactly(
    tiny_space: SearchSpace, other_space: SearchSpace
) -> None:
    operators = other_space.operators()
    assert not operators.keys() & tiny_space.operators().keys()
    estimates = estimated_costs(known_on(roofline_ms, tiny_space), operators.values())
    assert estimates == pytest.approx({key: roofline_ms(operator) for key, operator in operators.items()}, rel=1e-6)


def test_a_kind_that_was_never_measured_is_estimated_like_all_others(tiny_space: SearchSpace) -> None:
    operators = hwnas.space("nasbench201").operators()
    assert {operator.kind for operator in operators.values()} - {
        operator.kind for operator in tiny_space.operators().values()
    }
    estimates = estimated_costs(known_on(roofline_ms, tiny_space), operators.values())
    assert estimates == pytest.approx({key: roofline_ms(operator) for key, operator in operators.items()}, rel=1e-6)


def test_of_too_few_operators_no_others_are_estimated(tiny_space: SearchSpace) -> None:
    known = dict(list(known_on(roofline_ms, tiny_space).items())[: FEWEST_OPERATORS - 1])
    with pytest.raises(
        PredictorError, match=r"^9 operators are measured, to estimate others takes 10; profile a larger"
    ):
        estimated_costs(known, tiny_space.operators().values())


# ---- networks


def test_networks_of_a_device_that_is_a_roofline_are_predicted_exactly(
    tiny_space: SearchSpace, other_space: SearchSpace, other_rows: np.ndarray
) -> None:
    measurements = replace(measured_on(roofline_ms, tiny_space), session_noise=0.0)
    predictor = cold_predictor(other_space, tiny_space, measurements, {})
    assert predictor.predict_ms(other_rows) == pytest.approx(true_ms(roofline_ms, other_space, other_rows), rel=1e-6)
    assert predictor.report["held_out"]["mape"] < 1e-6
    assert predictor.interval == pytest.approx((1.0, 1.0))


def test_where_bytes_matter_a_cold_predictor_is_better_than_flops(
    tiny_space: SearchSpace, other_space: SearchSpace, other_rows: np.ndarray
) -> None:
    known = measured_on(in_memory_ms, tiny_space, noise=0.03)
    predicted_ms = cold_predictor(other_space, tiny_space, known, {}).predict_ms(other_rows)
    truth_ms = true_ms(in_memory_ms, other_space, other_rows)
    found = errors(predicted_ms, truth_ms)
    by_flops = errors(other_space.costs("flops", other_rows), truth_ms)
    assert found["mape"] < 0.05
    assert found["spearman"] is not None and by_flops["spearman"] is not None
    assert found["spearman"] > 0.99 > by_flops["spearman"]


def test_nothing_takes_less_than_nothing(tiny_space: SearchSpace, other_space: SearchSpace) -> None:
    """Where a network is much faster than its operators, the smallest are not paid back."""
    known = measured_on(roofline_ms, tiny_space)
    layers = total(
        layer_factors(tiny_space.layers, tiny_space.choices, lambda _: 1.0), known.rows_NC, tiny_space.columns
    )
    fast = replace(known, networks_N=np.maximum(known.networks_N - 0.004 * layers, 1e-3))
    predictor = cold_predictor(other_space, tiny_space, fast, {})
    assert all((factor.values >= 0).all() for factor in predictor.factors)


def test_the_interval_includes_the_prediction_and_covers_another_space_of_the_same_device(
    cold: LatencyPredictor, other_space: SearchSpace, other_rows: np.ndarray
) -> None:
    low, high = cold.interval
    assert low <= 1 <= high
    ratio = true_ms(roofline_ms, other_space, other_rows) / cold.predict_ms(other_rows)
    assert np.mean((low <= ratio) & (ratio <= high)) >= 0.9


def test_held_out_networks_are_predicted_without_their_operators(tiny_space: SearchSpace) -> None:
    """A device whose operators have times of their own: what the known ones tell of others is little, and told so."""
    rng = np.random.default_rng(0)
    own = {key: float(rng.lognormal(0, 0.6)) for key in tiny_space.operators()}
    known = measured_on(lambda operator: own[operator.key] * roofline_ms(operator), tiny_space)
    report = cold_predictor(tiny_space, tiny_space, known, {}).report
    assert report["held_out"]["mape"] > 0.08
    assert report["baselines"]["affine_sum"]["mape"] < 0.05


def test_a_report_says_of_what_it_is(cold: LatencyPredictor, tiny_space: SearchSpace, other_space: SearchSpace) -> None:
    report = cold.report
    assert (report["cold"], report["source"], report["networks"]) == (True, tiny_space.name, 40)
    assert report["operators"] == report["estimated_operators"] == len(other_space.operators())
    assert report["new_kinds"] == []
    assert report["reference_ms"] is None  # that would be of the other space's largest network
    assert cold.statistics == pytest.approx({"p10": 1.0, "median": 1.05, "p90": 1.2})
    assert cold.conditions == {"device": "a device", "threads": 1}


def test_a_cold_predictor_survives_its_file(cold, other_space, other_rows, tmp_path) -> None:
    cold.save(tmp_path / "cold.json")
    loaded = LatencyPredictor.load(tmp_path / "cold.json").for_space(other_space)
    assert np.array_equal(loaded.predict_ms(other_rows), cold.predict_ms(other_rows))
    assert (loaded.interval, loaded.report) == (cold.interval, cold.report)


def test_a_cold_predictor_is_of_its_space_only(cold: LatencyPredictor, tiny_space: SearchSpace) -> None:
    with pytest.raises(PredictorError, match="fit one for this space"):
        cold.for_space(tiny_space)
    with pytest.raises(PredictorError, match="fit one for this space"):
        cold.for_space(hwnas.space("fbnet", width=0.5))


def test_a_table_of_networks_only_is_refused(tiny_space: SearchSpace, other_space: SearchSpace) -> None:
    networks_only = replace(measured_on(roofline_ms, tiny_space), isolated={})
    with pytest.raises(PredictorError, match=r"^t\.jsonl: no operators are measured"):
        cold_predictor(other_space, tiny_space, networks_only, {}, where="t.jsonl")


def test_a_table_that_is_not_finished_is_refused(tiny_space: SearchSpace, other_space: SearchSpace) -> None:
    known = measured_on(roofline_ms, tiny_space)
    some = replace(known, isolated=dict(list(known.isolated.items())[1:]))
    with pytest.raises(MissingMeasurementError, match=r"^t\.jsonl: 1 of \d+ operators are not measured"):
        cold_predictor(other_space, tiny_space, some, {}, where="t.jsonl")
    with pytest.raises(PredictorError, match="5 whole networks are measured, a fit needs 8"):
        cold_predictor(other_space, tiny_space, measured_on(roofline_ms, tiny_space, networks=5), {})


def test_precisions_are_estimated_from_none(other_space: SearchSpace) -> None:
    """An estimate would give blocks in int8 the errors of an estimate as their gain; measured ones do not change the others."""
    mixed = with_precisions(other_space, ("fp32", "int8"))
    with pytest.raises(PredictorError, match=r"int8\(.* is not measured, and only operators in fp32 can be estimated"):
        cold_predictor(mixed, other_space, measured_on(roofline_ms, other_space), {})
    small = list(hwnas.space("mobilenet", width=0.25, resolution=16).operators().values())
    known = known_on(lambda operator: roofline_ms(operator) * (1 if operator.in_float32 is operator else 9), mixed)
    floats = {operator: ms for operator, ms in known.items() if operator.in_float32 is operator}
    assert estimated_costs(known, small) == estimated_costs(floats, small)


# ---- spaces that differ in operators alone


@pytest.fixture(scope="module")
def plain() -> SearchSpace:
    return hwnas.space("mobilenet", **OPTIONS)


def related(
    device: Device, plain: SearchSpace, **changed: int
) -> tuple[LatencyPredictor, LatencyPredictor, SearchSpace]:
    """The predictor of the plain, that of the plain with changed options, and the changed space."""
    measured = measured_on(device, plain, noise=0.01)
    fitted = fit(plain, measured, {"device": "a device"})
    space = hwnas.space("mobilenet", **OPTIONS | changed)
    return fitted, related_predictor(space, plain, fitted, measured), space


@pytest.mark.parametrize("changed", [{"classes": 100}, {"channels": 1}, {"resolution": 20}])
def test_estimates_of_a_device_that_costs_by_rates_are_true_and_the_interval_is_wider(
    plain: SearchSpace, changed: dict[str, int]
) -> None:
    fitted, predictor, space = related(roofline_ms, plain, **changed)
    rows = space.sample_rows(np.random.default_rng(3), 100)
    assert predictor.predict_ms(rows) == pytest.approx(true_ms(roofline_ms, space, rows), rel=0.04)
    assert predictor.interval[0] <= fitted.interval[0] and predictor.interval[1] >= fitted.interval[1]
    assert all(predictor.uppers[name] >= fitted.uppers[name] for name in fitted.uppers)
    new = sum(key not in plain.operators() for key in space.operators())
    assert predictor.report["estimated_operators"] == new > 0
    assert estimated_words(predictor).startswith(f"{new} of {len(space.operators())} operators were not measured")


def test_the_interval_covers_networks_of_a_device_that_costs_otherwise(plain: SearchSpace) -> None:
    fitted, predictor, space = related(in_memory_ms, plain, resolution=24)
    rows = space.sample_rows(np.random.default_rng(3), 200)
    ratio = true_ms(in_memory_ms, space, rows) / predictor.predict_ms(rows)
    low, high = predictor.interval
    assert np.mean((low <= ratio) & (ratio <= high)) >= 0.9
    assert high / low > fitted.interval[1] / fitted.interval[0]


def test_the_same_space_has_the_same_predictor(plain: SearchSpace) -> None:
    fitted, predictor, space = related(roofline_ms, plain)
    rows = space.sample_rows(np.random.default_rng(3), 20)
    assert predictor.predict_ms(rows) == pytest.approx(fitted.predict_ms(rows), rel=1e-12)
    assert predictor.interval == pytest.approx(fitted.interval)
    assert predictor.report["estimated_operators"] == 0


def test_layers_tell_the_estimated_difference_and_the_predictor_knows_its_own_space(plain: SearchSpace) -> None:
    fitted, predictor, space = related(roofline_ms, plain, classes=1000)
    row = space.encode([space.largest()])[0]
    before, after = fitted.breakdown(row), predictor.breakdown(row)
    assert {name for name in after if after[name] > before[name] + 1e-9} == {space.layers[-1].name}
    assert predictor.for_space(space).predict_ms(row[None]) == pytest.approx(predictor.predict_ms(row[None]))
    with pytest.raises(PredictorError, match="was fitted to other operators"):
        predictor.for_space(plain)


def test_other_options_of_a_choice_are_refused(plain: SearchSpace) -> None:
    other = hwnas.space("mobilenet", **OPTIONS | {"width": 0.5})
    assert has_choices_of(hwnas.space("mobilenet", **OPTIONS | {"classes": 3}), plain)
    assert not has_choices_of(other, plain)
    measured = measured_on(roofline_ms, plain)
    fitted = fit(plain, measured, {})
    with pytest.raises(PredictorError, match="the predictor knows nothing of"):
        related_predictor(other, plain, fitted, measured)


def test_a_cold_interval_is_wider_and_networks_far_below_the_measured_ones_are_told(
    cold: LatencyPredictor, tiny_space: SearchSpace, other_space: SearchSpace
) -> None:
    measured = measured_on(roofline_ms, tiny_space, noise=0.03)
    wider = cold_related_predictor(other_space, tiny_space, measured, {"device": "a device"})
    assert wider.interval[0] < cold.interval[0] and wider.interval[1] > cold.interval[1]
    assert not is_below_measured(wider, other_space)
    slow = measured_on(roofline_ms, hwnas.space("mobilenet", resolution=128), noise=0.03)
    down = cold_related_predictor(tiny_space, hwnas.space("mobilenet", resolution=128), slow, {"device": "a device"})
    assert is_below_measured(down, tiny_space)
