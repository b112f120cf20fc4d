"""Expected hypervolume improvement."""

import numpy as np
import pytest

from hwnas.strategies.improvement import Beliefs, expected_improvement
from hwnas.strategies.pareto import hypervolume

FRONT = np.array([[0.8, 0.1], [0.9, 0.5], [0.5, 0.3], [0.2, 0.9]])  # the second is dominated
ONE = np.ones(2)


def sampled(front_ND: np.ndarray, reference_D: np.ndarray, mean_D: np.ndarray, deviation_D: np.ndarray) -> float:
    """Returns the mean gain over many draws."""
    rng = np.random.default_rng(0)
    points_SD = mean_D + rng.standard_normal((4000, len(mean_D))) * deviation_D
    volumes = [hypervolume(np.vstack([front_ND, point_D]), reference_D) for point_D in points_SD]
    return float(np.mean(volumes)) - hypervolume(front_ND, reference_D)


@pytest.mark.parametrize("uncertain", [0, 1])
def test_with_one_uncertain_objective_the_gain_is_the_mean_over_draws(uncertain: int) -> None:
    beliefs = Beliefs(np.array([[0.4, 0.5], [0.3, 0.2], [0.9, 0.05], [1.4, 0.3]]), np.zeros((4, 2)))
    beliefs.deviation_MD[:, uncertain] = 0.2
    gain_M = expected_improvement(FRONT, ONE, beliefs)
    for gain, mean_D, deviation_D in zip(gain_M, beliefs.mean_MD, beliefs.deviation_MD, strict=True):
        assert gain == pytest.approx(sampled(FRONT, ONE, mean_D, deviation_D), abs=0.004)


def test_one_objective_alone_has_the_expected_improvement() -> None:
    beliefs = Beliefs(np.array([[0.5], [0.2]]), np.array([[0.1], [0.1]]))
    gain_M = expected_improvement(np.array([[0.4], [0.6]]), np.ones(1), beliefs)
    assert gain_M[0] == pytest.approx(0.0083, abs=1e-4) and gain_M[1] == pytest.approx(0.2008, abs=1e-3)


def test_three_objectives_gain_about_the_mean_over_draws_and_order_candidates() -> None:
    front_ND, reference_D = np.hstack([FRONT, [[0.5], [0.4], [0.3], [0.6]]]), np.ones(3)
    beliefs = Beliefs(np.array([[0.4, 0.5, 0.2], [0.85, 0.5, 0.6], [0.3, 0.2, 0.1]]), np.tile([0.1, 0.0, 0.0], (3, 1)))
    gain_M = expected_improvement(front_ND, reference_D, beliefs)
    truth = [sampled(front_ND, reference_D, *pair) for pair in zip(beliefs.mean_MD, beliefs.deviation_MD, strict=True)]
    assert gain_M == pytest.approx(truth, rel=0.25, abs=0.003) and np.argmax(gain_M) == np.argmax(truth)


def test_what_is_certain_and_dominated_gains_nothing() -> None:
    beliefs = Beliefs(np.array([[0.95, 0.6], [0.1, 0.1]]), np.zeros((2, 2)))
    gain_M = expected_improvement(FRONT, ONE, beliefs)
    assert gain_M[0] == 0 and gain_M[1] == pytest.approx(0.81 - hypervolume(FRONT, ONE))
