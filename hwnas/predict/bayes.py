"""Bayesian linear regression with groups of features: closed form, the groups' variances by marginal likelihood.

Weights are Gaussian around 0, with one standard deviation per group, and so is the noise (Bishop 2006, section 3.3). The
standard deviations are those that make what was measured most likely (section 3.5), or, where few measurements cannot
tell, likely ones: a Gaussian prior on their logarithms says which are.

Shapes: N rows, P features, G groups, M other rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize
from scipy.sparse import csr_array

from hwnas.core.arrays import FloatArray, IntArray

# Log of a group's standard deviation.
LOG_BOUNDS: Final = (-12.0, 3.0)
# Noise of a measurement is never below 0.2 %; a smaller value would be fitting noise.
LOG_NOISE_BOUNDS: Final = (float(np.log(0.002)), 2.0)
# Rows that the standard deviations are found from: a dozen numbers need no more, and each step is cubic in the rows.
EVIDENCE_ROWS: Final = 200


@dataclass(frozen=True, slots=True, eq=False)
class LogScales:
    """Gaussian prior of the logarithms of the groups' standard deviations; the last entry is the noise's.

    `mean` and `spread`, its standard deviation, have shape (G + 1,).
    """

    mean: FloatArray
    spread: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Posterior:
    """The weights after N rows. `scales_G` are the groups' standard deviations, `noise` that of a row's target;
    `log_evidence` how likely the rows were, and these scales, up to a constant of the rows.
    """

    mean_P: FloatArray
    scales_G: FloatArray
    noise: float
    log_evidence: float
    prior_P: FloatArray
    design_NP: csr_array
    factor_NN: FloatArray

    def covariance(self, design_MP: csr_array) -> FloatArray:
        """Returns the covariance of the predictions for other rows, without the noise of a measurement; shape (M, M)."""
        other_MP = design_MP.toarray()
        scaled_MP = other_MP * self.prior_P
        cross_NM = self.design_NP.toarray() @ scaled_MP.T
        result: FloatArray = scaled_MP @ other_MP.T - cross_NM.T @ cho_solve((self.factor_NN, True), cross_NM)
        return result


def fit_posterior(design_NP: csr_array, target_N: FloatArray, group_P: IntArray, believed: LogScales) -> Posterior:
    """The weights' posterior, given what is believed of the scales."""
    order: IntArray = np.random.default_rng(0).permutation(len(target_N))[:EVIDENCE_ROWS]
    kernels = group_kernels(design_NP[order], group_P)
    logs = most_likely_scales(kernels, target_N[order], believed)
    log_evidence = -negative_evidence(logs, kernels, target_N[order], believed)[0]
    prior_P = np.exp(2 * logs[group_P])
    noise = float(np.exp(logs[-1]))
    dense_NP = design_NP.toarray()
    covariance = (dense_NP * prior_P) @ dense_NP.T + noise**2 * np.eye(len(target_N))
    factor_NN = cho_factor(covariance, lower=True)[0]
    mean_P = prior_P * (dense_NP.T @ cho_solve((factor_NN, True), target_N))
    return Posterior(mean_P, np.exp(logs[:-1]), noise, log_evidence, prior_P, design_NP, factor_NN)


def group_kernels(design_NP: csr_array, group_P: IntArray) -> list[FloatArray]:
    """Returns each group's part of the covariance of the rows, at a standard deviation of 1; (N, N) each."""
    dense_NP = design_NP.toarray()
    parts = (dense_NP[:, group_P == group] for group in range(group_P.max() + 1))
    return [part @ part.T for part in parts]


def most_likely_scales(kernels: Sequence[FloatArray], target_N: FloatArray, believed: LogScales) -> FloatArray:
    """Log standard deviations of the groups, and of the noise, at the maximum of the marginal likelihood times the prior."""
    bounds = [LOG_BOUNDS] * len(kernels) + [LOG_NOISE_BOUNDS]
    start = np.clip(believed.mean, *np.transpose(bounds))
    solution = minimize(
        negative_evidence,
        start,
        (kernels, target_N, believed),
        jac=True,
        bounds=bounds,
        method="L-BFGS-B",
        options={"ftol": 1e-6},
    )
    return np.asarray(solution.x)


def negative_evidence(
    logs: FloatArray, kernels: Sequence[FloatArray], target_N: FloatArray, believed: LogScales
) -> tuple[float, FloatArray]:
    """Minus the log of marginal likelihood times prior, up to a constant, and its gradient in `logs`."""
    variances = np.exp(2 * logs)
    covariance = variances[-1] * np.eye(len(target_N))
    for variance, kernel in zip(variances, kernels, strict=False):
        covariance += variance * kernel
    factor = cho_factor(covariance, lower=True)
    inverse = cho_solve(factor, np.eye(len(covariance)))
    alpha_N = inverse @ target_N
    away = (logs - believed.mean) / believed.spread
    value = 0.5 * float(target_N @ alpha_N) + float(np.log(np.diag(factor[0])).sum()) + 0.5 * float(away @ away)
    slope = 0.5 * (inverse - np.outer(alpha_N, alpha_N))
    sums = [float((slope * kernel).sum()) for kernel in kernels] + [float(np.trace(slope))]
    return value, 2 * variances * np.array(sums) + away / believed.spread
