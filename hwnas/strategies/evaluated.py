"""The networks that a strategy has evaluated so far, in order. Shapes: N architectures, C choices, D objectives."""

from dataclasses import dataclass, field
from typing import final

import numpy as np

from hwnas.core.arrays import FloatArray, IntArray
from hwnas.strategies.problem import Problem


@final
@dataclass(eq=False)
class Evaluated:
    """The points (D,) of evaluated rows by the rows' bytes, in the order of evaluation; `most` is how many there may be."""

    problem: Problem
    most: int
    points: dict[bytes, FloatArray] = field(default_factory=dict)

    @property
    def room(self) -> int:
        """The number of rows that may still be evaluated."""
        return self.most - len(self.points)

    @property
    def rows(self) -> IntArray:
        """The rows in the order of evaluation; shape (N, C)."""
        return rows_of(list(self.points)).reshape(len(self.points), -1)

    @property
    def finite_points(self) -> FloatArray:
        """The points, with an objective's worst finite value in place of one that is not finite; shape (N, D)."""
        return finite(np.array(list(self.points.values())))

    def add(self, rows_NC: IntArray) -> None:
        """Evaluates the first rows, as many as there is room for, in one batch. The rows must be new and feasible."""
        rows_NC = rows_NC[: self.room]
        if len(rows_NC):
            points_ND = self.problem.points(rows_NC, self.problem.evaluate(rows_NC))
            self.points.update(zip((row_C.tobytes() for row_C in rows_NC), points_ND, strict=True))

    def youngest(self, count: int) -> tuple[IntArray, FloatArray]:
        """Returns the rows that were evaluated last, oldest first, and their points; shapes (N, C) and (N, D)."""
        youngest = list(self.points)[-count:]
        return rows_of(youngest), np.array([self.points[row] for row in youngest])


def rows_of(keys: list[bytes]) -> IntArray:
    """Returns the rows of one or more keys of `Evaluated.points`; shape (N, C)."""
    return np.array([np.frombuffer(key, dtype=np.int64) for key in keys])


def finite(points_ND: FloatArray) -> FloatArray:
    """Returns points with the worst finite value of an objective in place of one that is not finite; 0 where none is finite."""
    finite_ND = np.isfinite(points_ND)
    worst_D = np.max(points_ND, axis=0, where=finite_ND, initial=-np.inf)
    return np.where(finite_ND, points_ND, np.where(np.isfinite(worst_D), worst_D, 0.0))
