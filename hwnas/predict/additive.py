"""The additive model of a cost: expected costs of operators, corrected in context by whole networks.

    cost(arch) = sum over layers of the expected cost + intercept + corrections

Shapes: N architectures, C choices, P features.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from hwnas.core.arrays import FloatArray, IntArray
from hwnas.core.factors import Factor, total
from hwnas.errors import PredictorError
from hwnas.predict.basis import INTERCEPT, Basis, Name
from hwnas.predict.bayes import LogScales, Posterior, fit_posterior
from hwnas.predict.features import ALL

# Prior standard deviations: of a correction, relative to the corrected cost; of a cost without an expectation; of a
# measurement. A factor of 7 (two in its logarithm) more or less is as likely as not.
CORRECTION: Final = 0.05
UNKNOWN: Final = 1.0
NOISE: Final = 0.03
LOG_SPREAD: Final = 2.0
# Networks below this share of the median weigh no more than at it: a table may hold some that do next to nothing.
FASTEST: Final = 0.25
# No prediction is below this share of the lowest measurement: a sum may fall below 0.
LEAST: Final = 0.1


@dataclass(frozen=True, eq=False)
class AdditiveModel:
    """A basis, and the posterior of its features' weights after whole networks; None before any network."""

    basis: Basis
    columns: Mapping[str, int]
    posterior: Posterior | None = None

    @cached_property
    def factors(self) -> tuple[Factor, ...]:
        """The corrected factors, in the unit of the measurements."""
        return self.basis.expected if self.posterior is None else self.basis.factors(self.posterior.mean_P)

    def predict(self, rows_NC: IntArray) -> FloatArray:
        """Returns the cost of each architecture; shape (N,)."""
        return total(self.factors, rows_NC, self.columns)

    @property
    def noise(self) -> float:
        """Standard deviation of a measurement, relative to it. Raises PredictorError before any network."""
        return self._posterior.noise

    @property
    def _posterior(self) -> Posterior:
        if self.posterior is None:
            raise PredictorError("how uncertain predictions are is known only after some whole networks; measure some")
        return self.posterior

    def relative_covariance(self, rows_NC: IntArray) -> FloatArray:
        """Returns the covariance of predictions relative to them, without the noise of a measurement; shape (N, N).

        Raises PredictorError before any network.
        """
        posterior = self._posterior
        design_NP = self.basis.design(rows_NC, self.columns).multiply(relative(self.predict(rows_NC))[:, None])
        return posterior.covariance(design_NP.tocsr())

    def deviation(self, rows_NC: IntArray) -> FloatArray:
        """Returns the posterior standard deviation relative to the prediction; shape (N,).

        Raises PredictorError before any network.
        """
        result: FloatArray = np.sqrt(np.maximum(np.diag(self.relative_covariance(rows_NC)), 0.0))
        return result

    def uncertainty(self, rows_NC: IntArray) -> FloatArray:
        """Returns the standard deviation of a measurement around the prediction, relative to the prediction; shape (N,).

        Raises PredictorError before any network.
        """
        return np.hypot(self.deviation(rows_NC), self.noise)


def fit_additive(
    basis: Basis,
    columns: Mapping[str, int],
    rows_NC: IntArray,
    cost_N: FloatArray,
    believed: LogScales | None = None,
) -> AdditiveModel:
    """Returns the model after whole networks that cost `cost_N`; without networks it predicts the expectation.

    Residuals are relative, so that cheap and costly networks count alike.
    """
    if len(rows_NC) == 0:
        return AdditiveModel(basis, columns)
    relative_N = relative(cost_N)
    target_N = (cost_N - total(basis.expected, rows_NC, columns)) * relative_N
    design_NP = basis.design(rows_NC, columns).multiply(relative_N[:, None]).tocsr()
    expecting = any(factor.values.any() for factor in basis.expected)
    scales = believed or default_scales(basis.groups, expecting=expecting)
    return AdditiveModel(basis, columns, fit_posterior(design_NP, target_N, basis.group_P, scales))


def relative(cost_N: FloatArray) -> FloatArray:
    """Returns the factors that make costs relative: 1 / cost, bounded for networks that do next to nothing; shape (N,)."""
    return 1.0 / np.maximum(cost_N, FASTEST * np.median(cost_N))


def default_scales(groups: Sequence[Name], *, expecting: bool) -> LogScales:
    """Returns the prior of the groups' scales: corrections are small.

    Where there is no expectation to correct, the intercept and the cost of all operators together may be anything.
    """
    scales = [UNKNOWN if not expecting and group[-1] in (INTERCEPT, ALL) else CORRECTION for group in groups]
    logs = np.log([*scales, NOISE])
    return LogScales(logs, np.full(len(logs), LOG_SPREAD))
