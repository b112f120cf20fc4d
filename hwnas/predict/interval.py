"""Intervals around predictions, from the errors of cross-validation and the variance between sessions.

A network is predicted by a fit to the networks of other folds. The quantiles of log(measured / predicted) are put around
the prediction of a fit to all networks. This is close to the jackknife+ and to CV+ (Barber et al. 2021, "Predictive inference
with the jackknife+", sections 1 and 3), which keep the predictions of every fold, and whose guarantee is 1 - 2 alpha. It is
not split conformal prediction, and has no guarantee of 1 - alpha for a finite number of networks: coverage is measured.

Errors are scaled by how uncertain the predictor is about a network (locally weighted residuals: Lei et al. 2018,
"Distribution-free predictive inference for regression", section 5.2). One interval holds for the whole space, so the errors
are scaled to a network that the predictor is uncertain about, as it is about the fastest, the slowest and the best ones.

The networks of a table share its session. Another session differs by a share that these errors do not have, and that is
independent of them, so that half widths (of logarithms) add up as sqrt(q^2 + (1.64 s)^2).

Shapes: N networks.
"""

from dataclasses import dataclass
from typing import Final, final

import numpy as np

from hwnas.core.arrays import FloatArray, IntArray
from hwnas.predict.measurements import NORMAL_95, STATISTIC_OF, Measurements

COVERAGE: Final = 0.9
# Errors this many interquartile ranges above the upper quartile are disturbances ("far out": Tukey 1977, section 2E).
FAR_OUT: Final = 3.0
# The interval is wide enough for all but the 5 % of the held-out networks that the predictor is most uncertain about.
UNCERTAIN: Final = 0.95


@final
@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Scale:
    """The scale of the errors of held-out networks.

    `networks_N` holds the uncertainty about a network that the predictor knows little of, divided by the uncertainty about
    each held-out network, which its error is multiplied by. `session` is the standard deviation of the relative difference
    between two sessions.
    """

    networks_N: FloatArray
    session: float

    @classmethod
    def of_uncertainty(cls, uncertainty_N: FloatArray, session: float) -> "Scale":
        """Returns the scale from the relative uncertainty about each held-out network, by a fit without it."""
        return cls(networks_N=np.quantile(uncertainty_N, UNCERTAIN) / uncertainty_N, session=session)

    def of(self, networks: IntArray) -> "Scale":
        """Returns the scale of some of the networks."""
        return Scale(networks_N=self.networks_N[networks], session=self.session)


def cross_validation_interval(ratio_N: FloatArray, scale: Scale, coverage: float = COVERAGE) -> tuple[float, float]:
    """Returns the factors from a prediction to the ends of its interval, from measured / predicted of held-out networks.

    Both ends include 1, so that the prediction itself is never outside its interval. Quantiles are corrected for the number
    of networks. With fewer than 19 networks even the extremes cover less than 90 %: (N - 1) / (N + 1).
    """
    error_N = np.log(ratio_N) * scale.networks_N
    tail = (1 - coverage) / 2
    low = -upper_quantile(-error_N, 1 - tail)
    high = upper_quantile(error_N, 1 - tail)
    between = NORMAL_95 * scale.session
    return float(np.exp(-np.hypot(min(0.0, low), between))), float(np.exp(np.hypot(max(0.0, high), between)))


def upper_ends(measurements: Measurements, held_out_N: FloatArray, scale: Scale) -> dict[str, float]:
    """Returns, by statistic, the factor from a prediction to the value that 95 % of the networks stay below.

    Every statistic has the quantiles of its own errors, measured / predicted. A few disturbed networks, whose p90 is far
    above that of all others, do not move the end further than `FAR_OUT`.
    """
    predicted = STATISTIC_OF[measurements.cost]
    ends = {predicted: cross_validation_interval(measurements.networks_N / held_out_N, scale)[1]}
    for name, cost_N in measurements.other.items():
        typical = float(np.median(cost_N / measurements.networks_N))
        error_N = np.log(cost_N / held_out_N / typical) * scale.networks_N
        lower, upper = np.quantile(error_N, (0.25, 0.75))
        high = min(upper_quantile(error_N, (1 + COVERAGE) / 2), float(upper + FAR_OUT * (upper - lower)))
        end = typical * float(np.exp(np.hypot(max(0.0, high), NORMAL_95 * scale.session)))
        ends[name] = max(end, ends[predicted])
    return ends


def upper_quantile(value_N: FloatArray, share: float) -> float:
    """Returns the value that a further one stays below with probability `share`, or the largest if N is too small for that."""
    count = len(value_N)
    return float(np.sort(value_N)[min(count - 1, int(np.ceil((count + 1) * share)) - 1)])


def coverage_across_folds(
    ratio_N: FloatArray, scale: Scale, folds: list[tuple[IntArray, IntArray]], coverage: float = COVERAGE
) -> float:
    """Returns the share of networks inside the `cross_validation_interval` of the other folds' measured / predicted."""
    inside = 0
    for others, fold in folds:
        low, high = cross_validation_interval(ratio_N[others], scale.of(others), coverage)
        inside += int(np.count_nonzero((low <= ratio_N[fold]) & (ratio_N[fold] <= high)))
    return inside / len(ratio_N)
