"""Pareto fronts of points to be minimised in every coordinate. Shapes: N points, D objectives."""

from typing import Any

import moocore
import numpy as np
from numpy.typing import NDArray

from hwnas.core.arrays import FloatArray


def non_dominated(points_ND: FloatArray) -> NDArray[np.bool_]:
    """True where no other point is at least as good in all objectives and better in one; shape (N,).

    Of equal points, the first stays.
    """
    points_ND = np.asarray(points_ND, dtype=float)
    if len(points_ND) == 0:
        return np.zeros(0, dtype=bool)
    return np.asarray(moocore.is_nondominated(points_ND))


def hypervolume(points_ND: FloatArray, reference_D: Any) -> float:
    """The volume between the points and a reference that is worse than all that counts; 0 without points."""
    points_ND = np.asarray(points_ND, dtype=float)
    return float(moocore.hypervolume(points_ND, ref=reference_D)) if len(points_ND) else 0.0
