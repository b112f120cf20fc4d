"""The Gaussian process over features and options."""

import numpy as np
import pytest

from hwnas.predict.process import PARTS, Inputs, _alike, _negative_evidence, _prior, fit_process


def inputs(count: int, seed: int = 0) -> Inputs:
    rng = np.random.default_rng(seed)
    return Inputs(rng.standard_normal((count, 3)), rng.integers(0, 3, (count, 4)), rng.standard_normal(count))


def test_the_gradient_of_the_evidence_is_that_of_finite_differences() -> None:
    known, target_N = inputs(12), np.random.default_rng(1).standard_normal(12)
    prior_P, alike_NN = _prior(known), _alike(known, known)
    logs_P = prior_P + 0.3 * np.random.default_rng(2).standard_normal(len(prior_P))
    _, gradient_P = _negative_evidence(logs_P, known, target_N, prior_P, alike_NN)
    for number in range(len(logs_P)):
        step_P = np.eye(len(logs_P))[number] * 1e-5
        sides = [_negative_evidence(logs_P + sign * step_P, known, target_N, prior_P, alike_NN)[0] for sign in (1, -1)]
        assert gradient_P[number] == pytest.approx((sides[0] - sides[1]) / 2e-5, rel=1e-4, abs=1e-5)


def test_a_smooth_function_of_one_feature_is_learnt_from_few_targets() -> None:
    known, others = inputs(40), inputs(200, seed=3)
    process = fit_process(known, np.sin(known.features_NF[:, 0]))
    mean_M, deviation_M = process.predict(others)
    truth_M = np.sin(others.features_NF[:, 0])
    assert np.corrcoef(mean_M, truth_M)[0, 1] > 0.95
    assert np.mean(np.abs(mean_M - truth_M) < 2 * deviation_M) > 0.85
    lengths = np.exp(process.logs_P[: -len(PARTS)])
    assert lengths[0] < lengths[1:].min()  # the features that matter little have long scales


def test_a_trend_is_followed_and_what_is_far_away_is_uncertain() -> None:
    known = inputs(40)
    process = fit_process(known, known.trend_N.copy())
    far = Inputs(known.features_NF + 100, known.rows_NC, known.trend_N)
    assert np.corrcoef(process.predict(inputs(50, seed=4))[0], inputs(50, seed=4).trend_N)[0, 1] > 0.95
    assert process.predict(far)[1].min() > process.predict(known)[1].max()
