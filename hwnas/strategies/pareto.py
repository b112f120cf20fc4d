"""Pareto fronts of points that are minimised in every coordinate. Shapes: N points, D objectives."""

from typing import Any

import moocore
import numpy as np

from hwnas.core.arrays import BoolArray, FloatArray


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
