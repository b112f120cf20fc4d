"""Costs that a plain function gives: columns of published tables, a user's own numbers.

Shapes: N architectures, C choices.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np

from hwnas.core import optimum
from hwnas.core.arrays import FloatArray, IntArray
from hwnas.core.factors import Factor


@final
@dataclass(frozen=True, slots=True, eq=False)
class FunctionCost:
    """An exact cost by a function of rows (N, C), which returns (N,). `factors` are its summands, where it is a sum."""

    name: str
    unit: str
    function: Callable[[IntArray], FloatArray]
    factors: tuple[Factor, ...] | None = None

    def values(self, rows_NC: IntArray) -> FloatArray:
        """Returns the function's values; shape (N,)."""
        return np.asarray(self.function(rows_NC), dtype=np.float64)

    def upper(self, rows_NC: IntArray) -> FloatArray:
        """Returns `values`: the function is exact."""
        return self.values(rows_NC)

    def program(self, bound: float) -> optimum.Limit | None:
        """Returns the limit on the sum of `factors`, or None where there are none."""
        return None if self.factors is None else (self.factors, bound)
