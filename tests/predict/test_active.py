"""Laws of choosing what to measure: it pays, and the error expected is the error found."""

import numpy as np
import pytest

from hwnas.errors import PredictorError
from hwnas.predict.active import expected_error, most_telling
from hwnas.predict.additive import fit_additive
from hwnas.predict.features import space_basis


@pytest.fixture
def fitted(tiny_space, isolated):
    """A model of a device, of measured networks."""

    def fit(measurements, rows=None):
        rows = np.arange(len(measurements.rows_NC)) if rows is None else rows
        latency_ms = measurements.networks_N[rows]
        basis = space_basis(tiny_space, isolated, float(np.median(measurements.networks_N)))
        return fit_additive(basis, tiny_space.columns, measurements.rows_NC[rows], latency_ms)

    return fit


def test_the_error_expected_is_about_the_error_found(tiny_space, measured, true_ms, fitted) -> None:
    noise, expected, found = 0.02, [], []
    rows = tiny_space.sample_rows(np.random.default_rng(99), 200)
    for seed in range(5):
        model = fitted(measured(40, noise, seed=seed))
        again_ms = true_ms(rows) * np.random.default_rng(seed).lognormal(0, noise, len(rows))
        expected.append(expected_error(model, rows))
        found.append(np.abs(model.predict(rows) / again_ms - 1).mean())
    assert np.mean(expected) == pytest.approx(np.mean(found), rel=0.25)


def test_more_networks_leave_less_to_expect(tiny_space, measured, fitted) -> None:
    rows = tiny_space.sample_rows(np.random.default_rng(99), 200)
    few, many = (expected_error(fitted(measured(networks, 0.01)), rows) for networks in (10, 80))
    assert many < few


def test_what_was_measured_well_tells_nothing_more(tiny_space, measured, fitted) -> None:
    measurements = measured(10, 0.001)
    model = fitted(measurements)
    rows = np.concatenate([measurements.rows_NC[:5], tiny_space.sample_rows(np.random.default_rng(99), 50)])
    chosen = most_telling(model, rows, 5)
    assert len(set(chosen)) == 5
    assert min(chosen) >= 5


def test_the_first_choice_takes_most_off_the_uncertainty(tiny_space, measured, fitted) -> None:
    model = fitted(measured(12, 0.01))
    rows = np.unique(tiny_space.sample_rows(np.random.default_rng(99), 60), axis=0)
    covariance = model.relative_covariance(rows)
    noise = model.posterior.noise**2
    left = [
        np.trace(covariance - np.outer(column, column) / (column[number] + noise))
        for number, column in enumerate(covariance)
    ]
    assert most_telling(model, rows, 1)[0] == np.argmin(left)


def test_no_more_are_chosen_than_there_are(tiny_space, measured, fitted) -> None:
    rows = np.unique(tiny_space.sample_rows(np.random.default_rng(99), 4), axis=0)
    assert sorted(most_telling(fitted(measured(12, 0.01)), rows, 10)) == list(range(len(rows)))


def test_before_any_network_nothing_is_known_of_the_uncertainty(tiny_space, measured, fitted) -> None:
    model = fitted(measured(8, 0.01), rows=np.arange(0))
    with pytest.raises(PredictorError, match="after some whole networks"):
        model.relative_covariance(tiny_space.sample_rows(np.random.default_rng(0), 2))
