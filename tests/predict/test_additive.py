"""Laws of the additive model: what it recovers, what it leaves alone, and how sure it is."""

import numpy as np
import pytest

import hwnas
from hwnas.core.factors import Factor, total
from hwnas.predict.additive import AdditiveModel, fit_additive, relative
from hwnas.predict.basis import INTERCEPT
from hwnas.predict.bayes import LogScales
from hwnas.predict.features import space_basis


def fitted(space, measurements, isolated: bool = True) -> AdditiveModel:
    latency_ms = measurements.networks_N
    typical_cost = float(np.median(latency_ms)) if len(latency_ms) else 1.0
    basis = space_basis(space, measurements.isolated if isolated else {}, typical_cost)
    return fit_additive(basis, space.columns, measurements.rows_NC, latency_ms)


@pytest.fixture(scope="module")
def others(tiny_space) -> np.ndarray:
    """Rows of networks that were not measured."""
    return tiny_space.sample_rows(np.random.default_rng(99), 200)


@pytest.fixture(scope="module")
def error(others, true_ms):
    """The mean relative error of predictions of them."""
    true_N = true_ms(others)
    return lambda predicted_ms: float(np.abs(predicted_ms / true_N - 1).mean())


def test_corrections_that_are_shared_are_recovered_from_60_networks(tiny_space, measured, others, error) -> None:
    noise = 0.01
    assert error(fitted(tiny_space, measured(60, noise)).predict(others)) < 1.2 * noise


@pytest.mark.parametrize(("isolated", "least"), [(True, 0.004), (False, 0.03)])
def test_without_noise_more_networks_leave_less_error(tiny_space, measured, others, error, isolated, least) -> None:
    errors = [
        error(fitted(tiny_space, measured(networks, 0.0), isolated).predict(others)) for networks in (10, 40, 160)
    ]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < least


def test_without_networks_the_prediction_is_the_isolated_sum(tiny_space, measured, others, isolated_sum_ms) -> None:
    model = fitted(tiny_space, measured(0, 0.01))
    assert np.array_equal(model.predict(others), isolated_sum_ms(others))


@pytest.mark.parametrize("networks", [1, 2, 3])
def test_few_networks_do_more_good_than_harm(tiny_space, measured, others, error, isolated_sum_ms, networks) -> None:
    assert error(fitted(tiny_space, measured(networks, 0.01)).predict(others)) < error(isolated_sum_ms(others))


def test_isolated_times_spare_networks(tiny_space, measured, others, error) -> None:
    measurements = measured(10, 0.01)
    with_them, without = (fitted(tiny_space, measurements, isolated).predict(others) for isolated in (True, False))
    assert error(with_them) < 0.6 * error(without)


def test_without_isolated_times_ten_networks_predict_better_than_their_median(
    tiny_space, measured, others, error
) -> None:
    measurements = measured(10, 0.01)
    median = np.full(len(others), np.median(measurements.networks_N))
    assert error(fitted(tiny_space, measurements, isolated=False).predict(others)) < 0.6 * error(median)


@pytest.mark.parametrize("isolated", [True, False])
def test_where_nothing_stands_nothing_is_predicted(tiny_space, measured, isolated) -> None:
    factors = {factor.name: factor for factor in fitted(tiny_space, measured(30, 0.01), isolated).factors}
    empty = 0
    for layer in tiny_space.layers:
        for index, operator in layer.cells(tiny_space.by_name):
            if operator is None:
                empty += 1
                assert factors[layer.name].values[index] == 0.0
    assert empty > 0


def test_the_model_is_one_factor_per_layer_and_pair_and_an_intercept(tiny_space, measured) -> None:
    factors = fitted(tiny_space, measured(30, 0.01)).factors
    layers = len(tiny_space.layers)
    assert [factor.name for factor in factors[:layers]] == [layer.name for layer in tiny_space.layers]
    assert [factor.scope for factor in factors[:layers]] == [layer.scope for layer in tiny_space.layers]
    met = {f"{first.name} + {second.name}" for first, second in tiny_space.wiring.meetings()}
    pairs = [(factor.name, factor.scope) for factor in factors[layers:-1]]
    assert pairs and len(set(pairs)) == len(pairs) and {name for name, _ in pairs} <= met
    assert (factors[-1].name, factors[-1].scope) == (INTERCEPT, ())


