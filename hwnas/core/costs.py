"""Costs that the operators of a space state: FLOPs, parameters and bytes are sums of factors; peak memory is a maximum.

Shapes: N architectures, C choices.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np

from hwnas.core.factors import Factor
from hwnas.core.layer import Layer
from hwnas.core.operator import Cost, Operator
from hwnas.core.wiring import Alive
from hwnas.errors import SpaceError, UnknownNameError

if TYPE_CHECKING:
    from hwnas.core.space import SearchSpace


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
