"""Laws of Bayesian regression: it is the textbook's, by other formulas, and its evidence is climbed by its gradient.

Shapes: N rows, P features, G groups, M other rows.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import approx_fprime
from scipy.sparse import csr_array
from scipy.stats import multivariate_normal

from hwnas.predict.bayes import LOG_BOUNDS, LOG_NOISE_BOUNDS, LogScales, fit_posterior, group_kernels, negative_evidence

SEEDS = st.integers(0, 2**32 - 1)
WIDE = 1e6
PINNED = 1e-4


def believed(logs, spread: float) -> LogScales:
    return LogScales(np.array(logs, dtype=float), np.full(len(logs), spread))


def drawn(seed: int, rows: int, groups: int, features: int = 3):
    """(design, target, group of each feature): all of it noise."""
    rng = np.random.default_rng(seed)
    group_P = np.repeat(np.arange(groups), features)
    return csr_array(rng.normal(size=(rows, len(group_P)))), rng.normal(size=rows), group_P


@given(SEEDS, st.integers(1, 12), st.integers(1, 5), st.sampled_from([WIDE, 2.0, 0.3]))
def test_the_gradient_of_the_evidence_is_that_of_finite_differences(seed, rows, groups, spread) -> None:
    design_NP, target_N, group_P = drawn(seed, rows, groups)
    kernels = group_kernels(design_NP, group_P)
    rng = np.random.default_rng(seed)
    logs, prior = rng.uniform(-2, 1, groups + 1), believed(rng.uniform(-2, 1, groups + 1), spread)
    _, gradient = negative_evidence(logs, kernels, target_N, prior)
    numeric = approx_fprime(logs, lambda at: negative_evidence(at, kernels, target_N, prior)[0], 1e-6)
    assert gradient == pytest.approx(numeric, rel=1e-3, abs=1e-3 * max(1.0, np.abs(gradient).max()))


@given(SEEDS, st.integers(1, 12), st.integers(1, 4))
def test_the_evidence_is_the_gaussian_density_of_the_targets(seed, rows, groups) -> None:
    design_NP, target_N, group_P = drawn(seed, rows, groups)
    logs = np.random.default_rng(seed).uniform(-2, 1, groups + 1)
    variance_P = np.exp(2 * logs[group_P])
    covariance = design_NP.toarray() @ np.diag(variance_P) @ design_NP.toarray().T + np.exp(2 * logs[-1]) * np.eye(rows)
    value, _ = negative_evidence(logs, group_kernels(design_NP, group_P), target_N, believed(logs, 1.0))
    log_density = multivariate_normal.logpdf(target_N, np.zeros(rows), covariance)
    assert value == pytest.approx(-log_density - rows / 2 * np.log(2 * np.pi), rel=1e-9, abs=1e-9)


@given(SEEDS, st.floats(0.1, 10), st.floats(-3, 3))
def test_away_from_what_is_believed_the_evidence_falls_as_a_gaussian(seed, spread, away) -> None:
    design_NP, target_N, group_P = drawn(seed, 5, 2)
    kernels, logs = group_kernels(design_NP, group_P), np.zeros(3)
    at_the_mean, _ = negative_evidence(logs, kernels, target_N, believed(logs, spread))
    beside, _ = negative_evidence(logs, kernels, target_N, believed([0.0, away, 0.0], spread))
    assert beside - at_the_mean == pytest.approx(0.5 * (away / spread) ** 2, rel=1e-9, abs=1e-9)


@given(SEEDS, st.integers(1, 12), st.integers(1, 4))
def test_a_prior_without_spread_pins_the_scales(seed, rows, groups) -> None:
    design_NP, target_N, group_P = drawn(seed, rows, groups)
    logs = np.random.default_rng(seed).uniform(-4, 1, groups + 1)
    posterior = fit_posterior(design_NP, target_N, group_P, believed(logs, PINNED))
    assert posterior.scales_G == pytest.approx(np.exp(logs[:-1]), rel=1e-3)
    assert posterior.noise == pytest.approx(np.exp(logs[-1]), rel=1e-3)


@given(SEEDS, st.integers(1, 15), st.integers(1, 4))
def test_mean_and_variance_are_those_of_the_precision_matrix(seed, rows, groups) -> None:
    """Bishop 2006, equations 3.53, 3.54 and 3.59: an inverse in the space of weights, where ours is in that of rows."""
    design_NP, target_N, group_P = drawn(seed, rows, groups)
    posterior = fit_posterior(design_NP, target_N, group_P, believed(np.full(groups + 1, -0.5), 0.5))
    dense_NP = design_NP.toarray()
    precision_PP = np.diag(posterior.scales_G[group_P] ** -2.0) + dense_NP.T @ dense_NP / posterior.noise**2
    covariance_PP = np.linalg.inv(precision_PP)
    expected_P = covariance_PP @ dense_NP.T @ target_N / posterior.noise**2
    assert posterior.mean_P == pytest.approx(expected_P, rel=1e-6, abs=1e-8)
    others_MP = np.random.default_rng(seed + 1).normal(size=(4, len(group_P)))
    expected_M = np.einsum("mp,pq,mq->m", others_MP, covariance_PP, others_MP)
    assert np.diag(posterior.covariance(csr_array(others_MP))) == pytest.approx(expected_M, rel=1e-6, abs=1e-8)


@given(SEEDS, st.integers(1, 10), st.integers(1, 10))
def test_more_rows_never_make_a_prediction_less_certain(seed, rows, more) -> None:
    design_NP, target_N, group_P = drawn(seed, rows + more, groups=2)
    prior = believed([-0.5, -0.5, -1.0], PINNED)
    some, all_ = (
        np.diag(fit_posterior(design_NP[:count], target_N[:count], group_P, prior).covariance(design_NP))
        for count in (rows, rows + more)
    )
    assert (all_ <= some * 1.01).all()  # the scales are pinned to within 0.01 % only
    assert (all_[rows:] < some[rows:]).all()


@given(SEEDS)
def test_before_any_row_says_otherwise_the_variance_is_the_priors(seed) -> None:
    design_NP, _, group_P = drawn(seed, 3, groups=2)
    nothing_NP = csr_array(np.zeros((1, len(group_P))))
    posterior = fit_posterior(nothing_NP, np.zeros(1), group_P, believed([0.0, -1.0, -1.0], PINNED))
    expected = (design_NP.toarray() ** 2) @ np.exp(2 * np.array([0.0, -1.0]))[group_P]
    assert np.diag(posterior.covariance(design_NP)) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("seed", range(5))
def test_a_group_that_explains_what_was_measured_gets_a_larger_scale_than_one_of_noise(seed) -> None:
    design_NP, noise_N, group_P = drawn(seed, rows=40, groups=2)
    weights_P = np.where(group_P == 1, 1.0, 0.0)
    posterior = fit_posterior(design_NP, design_NP @ weights_P + 0.1 * noise_N, group_P, believed([-2.0] * 3, 2.0))
    assert posterior.scales_G[1] > 5 * posterior.scales_G[0]
    assert posterior.noise == pytest.approx(0.1, rel=0.4)


@given(SEEDS, st.floats(-30, 30))
def test_scales_keep_their_bounds_whatever_is_believed(seed, mean) -> None:
    design_NP, target_N, group_P = drawn(seed, rows=6, groups=2)
    posterior = fit_posterior(design_NP, target_N, group_P, believed([mean] * 3, 0.5))
    logs = np.log([*posterior.scales_G, posterior.noise])
    for log, (low, high) in zip(logs, [LOG_BOUNDS, LOG_BOUNDS, LOG_NOISE_BOUNDS], strict=True):
        assert low - 1e-9 <= log <= high + 1e-9


@given(SEEDS)
def test_a_feature_that_is_nowhere_keeps_the_weight_it_had_0(seed) -> None:
    design_NP, target_N, group_P = drawn(seed, rows=8, groups=2)
    without_NP = design_NP.toarray()
    without_NP[:, 1] = 0.0
    posterior = fit_posterior(csr_array(without_NP), target_N, group_P, believed([-1.0] * 3, 1.0))
    assert posterior.mean_P[1] == 0.0
    only = csr_array(np.eye(len(group_P))[1:2])
    assert np.diag(posterior.covariance(only)) == pytest.approx([posterior.scales_G[0] ** 2])
