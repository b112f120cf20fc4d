"""Factors: an additive cost is a sum of small dense arrays, each over the choices of one scope.

The peak of memory is the highest of such arrays' cells, and no sum.

Shapes: N architectures, C choices.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from hwnas.core.layer import Layer
from hwnas.core.operator import Cost, Operator
from hwnas.core.wiring import Alive
from hwnas.errors import SpaceError, UnknownNameError

if TYPE_CHECKING:
    from hwnas.core.space import SearchSpace

IntArray = NDArray[np.integer[Any]]
FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

# Rows whose columns fit a core's cache: a million take 0.06 s, in one piece 0.4 s (30 choices, 13 factors).
CHUNK: Final = 8192


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
    for start in range(0, len(rows_NC), CHUNK):
        chunk = slice(start, start + CHUNK)
        contiguous_NC = np.asfortranarray(rows_NC[chunk], dtype=np.intp)
        for factor in factors:
            result[chunk] += factor.at(contiguous_NC, columns)
    return result


def highest(factors: Sequence[Factor], rows_NC: IntArray, columns: Mapping[str, int]) -> FloatArray:
    """The largest of the factors' cells, at least 0; shape (N,)."""
    result = np.zeros(len(rows_NC))
    for factor in factors:
        np.maximum(result, factor.at(rows_NC, columns), out=result)
    return result


def exceeding(factors: Sequence[Factor], bound: float) -> list[Factor]:
    """1 in the cells above a bound, else 0: the highest is within the bound exactly where the sum of these is 0."""
    return [Factor(factor.name, factor.scope, (factor.values > bound).astype(float)) for factor in factors]


def merged(factors: Sequence[Factor]) -> list[Factor]:
    """The same sum in fewer factors: those of equal scope added up."""
    by_scope: dict[tuple[str, ...], Factor] = {}
    for factor in factors:
        known = by_scope.get(factor.scope)
        values = factor.values if known is None else known.values + factor.values
        by_scope[factor.scope] = Factor(factor.name, factor.scope, values)
    return list(by_scope.values())


def absorbed(factors: Sequence[Factor]) -> list[Factor]:
    """The same sum in fewer factors: each added to one whose scope has all of its choices, where there is one."""
    result: list[Factor] = []
    for factor in sorted(merged(factors), key=lambda factor: len(factor.scope), reverse=True):
        choices = set(factor.scope)
        home = next((at for at, other in enumerate(result) if choices.issubset(other.scope)), None)
        if home is None:
            result.append(factor)
        else:
            other = result[home]
            result[home] = Factor(other.name, other.scope, other.values + _spread(factor, other))
    return result


def _spread(factor: Factor, other: Factor) -> FloatArray:
    """The factor's values along the axes of another's scope, which has all of its choices; of length 1 along the rest."""
    ordered = [name for name in other.scope if name in factor.scope]
    values = factor.values.transpose([factor.scope.index(name) for name in ordered])
    sizes = dict(zip(ordered, values.shape, strict=True))
    return values.reshape([sizes.get(name, 1) for name in other.scope])


def layer_factors(space: "SearchSpace", value: Callable[[Operator], float]) -> tuple[Factor, ...]:
    """One factor per layer: the value of the operator that stands there, 0 where nothing does."""
    return tuple(_layer_factor(space, layer, value) for layer in space.layers)


def _layer_factor(space: "SearchSpace", layer: Layer, value: Callable[[Operator], float]) -> Factor:
    values = np.zeros([len(space.choice(name).options) for name in layer.scope])
    for index, operator in layer.cells(space.by_name):
        values[index] = 0.0 if operator is None else value(operator)
    return Factor(layer.name, layer.scope, values)


def _flops(cost: Cost) -> float:
    return cost.flops


def _params(cost: Cost) -> float:
    return cost.params


def _model_bytes(cost: Cost) -> float:
    """Float32 weights and statistics."""
    return 4 * (cost.params + cost.statistics)


COSTS: Final[Mapping[str, Callable[[Cost], float]]] = {"flops": _flops, "params": _params, "bytes": _model_bytes}
PEAK: Final = "peak"


def cost_factors(space: "SearchSpace", name: str) -> tuple[Factor, ...]:
    """The factors of a cost in `COSTS`. Raises SpaceError for `peak`, UnknownNameError."""
    if name == PEAK:
        raise SpaceError(
            f"{space.name}: peak memory is the maximum over layers, not a sum: it has no expectation and no factors that "
            f"add; use it as a limit"
        )
    if name not in COSTS:
        raise UnknownNameError("cost", name, [*COSTS, PEAK])
    measure = COSTS[name]
    return layer_factors(space, lambda operator: measure(operator.cost()))


def peak_factors(space: "SearchSpace") -> tuple[Factor, ...]:
    """One factor per layer: the most bytes of activations alive at once while it runs, 0 where nothing stands.

    The highest is a network's peak (`Operator.peak_bytes`). In a graph it is an upper bound, exact where something of its
    own stands on every edge: what is alive beside a layer is counted as if it did. All values of a graph are taken to be
    of one shape.
    """
    return tuple(_layer_factor(space, alive.layer, partial(_peak_bytes, alive)) for alive in space.wiring.alive())


def _peak_bytes(alive: Alive, operator: Operator) -> float:
    value = max(operator.input_bytes, operator.output_bytes)
    return max(operator.peak_bytes() + alive.beside * value, alive.added * value)
