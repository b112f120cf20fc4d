"""Pareto fronts of points that are minimised in every coordinate. Shapes: N points, D objectives."""

from typing import Any

import moocore
import numpy as np

from hwnas.core.arrays import BoolArray, FloatArray, IntArray


def non_dominated(points_ND: FloatArray) -> BoolArray:
    """Returns True where no other point is at least as good in all objectives and better in one; shape (N,).

    The first of equal points is kept. A coordinate that is not a number counts as infinite.
    """
    points_ND = np.nan_to_num(np.asarray(points_ND, dtype=float), nan=np.inf, posinf=np.inf, neginf=-np.inf)
    if len(points_ND) == 0:
        return np.zeros(0, dtype=bool)
    return np.asarray(moocore.is_nondominated(points_ND))


def hypervolume(points_ND: FloatArray, reference_D: Any) -> float:
    """Returns the volume between the points and a reference point; 0 without points.

    Points count only where they are better than the reference in every objective.
    """
    points_ND = np.asarray(points_ND, dtype=float)
    return float(moocore.hypervolume(points_ND, ref=reference_D)) if len(points_ND) else 0.0


def knee(points_ND: FloatArray) -> int:
    """Returns the index of the point with the smallest sum of objectives, each normalised to 0..1 over the points.

    In two objectives that is the point furthest below the line between a front's ends (Branke et al. 2004). An objective
    in which all points are equal counts nothing.

    >>> knee(np.array([[0, 10, 3], [1, 2, 3], [9, 0, 3]]))
    1
    """
    points_ND = np.asarray(points_ND, dtype=float)
    span_D = np.ptp(points_ND, axis=0)
    return int(((points_ND - points_ND.min(axis=0)) / np.where(span_D > 0, span_D, 1.0)).sum(axis=1).argmin())


def best(points_ND: FloatArray, count: int) -> IntArray:
    """Returns the indices of the `count` best points, better ones first; fewer where there are fewer points.

    Points are ranked by non-dominated sorting, within a front by crowding distance (NSGA-II, Deb et al. 2002, section
    III). Of equal points, the first is in a better front. With one objective this is the order of its values.

    >>> best(np.array([[2, 2], [1, 1], [0, 2], [2, 0]]), 3).tolist()
    [2, 3, 1]
    """
    points_ND = np.asarray(points_ND, dtype=float)
    if points_ND.shape[1] == 1:
        return np.argsort(points_ND[:, 0], kind="stable")[:count]
    chosen = np.zeros(0, dtype=np.int64)
    rest = np.arange(len(points_ND))
    while len(rest) and len(chosen) < count:
        in_front = non_dominated(points_ND[rest])
        front = rest[in_front]
        chosen = np.append(chosen, front[np.argsort(-crowding_distance(points_ND[front]), kind="stable")])
        rest = rest[~in_front]
    return chosen[:count]


def crowding_distance(points_ND: FloatArray) -> FloatArray:
    """Returns the distance between the neighbours of each point, summed over objectives; infinite at the ends; shape (N,).

    Deb et al. 2002, section III-B; each objective is normalised to 0..1 over the points.

    >>> crowding_distance(np.array([[0, 4], [1, 2], [4, 0]])).tolist()
    [inf, 2.0, inf]
    """
    points_ND = np.asarray(points_ND, dtype=float)
    distance_N = np.zeros(len(points_ND))
    for value_N in points_ND.T:
        order = np.argsort(value_N, kind="stable")
        span = value_N[order[-1]] - value_N[order[0]]
        if span <= 0:
            continue
        distance_N[order[[0, -1]]] = np.inf
        distance_N[order[1:-1]] += (value_N[order[2:]] - value_N[order[:-2]]) / span
    return distance_N
