"""A bound on a cost of the network to be found: its expectation while searching, its sum when a network is derived."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import final

from torch import Tensor

from hwnas.core import optimum
from hwnas.core.space import SearchSpace
from hwnas.predict.expected import ExpectedCost
from hwnas.predict.measurements import LATENCY
from hwnas.predict.predictor import LatencyPredictor


@final
@dataclass(frozen=True, slots=True, eq=False)
class Constraint:
    """At most `bound` of a cost. `expected` is its mean under probabilities, in the unit of `bound`; `limit` says the same
    of one architecture, to the integer program."""

    name: str
    expected: Callable[[Mapping[str, Tensor]], Tensor]
    bound: float
    limit: optimum.Limit


def latency_constraint(predictor: LatencyPredictor, budget_ms: float, budget_on: str) -> Constraint:
    """The upper end of the interval of p10, median or p90 is at most the budget, in milliseconds of that statistic."""
    bound_ms = budget_ms / predictor.require(LATENCY).upper_ratio(budget_on)
    factors = predictor.factors
    return Constraint("latency", ExpectedCost(predictor.choices, factors), bound_ms, (factors, bound_ms))


def sum_constraint(name: str, space: SearchSpace, limit: optimum.Limit) -> Constraint:
    """A limit on a sum of factors over the space's choices."""
    factors, bound = limit
    return Constraint(name, ExpectedCost(space.choices, factors), bound, limit)
