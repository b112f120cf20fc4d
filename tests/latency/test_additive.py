"""Laws of the additive model: what it recovers, what it leaves alone, and that its evidence is climbed by its gradient."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import approx_fprime

from hwnas.core.cost import total
from hwnas.latency.additive import INTERCEPT, features, fit_factors, negative_evidence


def fitted(space, measurements):
    basis = features(space, measurements.isolated_ms)
    return fit_factors(space, basis, measurements.rows_NC, measurements.network_ms_N)


def test_corrections_that_are_shared_are_recovered_from_60_networks(tiny_space, measured, true_ms) -> None:
    noise = 0.01
    rows = tiny_space.sample_rows(np.random.default_rng(99), 200)
    predicted = total(fitted(tiny_space, measured(60, noise)), rows, tiny_space.columns)
    assert np.abs(predicted / true_ms(rows) - 1).mean() < 1.2 * noise


def test_without_noise_more_networks_leave_less_error(tiny_space, measured, true_ms) -> None:
    rows = tiny_space.sample_rows(np.random.default_rng(99), 200)
    errors = []
    for networks in (10, 40, 160):
        predicted = total(fitted(tiny_space, measured(networks, 0.0)), rows, tiny_space.columns)
        errors.append(np.abs(predicted / true_ms(rows) - 1).mean())
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.004


def test_without_networks_the_prediction_is_the_isolated_sum(tiny_space, measured, isolated_sum_ms) -> None:
    rows = tiny_space.sample_rows(np.random.default_rng(99), 50)
    factors = fitted(tiny_space, measured(0, 0.01))
    assert np.array_equal(total(factors, rows, tiny_space.columns), isolated_sum_ms(rows))


@pytest.mark.parametrize("networks", [1, 2, 3])
def test_few_networks_do_more_good_than_harm(tiny_space, measured, true_ms, isolated_sum_ms, networks) -> None:
    rows = tiny_space.sample_rows(np.random.default_rng(99), 100)
    predicted = total(fitted(tiny_space, measured(networks, 0.01)), rows, tiny_space.columns)
    assert np.abs(predicted / true_ms(rows) - 1).mean() < np.abs(isolated_sum_ms(rows) / true_ms(rows) - 1).mean()


def test_where_nothing_stands_nothing_is_predicted(tiny_space, measured) -> None:
    factors = {factor.name: factor for factor in fitted(tiny_space, measured(30, 0.01))}
    empty = 0
    for layer in tiny_space.layers:
        for index, operator in layer.cells(tiny_space.by_name):
            if operator is None:
                empty += 1
                assert factors[layer.name].values[index] == 0.0
    assert empty > 0


def test_the_model_is_one_factor_per_layer_and_an_intercept(tiny_space, measured) -> None:
    factors = fitted(tiny_space, measured(30, 0.01))
    assert [factor.name for factor in factors] == [*(layer.name for layer in tiny_space.layers), INTERCEPT]
    assert [factor.scope for factor in factors] == [*(layer.scope for layer in tiny_space.layers), ()]


def test_the_unit_of_time_makes_no_difference(tiny_space, measured) -> None:
    measurements = measured(30, 0.01)
    rows = tiny_space.sample_rows(np.random.default_rng(99), 50)
    in_us = features(tiny_space, {key: 1e3 * ms for key, ms in measurements.isolated_ms.items()})
    factors_us = fit_factors(tiny_space, in_us, measurements.rows_NC, 1e3 * measurements.network_ms_N)
    expected = total(fitted(tiny_space, measurements), rows, tiny_space.columns)
    assert total(factors_us, rows, tiny_space.columns) / 1e3 == pytest.approx(expected, rel=1e-6)


def test_features_of_a_network_are_the_sums_over_its_layers(tiny_space, isolated_ms) -> None:
    basis = features(tiny_space, isolated_ms)
    rows = tiny_space.sample_rows(np.random.default_rng(99), 5)
    design = basis.design(rows, tiny_space.columns)
    for row, features_P in zip(rows, design, strict=True):
        expected = np.zeros(design.shape[1])
        for layer, cells_SP in zip(tiny_space.layers, basis.cells, strict=True):
            sizes = [len(tiny_space.choice(name).options) for name in layer.scope]
            index = tuple(row[tiny_space.columns[name]] for name in layer.scope)
            expected += cells_SP.reshape(*sizes, -1)[index]
        expected[0] = 1.0
        assert features_P == pytest.approx(expected, rel=1e-12)


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 12))
def test_the_gradient_of_the_evidence_is_that_of_finite_differences(seed, groups, networks) -> None:
    rng = np.random.default_rng(seed)
    designs = [rng.normal(size=(networks, rng.integers(1, 6))) for _ in range(groups)]
    kernels = [design @ design.T for design in designs]
    target_N = rng.normal(size=networks)
    log_scales = rng.uniform(-2, 1, groups + 1)
    _, gradient = negative_evidence(log_scales, kernels, target_N)
    numeric = approx_fprime(log_scales, lambda at: negative_evidence(at, kernels, target_N)[0], 1e-6)
    assert gradient == pytest.approx(numeric, rel=1e-3, abs=1e-3 * max(1.0, np.abs(gradient).max()))


@given(st.integers(0, 2**32 - 1), st.integers(1, 12))
def test_the_evidence_is_the_gaussian_density_of_the_targets(seed, networks) -> None:
    rng = np.random.default_rng(seed)
    design = rng.normal(size=(networks, 3))
    target_N = rng.normal(size=networks)
    covariance = np.exp(2 * -0.3) * design @ design.T + np.exp(2 * -0.7) * np.eye(networks)
    log_density = -0.5 * (target_N @ np.linalg.solve(covariance, target_N) + np.linalg.slogdet(covariance).logabsdet)
    value, _ = negative_evidence(np.array([-0.3, -0.7]), [design @ design.T], target_N)
    assert value == pytest.approx(-log_density, rel=1e-9)
