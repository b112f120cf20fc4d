"""Expected hypervolume improvement: how much an architecture is expected to add to a front.

Shapes: M candidates, N points of the front, D objectives, S draws.
"""

from dataclasses import dataclass
from typing import Final, final

import numpy as np
from scipy.special import ndtr
from scipy.stats import qmc

from hwnas.core.arrays import FloatArray, IntArray
from hwnas.strategies.pareto import hypervolume, non_dominated

# Draws of the objectives where no closed form is known, and the candidates that are compared by them.
DRAWS: Final = 16
COMPARED: Final = 64
# A mean that is so many standard deviations worse than the front has an expected improvement of 0.
HOPELESS: Final = 30.0


@final
@dataclass(frozen=True, slots=True, eq=False)
class Beliefs:
    """The means and standard deviations of candidates' objectives (M, D), all to be minimised; costs have deviations of 0."""

    mean_MD: FloatArray
    deviation_MD: FloatArray


def expected_improvement(front_ND: FloatArray, reference_D: FloatArray, beliefs: Beliefs) -> FloatArray:
    """Returns the expected gain in hypervolume up to a reference point, for each candidate; shape (M,).

    With one uncertain objective and at most one certain one the gain is exact: the front is a staircase over the certain
    objective, and the gain is the sum over its steps of width times expected improvement (Emmerich et al. 2011). Otherwise
    it is the mean over quasi-random draws, for those candidates whose optimistic objectives are best; others gain 0.
    """
    uncertain = np.flatnonzero((beliefs.deviation_MD > 0).any(axis=0))
    if len(reference_D) <= 2 and len(uncertain) == 1:
        return _staircase(front_ND, reference_D, beliefs, int(uncertain[0]))
    return _drawn(front_ND, reference_D, beliefs)


def _staircase(front_ND: FloatArray, reference_D: FloatArray, beliefs: Beliefs, uncertain: int) -> FloatArray:
    certain = 1 - uncertain if len(reference_D) == 2 else None
    cost_M = np.zeros(len(beliefs.mean_MD)) if certain is None else beliefs.mean_MD[:, certain]
    cost_N = np.zeros(len(front_ND)) if certain is None else front_ND[:, certain]
    end = 1.0 if certain is None else reference_D[certain]
    front_ND = front_ND[np.argsort(cost_N, kind="stable")]
    edges = np.concatenate([[-np.inf], np.sort(cost_N), [end]])
    best = np.minimum.accumulate(np.concatenate([[reference_D[uncertain]], front_ND[:, uncertain]]))
    mean_M, deviation_M = beliefs.mean_MD[:, uncertain], np.maximum(beliefs.deviation_MD[:, uncertain], 1e-12)
    gain_M = np.zeros(len(mean_M))
    for left, right, level in zip(edges, edges[1:], best, strict=False):
        width_M = np.maximum(0.0, min(right, end) - np.maximum(left, cost_M))
        score_M = (level - mean_M) / deviation_M
        some = np.flatnonzero((width_M > 0) & (score_M > -HOPELESS))
        score_M = score_M[some]
        density_M = np.exp(-0.5 * score_M**2) / np.sqrt(2 * np.pi)
        gain_M[some] += width_M[some] * deviation_M[some] * (score_M * ndtr(score_M) + density_M)
    return gain_M


def _drawn(front_ND: FloatArray, reference_D: FloatArray, beliefs: Beliefs) -> FloatArray:
    normal_SD = qmc.MultivariateNormalQMC(np.zeros(len(reference_D)), seed=0).random(DRAWS)
    known = hypervolume(front_ND, reference_D)
    gain_M = np.zeros(len(beliefs.mean_MD))
    for candidate in _promising(beliefs):
        points_SD = beliefs.mean_MD[candidate] + normal_SD * beliefs.deviation_MD[candidate]
        distinct_SD = points_SD if beliefs.deviation_MD[candidate].any() else points_SD[:1]
        adds_S = ~(front_ND <= distinct_SD[:, None]).all(axis=2).any(axis=1)
        gains = [hypervolume(np.vstack([front_ND, point_D]), reference_D) - known for point_D in distinct_SD[adds_S]]
        gain_M[candidate] = sum(gains) / len(distinct_SD)
    return gain_M


def _promising(beliefs: Beliefs) -> IntArray:
    """Returns the candidates whose objectives, each a standard deviation better than its mean, are best: layers of fronts."""
    hopeful_MD = beliefs.mean_MD - beliefs.deviation_MD
    left = np.arange(len(hopeful_MD))
    chosen: list[int] = []
    while len(left) and len(chosen) < COMPARED:
        best = non_dominated(hopeful_MD[left])
        chosen += left[best].tolist()
        left = left[~best]
    return np.array(chosen[:COMPARED], dtype=np.int64)
