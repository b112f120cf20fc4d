"""A Gaussian process over features and options, whose scales are those that make the targets most likely.

The covariance of two architectures is a sum of four parts: a Matern 5/2 kernel of their features with a length scale per
feature, a kernel of the options in which they differ, the product of their `trend`, and a constant (Rasmussen and Williams
2006, sections 4.2 and 5.1). Scales have log-normal priors, so a handful of targets give sensible ones; the prior of the
length scales grows with the number of features (Hvarfner et al. 2024).

Shapes: N known architectures, M others, F features, C choices, P scales.
"""

from dataclasses import dataclass
from typing import Final, final

import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.optimize import minimize

from hwnas.core.arrays import FloatArray, IntArray

SQRT5: Final = float(np.sqrt(5.0))
# Options differ in a third of the choices where their kernel has fallen to 1 / e.
DIFFERENT: Final = 3.0
# Prior means of the standard deviations, relative to the targets': of features, options, trend, the constant, and noise.
PARTS: Final = (1.0, 0.3, 1.0, 1.0, 0.03)
# Prior standard deviation of every scale's logarithm.
SPREAD: Final = 1.0
LOG_LENGTH_BOUNDS: Final = (-4.0, 6.0)
LOG_PART_BOUNDS: Final = (-5.0, 3.0)
LOG_NOISE_BOUNDS: Final = (float(np.log(0.003)), 0.0)
STEPS: Final = 60


@final
@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """Features (N, F) of a standard deviation of about 1, option indices (N, C), and a trend (N,) that targets may follow."""

    features_NF: FloatArray
    rows_NC: IntArray
    trend_N: FloatArray

    def __getitem__(self, index: IntArray) -> "Inputs":
        return Inputs(self.features_NF[index], self.rows_NC[index], self.trend_N[index])


@final
@dataclass(frozen=True, slots=True, eq=False)
class Process:
    """A Gaussian process that knows N targets. `logs_P` are the logarithms of its scales."""

    known: Inputs
    logs_P: FloatArray
    lower_NN: FloatArray
    weights_N: FloatArray

    def predict(self, others: Inputs) -> tuple[FloatArray, FloatArray]:
        """Returns the mean and the standard deviation, with noise, of other architectures' targets; shape (M,) each.

        The noise is the part of a target that no feature explains, so it is part of the prediction although targets are exact.
        """
        covariance_NM = _covariance(self.known, others, self.logs_P)
        explained_NM = solve_triangular(self.lower_NN, covariance_NM, lower=True)
        parts = np.exp(2 * self.logs_P[-len(PARTS) :])
        prior_M = parts[[0, 1, 3, 4]].sum() + parts[2] * others.trend_N**2
        variance_M = np.maximum(prior_M - (explained_NM**2).sum(axis=0), parts[4])
        return covariance_NM.T @ self.weights_N, np.sqrt(variance_M)


def fit_process(known: Inputs, target_N: FloatArray, start_P: FloatArray | None = None) -> Process:
    """Returns the process that knows some targets, of mean about 0 and standard deviation about 1.

    `start_P` are scales to begin from, of fewer targets. Without them the prior's are taken.
    """
    prior_P = _prior(known)
    count = known.features_NF.shape[1]
    bounds = [LOG_LENGTH_BOUNDS] * count + [LOG_PART_BOUNDS] * (len(PARTS) - 1) + [LOG_NOISE_BOUNDS]
    solution = minimize(
        _negative_evidence,
        prior_P if start_P is None else start_P,
        (known, target_N, prior_P, _alike(known, known)),
        jac=True,
        bounds=bounds,
        method="L-BFGS-B",
        options={"maxiter": STEPS},
    )
    return known_process(known, target_N, np.asarray(solution.x))


def known_process(known: Inputs, target_N: FloatArray, logs_P: FloatArray) -> Process:
    """Returns the process of given scales that knows some targets."""
    noise = np.exp(2 * logs_P[-1])
    covariance_NN = _covariance(known, known, logs_P) + noise * np.eye(len(target_N))
    factor = cho_factor(covariance_NN, lower=True)
    return Process(known, logs_P, np.tril(factor[0]), cho_solve(factor, target_N))


