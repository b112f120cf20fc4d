"""Laws of the report: what is held out was never seen, baselines are what they say."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwnas.predict.interval import Scale
from hwnas.predict.report import (
    FOLDS,
    baselines,
    cross_validated,
    errors,
    folds,
    held_out_line,
    held_out_report,
)


@given(st.integers(2, 70))
def test_every_network_is_predicted_once_by_a_fit_that_saw_all_but_its_fold(count) -> None:
    predicted = np.zeros(count, dtype=int)

    def fit_and_predict(train, rest):
        assert not set(train) & set(rest)
        assert sorted([*train, *rest]) == list(range(count))
        predicted[rest] += 1
        return rest * 10.0

    held_out = cross_validated(fit_and_predict, count)
    assert predicted.tolist() == [1] * count
    assert held_out.tolist() == [10.0 * index for index in range(count)]


def test_each_network_may_have_several_numbers() -> None:
    predictions = cross_validated(lambda train, rest: np.stack([rest * 1.0, rest * 10.0], axis=1), 25)
    assert predictions.tolist() == [[1.0 * index, 10.0 * index] for index in range(25)]


def test_there_are_as_many_folds_as_stated_and_of_nearly_equal_size() -> None:
    sizes = []
    cross_validated(lambda train, rest: sizes.append(len(rest)) or rest * 1.0, 64)
    assert len(sizes) == FOLDS
    assert max(sizes) - min(sizes) <= 1


def test_errors_are_those_of_the_field() -> None:
    measured = np.array([1.0, 2.0, 4.0, 8.0])
    predicted = np.array([1.04, 1.82, 4.8, 8.0])  # off by 4, 9, 20 and 0 percent
    found = errors(predicted, measured)
    assert found["mape"] == pytest.approx((0.04 + 0.09 + 0.20) / 4)
    assert (found["within_5"], found["within_10"]) == (0.5, 0.75)
    assert (found["spearman"], found["kendall"]) == (1.0, 1.0)


def test_rank_correlations_tell_order_and_disorder() -> None:
    measured = np.array([1.0, 2.0, 3.0, 4.0])
    swapped = errors(np.array([2.0, 1.0, 3.0, 4.0]), measured)
    assert (swapped["kendall"], swapped["spearman"]) == pytest.approx((1 - 2 * 1 / 6, 0.8))
    assert errors(measured[::-1], measured)["kendall"] == -1.0


@pytest.mark.parametrize("constant", ["predicted", "measured", "both"])
def test_without_an_order_there_is_no_correlation(constant) -> None:
    varying, same = np.array([1.0, 2.0, 4.0]), np.full(3, 2.0)
    found = errors(same if constant != "measured" else varying, same if constant != "predicted" else varying)
    assert (found["spearman"], found["kendall"]) == (None, None)
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_one_network_has_an_error_but_no_correlation() -> None:
    found = errors(np.array([1.1]), np.array([1.0]))
    assert found["mape"] == pytest.approx(0.1)
    assert found["kendall"] is None


# ---- baselines


@given(st.floats(0, 10), st.floats(1e-12, 1e3), st.integers(0, 2**32 - 1), st.sampled_from([1.0, 1e6, 1e12]))
def test_a_line_is_found_whatever_the_unit_of_the_cost(intercept, slope, seed, unit) -> None:
    cost = np.random.default_rng(seed).uniform(1, 10, 30)
    measured_ms = intercept + slope * cost
    assert held_out_line(unit * cost, measured_ms) == pytest.approx(measured_ms, rel=1e-6)


def test_a_line_has_the_least_squared_relative_error_on_the_other_folds() -> None:
    rng = np.random.default_rng(0)
    cost, measured_ms = rng.uniform(1, 10, 30), rng.uniform(1, 10, 30)
    train, rest = folds(30)[3]
    slope, intercept = np.polyfit(cost[train], measured_ms[train], 1, w=1 / measured_ms[train])
    assert held_out_line(cost, measured_ms)[rest] == pytest.approx(intercept + slope * cost[rest])


def test_a_line_never_saw_the_network_it_is_asked_about() -> None:
    cost = np.arange(1.0, 31)
    measured_ms = 0.1 + cost
    before = held_out_line(cost, measured_ms)
    _, rest = folds(30)[0]
    measured_ms[rest] *= 5
    assert np.array_equal(held_out_line(cost, measured_ms)[rest], before[rest])


@pytest.mark.parametrize("cost", [0.0, 3.0])
def test_costs_that_are_all_equal_predict_one_time(cost) -> None:
    predicted_ms = held_out_line(np.full(12, cost), np.full(12, 0.5))
    assert predicted_ms == pytest.approx(np.full(12, 0.5))


def test_baselines_are_the_sum_and_lines_through_the_sum_and_flops(tiny_space, measured, isolated_sum_ms) -> None:
    measurements = measured(40, 0.01)
    rows, latency_ms = measurements.rows_NC, measurements.networks_N
    found = baselines(tiny_space, measurements)
    assert list(found) == ["isolated_sum", "affine_sum", "flops"]
    assert np.array_equal(found["isolated_sum"], isolated_sum_ms(rows))
    assert np.array_equal(found["affine_sum"], held_out_line(isolated_sum_ms(rows), latency_ms))
    assert np.array_equal(found["flops"], held_out_line(tiny_space.costs("flops", rows), latency_ms))


def test_a_predictor_is_better_than_each_baseline_and_a_line_better_than_the_plain_sum(predictor) -> None:
    baselines = {name: errors["mape"] for name, errors in predictor.report["baselines"].items()}
    assert predictor.report["held_out"]["mape"] < min(baselines.values())
    assert baselines["affine_sum"] < baselines["isolated_sum"]


def test_without_isolated_times_flops_are_the_only_baseline(tiny_space, measured) -> None:
    measurements = replace(measured(40, 0.01), isolated={})
    scale = Scale(networks_N=np.ones(40), session=0.0)
    report = held_out_report(tiny_space, measurements, measurements.networks_N, scale)
    assert list(report["baselines"]) == ["flops"]
    assert (report["held_out"]["mape"], report["covered"]) == (0.0, 1.0)
