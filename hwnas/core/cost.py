"""Factors: an additive cost is a sum of small dense arrays, each over the choices of one scope.

Shapes: N architectures, C choices.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from hwnas.core.operator import Cost, Operator

if TYPE_CHECKING:
    from hwnas.core.space import SearchSpace

IntArray = NDArray[np.integer[Any]]
FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Factor:
    """`values` has one axis per choice of `scope`, as long as that choice has options."""

    name: str
    scope: tuple[str, ...]
    values: FloatArray

    def at(self, rows_NC: IntArray, columns: Mapping[str, int]) -> FloatArray:
        """The cell of each architecture; shape (N,). `columns` maps choice names to columns of `rows_NC`."""
        flat = np.zeros(len(rows_NC), dtype=np.intp)
        for name, size in zip(self.scope, self.values.shape, strict=True):
            flat *= size
            flat += rows_NC[:, columns[name]]
        return self.values.reshape(-1)[flat]


def total(factors: Sequence[Factor], rows_NC: IntArray, columns: Mapping[str, int]) -> FloatArray:
    """The sum of the factors' cells; shape (N,)."""
    result = np.zeros(len(rows_NC))
    for factor in factors:
        result += factor.at(rows_NC, columns)
    return result


def merged(factors: Sequence[Factor]) -> list[Factor]:
    """The same sum in fewer factors: those of equal scope added up."""
    by_scope: dict[tuple[str, ...], Factor] = {}
    for factor in factors:
        known = by_scope.get(factor.scope)
        values = factor.values if known is None else known.values + factor.values
        by_scope[factor.scope] = Factor(factor.name, factor.scope, values)
    return list(by_scope.values())


def layer_factors(space: "SearchSpace", value: Callable[[Operator], float]) -> tuple[Factor, ...]:
    """One factor per layer: the value of the operator that stands there, 0 where nothing does."""
    factors = []
    for layer in space.layers:
        values = np.zeros([len(space.choice(name).options) for name in layer.scope])
        for index, operator in layer.cells(space.by_name):
            values[index] = 0.0 if operator is None else value(operator)
        factors.append(Factor(layer.name, layer.scope, values))
    return tuple(factors)


def _flops(cost: Cost) -> float:
    return cost.flops


def _params(cost: Cost) -> float:
    return cost.params


def _model_bytes(cost: Cost) -> float:
    """Float32 weights and statistics."""
    return 4 * (cost.params + cost.statistics)


COSTS: Final[Mapping[str, Callable[[Cost], float]]] = {"flops": _flops, "params": _params, "bytes": _model_bytes}


def cost_factors(space: "SearchSpace", name: str) -> tuple[Factor, ...]:
    """The factors of a cost in `COSTS`."""
    measure = COSTS[name]
    return layer_factors(space, lambda operator: measure(operator.cost()))
