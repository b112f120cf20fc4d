"""Which networks to measure next, and what error to expect of a predictor without measuring any.

Shapes: M candidates, C choices.
"""

import numpy as np

from hwnas.core.arrays import FloatArray, IntArray
from hwnas.predict.additive import AdditiveModel


def expected_error(model: AdditiveModel, rows_MC: IntArray) -> float:
    """The mean absolute relative error to expect on measurements of these networks: of the posterior and of the noise."""
    variance_M = model.deviation(rows_MC) ** 2 + model.noise**2
    # Of a Gaussian the mean absolute value is this share of the standard deviation.
    return float(np.sqrt(2 / np.pi) * np.sqrt(variance_M).mean())


def most_telling(model: AdditiveModel, rows_MC: IntArray, count: int) -> IntArray:
    """Numbers of the candidates that, one after the other, take most off the variance summed over all (Cohn, Ghahramani and
    Jordan 1996); shape (count,).

    What a measurement takes off does not depend on what is measured, so all of a batch are chosen at once.
    """
    covariance_MM = model.relative_covariance(rows_MC)
    noise = model.noise**2
    chosen: list[int] = []
    for _ in range(min(count, len(rows_MC))):
        gain_M: FloatArray = (covariance_MM**2).sum(axis=0) / (np.diag(covariance_MM) + noise)
        gain_M[chosen] = -np.inf
        best = int(gain_M.argmax())
        column_M = covariance_MM[:, best]
        covariance_MM = covariance_MM - np.outer(column_M, column_M) / (column_M[best] + noise)
        chosen.append(best)
    return np.array(chosen, dtype=np.int64)
