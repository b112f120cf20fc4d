"""The cost seam: a number per architecture that needs no training. Knows no cost by name.

Shapes: N architectures, C choices.
"""

from dataclasses import dataclass
from typing import Protocol, final

import numpy as np

from hwnas.core import optimum
from hwnas.core.arrays import FloatArray, IntArray
from hwnas.core.factors import Factor


class Cost(Protocol):
    """A cost of a space's architectures: latency on a device, energy, FLOPs, parameters, peak memory, a zero-cost score.

    Lower is better. `unit` is the unit of `values`: ms, mJ, MiB, or empty for a plain number.
    """

    @property
    def name(self) -> str: ...

    @property
    def unit(self) -> str: ...

    @property
    def factors(self) -> tuple[Factor, ...] | None:
        """The factors whose sum is `values`; None where the cost is not a sum of factors."""
        ...

    def values(self, rows_NC: IntArray) -> FloatArray:
        """Returns the expected cost of each architecture; shape (N,)."""
        ...

    def upper(self, rows_NC: IntArray) -> FloatArray:
        """Returns the numbers that a limit is compared with; shape (N,).

        For a predicted cost they are the upper ends of its interval, for an exact cost they equal `values`.
        """
        ...

    def program(self, bound: float) -> optimum.Limit | None:
        """Returns the limit `upper <= bound` as a limit on a sum of factors, for the integer program; None if impossible."""
        ...


@final
@dataclass(frozen=True, slots=True)
class Limit:
    """The hard limit `cost <= bound`, in the cost's unit."""

    cost: Cost
    bound: float

    def over(self, rows_NC: IntArray) -> FloatArray:
        """Returns how far each architecture exceeds the limit, relative to the bound; at most 0 where it is met; shape (N,)."""
        # The difference first: its sign is exact, that of `upper / bound - 1` is not.
        return np.asarray((self.cost.upper(rows_NC) - self.bound) / (abs(self.bound) or 1.0))

    def program(self) -> optimum.Limit | None:
        """Returns the same limit on a sum of factors, for the integer program; None if impossible."""
        return self.cost.program(self.bound)

    def __str__(self) -> str:
        return f"{self.cost.name} <= {self.bound:.12g}{' ' * bool(self.cost.unit)}{self.cost.unit}"