def test_the_unit_of_time_makes_no_difference(tiny_space, measured, others) -> None:
    measurements = measured(30, 0.01)
    latency_us = 1e3 * measurements.networks_N
    isolated_us = {key: 1e3 * ms for key, ms in measurements.isolated.items()}
    for known_us in (isolated_us, {}):
        basis = space_basis(tiny_space, known_us, float(np.median(latency_us)))
        predicted_us = fit_additive(basis, tiny_space.columns, measurements.rows_NC, latency_us).predict(others)
        expected = fitted(tiny_space, measurements, isolated=bool(known_us)).predict(others)
        assert predicted_us / 1e3 == pytest.approx(expected, rel=1e-4)


def test_the_order_of_networks_makes_no_difference(tiny_space, measured, others) -> None:
    measurements = measured(30, 0.01)
    model, order = fitted(tiny_space, measurements), np.random.default_rng(0).permutation(30)
    again = fit_additive(model.basis, tiny_space.columns, measurements.rows_NC[order], measurements.networks_N[order])
    assert again.predict(others) == pytest.approx(model.predict(others), rel=1e-4)


def test_features_of_a_network_are_the_sums_over_its_layers_and_pairs(tiny_space, isolated, others) -> None:
    basis = space_basis(tiny_space, isolated, 2.0)
    design_NP = basis.design(others[:5], tiny_space.columns).toarray()
    for row, features_P in zip(others, design_NP, strict=False):
        expected = np.zeros(design_NP.shape[1])
        for factor, cells_SP in zip(basis.expected, basis.cells, strict=True):
            index = tuple(row[tiny_space.columns[name]] for name in factor.scope)
            expected += cells_SP.toarray().reshape(*factor.values.shape, -1)[index]
        expected[0] = 2.0
        assert features_P == pytest.approx(expected, rel=1e-12)


def test_what_the_pairs_of_layers_cost_together_is_learned(every_row) -> None:
    space = hwnas.space("conv_macro")
    rows = np.random.default_rng(0).permutation(every_row(space))
    first, second = (space.columns[name] for name in ("conv2.kernel", "conv3.kernel"))
    # As an exclusive or, which no sum of what the two layers cost each can be.
    ms = 1.0 + 0.3 * ((rows[:, first] == 2) ^ (rows[:, second] == 2))
    model = fit_additive(space_basis(space, {}, 1.0), space.columns, rows[:200], ms[:200])
    assert np.abs(model.predict(rows[200:]) / ms[200:] - 1).mean() < 0.02


# ---- how sure it is


def test_a_network_that_was_measured_is_less_uncertain_than_others(tiny_space, measured, others) -> None:
    measurements = measured(20, 0.01)
    model = fitted(tiny_space, measurements)
    assert model.deviation(measurements.rows_NC).mean() < 0.8 * model.deviation(others).mean()


def test_more_networks_leave_less_uncertain(tiny_space, measured, others) -> None:
    few, some, many = (fitted(tiny_space, measured(count, 0.01)).deviation(others).mean() for count in (10, 40, 160))
    assert few > some > many > 0


def test_errors_are_about_as_large_as_the_deviations_say(tiny_space, measured, others, true_ms) -> None:
    ratios = []
    for seed in range(5):
        model = fitted(tiny_space, measured(40, 0.01, seed))
        away = np.abs(true_ms(others) / model.predict(others) - 1)
        ratios.append(np.mean(away) / np.mean(model.deviation(others)))
    # The mean absolute value of a standard Gaussian is 0.8.
    assert 0.4 < np.mean(ratios) < 1.6


# ---- what is believed, and what weighs


def test_one_who_believes_in_no_corrections_makes_none(tiny_space, measured, others, isolated_sum_ms) -> None:
    measurements = measured(20, 0.01)
    basis = space_basis(tiny_space, measurements.isolated, float(np.median(measurements.networks_N)))
    logs = np.array([-11.0] * len(basis.groups) + [-3.0])
    believed = LogScales(logs, np.full(len(logs), 1e-3))
    model = fit_additive(basis, tiny_space.columns, measurements.rows_NC, measurements.networks_N, believed)
    assert model.predict(others) == pytest.approx(isolated_sum_ms(others), rel=1e-3)


def test_relative_errors_count_but_those_of_networks_that_do_next_to_nothing() -> None:
    latency_ms = np.array([1.0, 2.0, 4.0, 1e-6])
    assert (latency_ms * relative(latency_ms))[:3].tolist() == [1.0, 1.0, 1.0]
    assert latency_ms[3] * relative(latency_ms)[3] < 1e-5


def test_what_a_model_predicts_is_the_total_of_its_factors(tiny_space, measured, others) -> None:
    model = fitted(tiny_space, measured(20, 0.01))
    assert all(isinstance(factor, Factor) for factor in model.factors)
    assert np.array_equal(model.predict(others), total(model.factors, others, tiny_space.columns))