def _prior(known: Inputs) -> FloatArray:
    """Returns the prior means of the scales' logarithms; shape (P,)."""
    count = known.features_NF.shape[1]
    return np.concatenate([np.full(count, 0.5 * np.log(max(1, count))), np.log(PARTS)])


def _covariance(some: Inputs, others: Inputs, logs_P: FloatArray) -> FloatArray:
    """Returns the covariance of targets without noise; shape (N, M)."""
    parts = np.exp(2 * logs_P[-len(PARTS) :])
    distance_NM = _distance(some, others, logs_P)[2]
    result = parts[0] * (1 + SQRT5 * distance_NM + 5 * distance_NM**2 / 3) * np.exp(-SQRT5 * distance_NM)
    result += parts[1] * _alike(some, others)
    result += parts[2] * np.outer(some.trend_N, others.trend_N) + parts[3]
    return np.asarray(result)


def _distance(some: Inputs, others: Inputs, logs_P: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Returns the features in units of their length scales, (N, F) and (M, F), and their distances (N, M)."""
    length_F = np.exp(logs_P[: -len(PARTS)])
    scaled_NF, scaled_MF = some.features_NF / length_F, others.features_NF / length_F
    squares_NM = (scaled_NF**2).sum(axis=1)[:, None] + (scaled_MF**2).sum(axis=1) - 2 * scaled_NF @ scaled_MF.T
    return scaled_NF, scaled_MF, np.sqrt(np.maximum(squares_NM, 0.0))


def _alike(some: Inputs, others: Inputs) -> FloatArray:
    """Returns the kernel of options: it falls exponentially with the share of choices that differ; shape (N, M)."""
    differing_NM = np.zeros((len(some.rows_NC), len(others.rows_NC)))
    for mine_N, theirs_M in zip(some.rows_NC.T, others.rows_NC.T, strict=True):
        differing_NM += mine_N[:, None] != theirs_M
    return np.asarray(np.exp(-DIFFERENT * differing_NM / max(1, some.rows_NC.shape[1])))


def _negative_evidence(
    logs_P: FloatArray, known: Inputs, target_N: FloatArray, prior_P: FloatArray, alike_NN: FloatArray
) -> tuple[float, FloatArray]:
    """Returns minus the log of marginal likelihood times prior, up to a constant, and its gradient (P,).

    `alike_NN` is the kernel of options, which no scale changes.
    """
    matern, options, trend, constant, noise = np.exp(2 * logs_P[-len(PARTS) :])
    scaled_NF, _, distance_NN = _distance(known, known, logs_P)
    decay_NN = np.exp(-SQRT5 * distance_NN)
    matern_NN = (1 + SQRT5 * distance_NN + 5 * distance_NN**2 / 3) * decay_NN
    trend_NN = np.outer(known.trend_N, known.trend_N)
    covariance_NN = (
        matern * matern_NN + options * alike_NN + trend * trend_NN + constant + noise * np.eye(len(target_N))
    )
    factor = cho_factor(covariance_NN, lower=True)
    inverse_NN = cho_solve(factor, np.eye(len(target_N)))
    alpha_N = inverse_NN @ target_N
    away_P = (logs_P - prior_P) / SPREAD
    value = 0.5 * target_N @ alpha_N + np.log(np.diag(factor[0])).sum() + 0.5 * away_P @ away_P
    slope_NN = 0.5 * (inverse_NN - np.outer(alpha_N, alpha_N))
    # d matern / d log length: 5 / 3 (1 + sqrt(5) r) exp(-sqrt(5) r) (difference / length)^2.
    pull_NN = slope_NN * matern * (5 / 3) * (1 + SQRT5 * distance_NN) * decay_NN
    lengths_F = 2 * (pull_NN.sum(axis=1) @ scaled_NF**2 - (scaled_NF * (pull_NN @ scaled_NF)).sum(axis=0))
    sums = [matern * (slope_NN * matern_NN).sum(), options * (slope_NN * alike_NN).sum()]
    sums += [trend * (slope_NN * trend_NN).sum(), constant * slope_NN.sum(), noise * np.trace(slope_NN)]
    return float(value), np.concatenate([lengths_F, 2 * np.array(sums)]) + away_P / SPREAD
