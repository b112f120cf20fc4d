"""Costs that a predictor gives, with an interval: latency on a device, energy of an inference.

Shapes: N architectures, C choices.
"""

from dataclasses import dataclass
from typing import final

from hwnas.core import optimum
from hwnas.core.arrays import FloatArray, IntArray
from hwnas.core.factors import Factor
from hwnas.predict.predictor import LatencyPredictor


@final
@dataclass(frozen=True, slots=True, eq=False)
class PredictedCost:
    """A predictor's cost under a name such as `latency@amd-epyc`.

    Limits hold for the upper end of the interval of `statistic`: `p10`, `median` or `p90` of latency, `mean` of energy.
    """

    predictor: LatencyPredictor
    statistic: str
    name: str

    @property
    def unit(self) -> str:
        return self.predictor.unit

    @property
    def factors(self) -> tuple[Factor, ...]:
        return self.predictor.factors

    def values(self, rows_NC: IntArray) -> FloatArray:
        """Returns the prediction for each architecture; shape (N,)."""
        return self.predictor.predict(rows_NC)

    def upper(self, rows_NC: IntArray) -> FloatArray:
        """Returns the upper end of the statistic's interval for each architecture; shape (N,)."""
        return self.predictor.upper(rows_NC, self.statistic)

    def program(self, bound: float) -> optimum.Limit:
        """Returns the limit on the prediction itself: the upper end is a fixed multiple of the prediction."""
        return self.factors, bound / self.predictor.upper_ratio(self.statistic)
