"""Rewards of architectures: a metric times powers of its costs relative to targets (MnasNet, Tan et al. 2019, equations 2, 3).

Shapes: N architectures, C choices, D objectives, A aims, K costs among the objectives, M metrics among them.
"""

from dataclasses import dataclass
from typing import Final, Literal, final

import numpy as np

from hwnas.core.arrays import BoolArray, FloatArray, IntArray
from hwnas.strategies.problem import Problem

# The exponents of ratios up to 1, and of those above it.
EXPONENTS: Final = {"soft": (-0.07, -0.07), "hard": (0.0, -1.0)}
# Where nothing limits a cost, `hard` has one aim for each of these targets, as places between the cost's lowest and highest
# value, and `soft` one for each of these multiples of its exponent. Five aims, and three at places 0.2, 0.5 and 0.8, found
# fronts of less hypervolume (docs/log.md).
PLACES: Final = (0.1, 0.25, 0.5)
MULTIPLES: Final = (1.0, 5.0, 20.0)
# The smallest cost, as a share of the range of costs, so that there is a ratio to a target.
SMALLEST: Final = 0.1


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Rewards:
    """Rewards under several aims. An aim is a target T_k and a pair of exponents for each cost c_k.

    The reward of an architecture is the sum over metrics m of

        m / s · product over k of (c_k / T_k) ^ (w_k · sign(m)),

    with w_k one exponent up to c_k = T_k and another above it. For a metric that is maximised m is the metric, for a loss its
    negative. So a positive metric has MnasNet's reward, ACC · (LAT / T)^w, and a loss has -loss · (LAT / T)^(-w). The
    scale s is 1 for a single metric; several metrics are divided by their standard deviations over the first
    architectures. Without a metric, m is -1.

    The two exponents of `soft` are equal, so T only rescales that reward: where nothing limits a cost, the aims of `soft`
    differ in the exponent instead. A cost that is not positive everywhere is shifted until it is. A reward that is not a
    number counts as the lowest of its batch.
    """

    is_cost_D: BoolArray
    scale_M: FloatArray
    shift_K: FloatArray
    least_K: FloatArray
    target_AK: FloatArray
    below_AK: FloatArray
    above_AK: FloatArray

    def __len__(self) -> int:
        """Returns the number of aims."""
        return len(self.target_AK)

    def of(self, points_ND: FloatArray) -> FloatArray:
        """Returns the rewards of points, which are minimised objectives as `Problem.points` returns them; shape (N, A)."""
        costs_NK = np.maximum(points_ND[:, self.is_cost_D] + self.shift_K, self.least_K)
        metrics_NM = -points_ND[:, ~self.is_cost_D] / self.scale_M
        if not metrics_NM.shape[1]:
            metrics_NM = np.full((len(points_ND), 1), -1.0)
        log_NAK = np.log(costs_NK[:, None] / self.target_AK)
        power_NA = (log_NAK * np.where(log_NAK <= 0, self.below_AK, self.above_AK)).sum(axis=2)
        rewards_NA = (metrics_NM[:, None] * np.exp(power_NA[:, :, None] * np.sign(metrics_NM)[:, None])).sum(axis=2)
        finite = np.isfinite(rewards_NA)
        return np.where(finite, rewards_NA, np.min(rewards_NA, where=finite, initial=np.inf) if finite.any() else 0.0)


def rewards_of(problem: Problem, kind: Literal["soft", "hard"], points_ND: FloatArray, range_NC: IntArray) -> Rewards:
    """Returns the rewards of a problem.

    `points_ND` are those of the first architectures, drawn uniformly; `range_NC` are architectures over the whole range of
    costs. A cost with a limit has the limit's bound as its target under every aim.
    """
    names = [name for name in problem.objectives if name in problem.costs]
    is_cost_D = np.array([name in problem.costs for name in problem.objectives])
    costs_NK = np.array([problem.costs[name].values(range_NC) for name in names]).reshape(len(names), len(range_NC)).T
    low_K, high_K = costs_NK.min(axis=0), costs_NK.max(axis=0)
    span_K = np.where(high_K > low_K, high_K - low_K, 1.0)
    shift_K = np.where(low_K > 0, 0.0, SMALLEST * span_K - low_K)
    bounds: dict[str, float] = {}
    for limit in problem.limits:
        bounds[limit.cost.name] = min(bounds.get(limit.cost.name, np.inf), limit.bound)
    bound_K = np.array([bounds.get(name, np.nan) for name in names])
    target_AK, factor_AK = _spread(kind, bound_K, low_K, high_K)
    below, above = EXPONENTS[kind]
    least_K = np.where(low_K > 0, 1e-3 * low_K, 0.5 * SMALLEST * span_K)
    return Rewards(
        is_cost_D=is_cost_D,
        scale_M=_scales(points_ND[:, ~is_cost_D]),
        shift_K=shift_K,
        least_K=least_K,
        target_AK=np.maximum(target_AK + shift_K, least_K),
        below_AK=below * factor_AK,
        above_AK=above * factor_AK,
    )


def _scales(metrics_NM: FloatArray) -> FloatArray:
    """Returns the standard deviation of every metric where there are several, else 1; shape (M,)."""
    if metrics_NM.shape[1] < 2:
        return np.ones(metrics_NM.shape[1])
    std_M = np.array(
        [np.std(metric_N[np.isfinite(metric_N)]) if np.isfinite(metric_N).any() else 1.0 for metric_N in metrics_NM.T]
    )
    return np.where(std_M > 0, std_M, 1.0)


def _spread(kind: str, bound_K: FloatArray, low_K: FloatArray, high_K: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Returns the targets of every aim, and the factors of its exponents; (A, K) each."""
    free_K = np.isnan(bound_K)
    if not free_K.any():
        return bound_K[None], np.ones((1, len(bound_K)))
    places, factors = (PLACES, (1.0,) * len(PLACES)) if kind == "hard" else ((0.5,) * len(MULTIPLES), MULTIPLES)
    target_AK = np.where(free_K, low_K + np.array(places)[:, None] * (high_K - low_K), bound_K)
    return target_AK, np.where(free_K, np.array(factors)[:, None], 1.0)
