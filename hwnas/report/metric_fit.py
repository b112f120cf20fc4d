"""The additive model of one metric, fitted to all evaluated networks of a run: what it explains, and what it draws.

Shapes: N architectures, C choices, M networks of the fit, K donors.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Final, final

import numpy as np

from hwnas.core.arrays import FloatArray, IntArray
from hwnas.core.space import SearchSpace
from hwnas.strategies.loss_factors import LossFactors
from hwnas.tasks.task import Metric

# With fewer networks, effects say more about the prior than about the networks.
FEWEST: Final = 20
# The fit is cubic in the number of networks: of more, as many are drawn.
MOST: Final = 1000
# Evaluated networks that may give a drawn one its metric. Draws from the posterior predictive distribution instead promise
# random search 1.4 to 2.3 times the hypervolume that it has (docs/reading.md): noise is symmetric, losses have long upper tails.
DONORS: Final = 5


@final
@dataclass(frozen=True, eq=False)
class MetricFit:
    """A metric as a sum over layers. `values_N` are those of the networks of the fit, with the sign that makes lower better."""

    metric: Metric
    space: SearchSpace
    factors: LossFactors
    rows_NC: IntArray
    values_N: FloatArray

    @classmethod
    def of(cls, metric: Metric, space: SearchSpace, rows_NC: IntArray, values_N: FloatArray) -> "MetricFit":
        """Fits the additive model to a metric as it is reported; networks whose metric is not finite are left out.

        Raises TrainingError where no network is left.
        """
        known_N = np.flatnonzero(np.isfinite(values_N))
        if len(known_N) > MOST:
            known_N = np.sort(np.random.default_rng(0).choice(known_N, MOST, replace=False))
        rows_NC, minimised_N = rows_NC[known_N], metric.minimised(1.0) * values_N[known_N]
        return cls(metric, space, LossFactors.fit(space, rows_NC, minimised_N), rows_NC, minimised_N)

    @cached_property
    def left_out(self) -> FloatArray:
        """The prediction of each network of the fit by a fit to all others, lower is better; shape (N,)."""
        return self.factors.held_out(self.values_N)

    @property
    def explained(self) -> float:
        """The share of the networks' variance that `left_out` predicts; 0 or less is nothing."""
        around_mean = float(np.square(self.values_N - self.values_N.mean()).sum())
        return 1 - float(np.square(self.values_N - self.left_out).sum()) / around_mean if around_mean else 0.0

    def drawn(self, rows_NC: IntArray, rng: np.random.Generator) -> FloatArray:
        """Returns metrics as evaluations of these networks may give them, lower is better; shape (N,).

        By predictive mean matching (Little 1988): a network gets the metric of one of the `DONORS` evaluated networks whose
        predictions, each left out of its fit, are nearest to its own. So no metric is better than the best that was evaluated.
        """
        apart_NM = np.abs(self.factors.predict(rows_NC)[:, None] - self.left_out[None])
        donors_NK = np.argsort(apart_NM, axis=1, kind="stable")[:, :DONORS]
        chosen_N = donors_NK[np.arange(len(rows_NC)), rng.integers(0, donors_NK.shape[1], len(rows_NC))]
        return np.asarray(self.values_N[chosen_N])
