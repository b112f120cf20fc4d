"""Bounds on costs: on the expectation while probabilities are trained, on the sum when a network is derived."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import final

from torch import Tensor

from hwnas.core import optimum
from hwnas.core.space import SearchSpace
from hwnas.costs.cost import Limit
from hwnas.predict.expected import ExpectedCost


@final
@dataclass(frozen=True, slots=True, eq=False)
class Constraint:
    """At most `bound` of a cost.

    `expected` maps probabilities to the cost's mean, in the unit of `bound`; `limit` is the same bound on one architecture,
    for the integer program.
    """

    name: str
    expected: Callable[[Mapping[str, Tensor]], Tensor]
    bound: float
    limit: optimum.Limit

    @classmethod
    def of(cls, limit: Limit, space: SearchSpace) -> "Constraint | None":
        """Returns the constraint of a limit; None for a cost that is no sum of factors, such as peak memory."""
        program = limit.program()
        if limit.cost.factors is None or program is None:
            return None
        factors, bound = program
        return cls(limit.cost.name, ExpectedCost(space.choices, factors), bound, program)
