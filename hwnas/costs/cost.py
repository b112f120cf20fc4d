"""The cost seam: a number per architecture that needs no training. Knows no cost by name.

Shapes: N architectures, C choices.
"""

from dataclasses import dataclass
from typing import Protocol, final

from hwnas.core import optimum
from hwnas.core.arrays import FloatArray, IntArray
from hwnas.core.factors import Factor


class Cost(Protocol):
    """A cost of a space's architectures: latency on a device, energy, FLOPs, parameters, bytes, peak memory, a proxy.

    `unit` is that of `values`: ms, mJ, MiB, or empty. Lower is better.
    """

    @property
    def name(self) -> str: ...

    @property
    def unit(self) -> str: ...

    @property
    def factors(self) -> tuple[Factor, ...] | None:
        """The factors whose sum is `values`; None where the cost is no sum."""
        ...

    def values(self, rows_NC: IntArray) -> FloatArray:
        """Returns the cost of each architecture as expected; shape (N,)."""
        ...

    def upper(self, rows_NC: IntArray) -> FloatArray:
        """Returns what a limit is held against: the upper end of the interval where the cost is predicted; shape (N,)."""
        ...

    def program(self, bound: float) -> optimum.Limit | None:
        """Returns `upper <= bound` as a limit on a sum of factors, for the integer program; None where there is none."""
        ...


@final
@dataclass(frozen=True, slots=True)
class Limit:
    """At most `bound` of a cost, in the cost's unit."""

    cost: Cost
    bound: float

    def over(self, rows_NC: IntArray) -> FloatArray:
        """Returns how far each architecture is over the limit, relative to it: within where at most 0; shape (N,)."""
        return self.cost.upper(rows_NC) / self.bound - 1

    def program(self) -> optimum.Limit | None:
        """Returns the limit on a sum of factors that says the same; None where there is none."""
        return self.cost.program(self.bound)

    def __str__(self) -> str:
        return f"{self.cost.name} <= {self.bound:.4g}{' ' * bool(self.cost.unit)}{self.cost.unit}"
