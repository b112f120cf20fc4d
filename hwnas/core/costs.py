"""Costs that operators state: FLOPs, parameters and bytes are sums of factors; peak memory is a maximum.

Shapes: N architectures, C choices.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Final

import numpy as np

from hwnas.core.choices import Choices
from hwnas.core.factors import Factor
from hwnas.core.layer import Layer
from hwnas.core.operator import Operator
from hwnas.core.wiring import Alive, Chain
from hwnas.errors import SpaceError, UnknownNameError


def layer_factors(layers: Iterable[Layer], choices: Choices, value: Callable[[Operator], float]) -> tuple[Factor, ...]:
    """Returns one factor per layer: the value of the layer's operator, 0 where the layer is empty."""
    return tuple(_layer_factor(layer, choices, value) for layer in layers)


def _layer_factor(layer: Layer, choices: Choices, value: Callable[[Operator], float]) -> Factor:
    values = np.zeros([len(choices.by_name[name].options) for name in layer.scope])
    for index, operator in layer.cells(choices.by_name):
        values[index] = 0.0 if operator is None else value(operator)
    return Factor(layer.name, layer.scope, values)


def _flops(operator: Operator) -> float:
    return operator.cost().flops


def _params(operator: Operator) -> float:
    return operator.cost().params


def _weight_bytes(operator: Operator) -> float:
    return operator.weight_bytes


LAYER_COSTS: Final[Mapping[str, Callable[[Operator], float]]] = {
    "flops": _flops,
    "params": _params,
    "bytes": _weight_bytes,
}
PEAK: Final = "peak"


def cost_factors(layers: Iterable[Layer], choices: Choices, name: str) -> tuple[Factor, ...]:
    """Returns the factors of a cost in `LAYER_COSTS`. Raises SpaceError for `peak`, UnknownNameError for other names."""
    if name == PEAK:
        raise SpaceError(
            "peak memory is the maximum over layers, not a sum: it has no expectation and no factors that add; use peak "
            "memory as a limit"
        )
    if name not in LAYER_COSTS:
        raise UnknownNameError("cost", name, [*LAYER_COSTS, PEAK])
    return layer_factors(layers, choices, LAYER_COSTS[name])


def peak_factors(wiring: Chain, choices: Choices) -> tuple[Factor, ...]:
    """Returns one factor per layer: the most bytes of activations alive while the layer runs, 0 where it is empty.

    The highest cell of an architecture is its peak (`Operator.peak_bytes`). In a graph the peak is an upper bound, exact
    where every edge has an operator with an output of its own: edges without one are counted as if they had. All values
    of a graph are assumed to have one shape.
    """
    return tuple(_layer_factor(alive.layer, choices, partial(_peak_bytes, alive)) for alive in wiring.alive())


def _peak_bytes(alive: Alive, operator: Operator) -> float:
    value = max(operator.input_bytes, operator.output_bytes)
    return max(operator.peak_bytes() + alive.beside * value, alive.added * value)
