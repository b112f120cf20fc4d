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


def ranks(points_ND: FloatArray) -> IntArray:
    """Returns the non-dominated rank of each point, 0 for the front, 1 for the front of the others, and so on; shape (N,).

    Equal points have equal ranks. A coordinate that is not a number counts as infinite. Deb et al. 2002, section III-A.
    """
    points_ND = np.nan_to_num(np.asarray(points_ND, dtype=float), nan=np.inf, posinf=np.inf, neginf=-np.inf)
    if len(points_ND) == 0:
        return np.zeros(0, dtype=np.int64)
    return np.asarray(moocore.pareto_rank(points_ND), dtype=np.int64)


def crowding(points_ND: FloatArray) -> FloatArray:
    """Returns the crowding distance of each point among points of equal rank; shape (N,).

    The distance is the sum over objectives of the gap between a point's neighbours, as a share of the range. It is infinite
    for the best and the worst point in an objective. Points must be finite. Deb et al. 2002, section III-B.
    """
    points_ND = np.asarray(points_ND, dtype=float)
    distance_N = np.zeros(len(points_ND))
    for value_N in points_ND.T if len(points_ND) else ():
        order_N = np.argsort(value_N, kind="stable")
        sorted_N = value_N[order_N]
        distance_N[order_N[1:-1]] += (sorted_N[2:] - sorted_N[:-2]) / ((sorted_N[-1] - sorted_N[0]) or 1.0)
        distance_N[order_N[[0, -1]]] = np.inf
    return distance_N


def crowded_order(points_ND: FloatArray) -> IntArray:
    """Returns each point's place, 0 for the best: by rank, then by larger crowding distance, then as given; shape (N,).

    The crowded comparison of Deb et al. 2002, section III-B. A coordinate that is not finite is worse than all that are.
    """
    points_ND = np.array(points_ND, dtype=float)
    for value_N in points_ND.T if len(points_ND) else ():
        finite_N = np.isfinite(value_N)
        value_N[~finite_N] = value_N[finite_N].max(initial=0.0) + 1.0
    rank_N, distance_N = ranks(points_ND), np.zeros(len(points_ND))
    for rank in np.unique(rank_N):
        distance_N[rank_N == rank] = crowding(points_ND[rank_N == rank])
    place_N = np.empty(len(points_ND), dtype=np.int64)
    place_N[np.lexsort((-distance_N, rank_N))] = np.arange(len(points_ND))
    return place_N


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
    """Returns the indices of the `count` best points by `crowded_order`, better ones first; fewer where there are fewer points.

    >>> best(np.array([[2, 2], [1, 1], [0, 2], [2, 0]]), 3).tolist()
    [2, 3, 1]
    """
    return crowded_order(points_ND).argsort()[:count]
