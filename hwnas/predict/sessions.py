"""The variance between sessions: what all networks have in common when they are measured again in another session.

A table stores the reference network's latency with every row, and rows of one session have the same one. The networks that a
profile repeats are measured in another session than before.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final

import numpy as np

from hwnas.predict.measurements import SESSION_NOISE

# The number of differences between sessions that `SESSION_NOISE` counts for: a table has one, or a few.
BELIEVED: Final = 2

# The session, by the latency of its reference, and a cost that was measured in it.
Measured = tuple[float, float]


def session_noise(networks: Iterable[Sequence[Measured]]) -> float:
    """Returns the standard deviation of the relative difference between two sessions.

    Estimated by the method of moments of a one-way random-effects model: of the mean difference between two sessions, the
    part is subtracted that the networks' own differences explain. One table has few sessions, so the variance is the mean of
    the estimate and of `SESSION_NOISE` squared, each weighted by its number of differences (the mean of a scaled inverse
    chi-squared prior: Gelman et al. 2013, "Bayesian Data Analysis", section 2.6).
    """
    differences: dict[tuple[float, float], list[float]] = {}
    for measured in networks:
        for (first, before), (second, after) in pairwise(measured):
            if first != second:
                sign = 1.0 if first < second else -1.0
                pair = min(first, second), max(first, second)
                differences.setdefault(pair, []).append(sign * float(np.log(after / before)))
    counts = np.array([len(found) for found in differences.values()], dtype=float)
    if not len(counts):
        return SESSION_NOISE
    means = np.array([np.mean(found) for found in differences.values()])
    freedom = counts.sum() - len(counts)
    within = sum(np.var(found) * len(found) for found in differences.values()) / freedom if freedom else 0.0
    between = max(0.0, float((counts @ means**2 - len(counts) * within) / counts.sum()))
    weight = float(counts.sum() ** 2 / (counts**2).sum())
    return float(np.sqrt((BELIEVED * SESSION_NOISE**2 + weight * between) / (BELIEVED + weight)))
