"""Laws of the factors of a loss, on losses that are known sums over layers.

Shapes: N architectures, F draws.
"""

import numpy as np
import pytest

import hwnas
from hwnas.core.factors import Factor, total
from hwnas.core.optimum import minimise
from hwnas.core.space import SearchSpace
from hwnas.errors import TrainingError
from hwnas.strategies.loss_factors import LossFactors


@pytest.fixture(scope="module")
def space(small_space: SearchSpace) -> SearchSpace:
    return small_space


@pytest.fixture(scope="module")
def rows(space: SearchSpace) -> np.ndarray:
    return np.unique(space.sample_rows(np.random.default_rng(0), 120), axis=0)


def losses(space: SearchSpace, rows_NC: np.ndarray) -> np.ndarray:
    """Returns losses that fall with the logarithm of FLOPs, by layer."""
    factors = [Factor(f.name, f.scope, -np.log1p(f.values)) for f in space.cost_factors("flops")]
    sum_N = total(factors, rows_NC, space.columns)
    return np.asarray(0.1 + 0.002 * (sum_N - sum_N.min()))


def test_losses_that_are_sums_over_layers_are_predicted(space: SearchSpace, rows: np.ndarray) -> None:
    loss_N = losses(space, rows)
    half = len(rows) // 2
    predicted_N = LossFactors.fit(space, rows[:half], loss_N[:half]).predict(rows[half:])
    assert np.corrcoef(predicted_N, loss_N[half:])[0, 1] > 0.95


@pytest.mark.parametrize("shift", [-1.0, 0.0, 5.0])
def test_negative_losses_rank_networks_as_positive_ones_do(space: SearchSpace, rows: np.ndarray, shift: float) -> None:
    loss_N = losses(space, rows)
    predicted_N = LossFactors.fit(space, rows, loss_N + shift).predict(rows)
    assert predicted_N == pytest.approx(loss_N + shift, abs=0.1 * np.ptp(loss_N))


def test_the_mean_factors_predict_up_to_a_constant(space: SearchSpace, rows: np.ndarray) -> None:
    model = LossFactors.fit(space, rows, losses(space, rows) - 1.0)
    difference_N = total(model.mean, rows, space.columns) - model.predict(rows)
    assert np.ptp(difference_N) < 1e-9


def test_draws_have_the_posterior_mean_and_its_standard_deviation(space: SearchSpace, rows: np.ndarray) -> None:
    rng, loss_N = (
        np.random.default_rng(1),
        losses(space, rows) + 0.01 * np.random.default_rng(2).random(len(rows)),
    )
    model = LossFactors.fit(space, rows[:20], loss_N[:20])
    others_NC = rows[20:26]
    drawn_FN = np.array([total(model.drawn(rng), others_NC, space.columns) for _ in range(600)])
    deviation_N = model.model.deviation(others_NC) * model.predict(others_NC)
    assert drawn_FN.mean(axis=0) == pytest.approx(model.predict(others_NC), abs=5 * deviation_N.max() / 600**0.5)
    assert drawn_FN.std(axis=0) == pytest.approx(deviation_N, rel=0.15)


def test_one_network_is_enough_to_fit_and_equal_losses_are_no_error(space: SearchSpace, rows: np.ndarray) -> None:
    for count in (1, 5):
        model = LossFactors.fit(space, rows[:count], np.full(count, -0.5))
        assert minimise(space.choices, model.mean) is not None
        assert np.isfinite(model.predict(rows)).all()


def test_a_loss_that_is_no_number_is_an_error(space: SearchSpace, rows: np.ndarray) -> None:
    with pytest.raises(TrainingError, match="1 of 2 numbers to be fitted are not finite"):
        LossFactors.fit(space, rows[:2], np.array([0.1, np.nan]))


def test_the_same_losses_and_generator_give_the_same_draw() -> None:
    space = hwnas.space("mobilenet", resolution=16, width=0.5)
    drawn_NC = space.sample_rows(np.random.default_rng(3), 12)
    first, second = (
        LossFactors.fit(space, drawn_NC, losses(space, drawn_NC)).drawn(np.random.default_rng(4)) for _ in range(2)
    )
    assert all(np.array_equal(one.values, other.values) for one, other in zip(first, second, strict=True))
