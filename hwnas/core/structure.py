"""The structure of architectures: which layers data passes, on how many paths, and how many weights it passes at most.

Edges of a graph that no path from the input to the output uses change nothing, and several graphs may be one network. The
structure is that of the network which is left.

Shapes: N architectures, C choices, L layers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce
from typing import Final, final

import numpy as np

from hwnas.core.arrays import BoolArray, FloatArray, IntArray
from hwnas.core.costs import layer_factors
from hwnas.core.factors import Factor
from hwnas.core.layer import Layer
from hwnas.core.operator import Operator
from hwnas.core.space import SearchSpace
from hwnas.core.wiring import Flow

# The option of a choice that only layers without any path read.
UNUSED: Final = -1


@final
@dataclass(frozen=True, slots=True, eq=False)
class Structure:
    """`paths_N` counts the paths from input to output, `share_NL` the share of them that passes a layer's operator.

    `depth_N` is the largest number of operators with weights on one path; 0 for a network without any path.
    """

    paths_N: FloatArray
    share_NL: FloatArray
    depth_N: FloatArray

    def used_rows(self, space: SearchSpace, rows_NC: IntArray) -> IntArray:
        """Returns the rows with `UNUSED` for choices that only layers outside every path read; shape (N, C).

        Equal networks are equal rows. A choice that no layer reads is used.
        """
        used_NC = np.zeros(rows_NC.shape, dtype=bool)
        live_NL: BoolArray = self.share_NL > 0
        for number, layer in enumerate(space.layers):
            for name in layer.scope:
                used_NC[:, space.columns[name]] |= live_NL[:, number]
        used_NC[:, [space.columns[name] for name in unread(space)]] = True
        return np.where(used_NC, rows_NC, UNUSED)


def unread(space: SearchSpace) -> list[str]:
    """Returns the names of the choices that no layer's scope has."""
    read = {name for layer in space.layers for name in layer.scope}
    return [choice.name for choice in space.choices if choice.name not in read]


def structure(space: SearchSpace, rows_NC: IntArray) -> Structure:
    """Returns the structure of architectures."""
    flow = _PathFlow.of(space, rows_NC)
    begin = _Paths(np.ones(len(rows_NC)), np.zeros((len(rows_NC), len(space.layers))), np.zeros(len(rows_NC)))
    end = space.wiring.run(begin, flow)
    share_NL = end.through_NL / np.maximum(end.count_N, 1.0)[:, None]
    return Structure(end.count_N, share_NL, np.maximum(end.depth_N, 0.0))


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Paths:
    """The paths from the input to a place: their number, the number that pass each layer, and the deepest one's depth."""

    count_N: FloatArray
    through_NL: FloatArray
    depth_N: FloatArray

    def joined(self, other: "_Paths") -> "_Paths":
        """Returns the paths of either, which end at the same place."""
        depth_N = np.maximum(self.depth_N, other.depth_N)
        return _Paths(self.count_N + other.count_N, self.through_NL + other.through_NL, depth_N)


@final
@dataclass(frozen=True, slots=True, eq=False)
class _PathFlow(Flow[_Paths]):
    """The flow of paths through several architectures at once: an edge without an operator ends its paths.

    `full_NL` is 1 where a layer has an operator, `weights_NL` 1 where the operator has weights.
    """

    number: dict[str, int]
    full_NL: FloatArray
    weights_NL: FloatArray

    @classmethod
    def of(cls, space: SearchSpace, rows_NC: IntArray) -> "_PathFlow":
        def stacked(factors: Sequence[Factor]) -> FloatArray:
            columns = [factor.at(rows_NC, space.columns) for factor in factors]
            return np.stack(columns, axis=1) if columns else np.zeros((len(rows_NC), 0))

        number = {layer.name: position for position, layer in enumerate(space.layers)}
        full, weights = _layer_factors(space)
        return cls(number, stacked(full), stacked(weights))

    def layer(self, layer: Layer, value: _Paths) -> _Paths:
        full_N, passed = self.full_NL[:, self.number[layer.name]] > 0, self._passed(layer, value)
        through_NL = np.where(full_N[:, None], passed.through_NL, value.through_NL)
        return _Paths(value.count_N, through_NL, np.where(full_N, passed.depth_N, value.depth_N))

    def edge(self, layer: Layer, value: _Paths) -> _Paths:
        full_N, passed = self.full_NL[:, self.number[layer.name]], self._passed(layer, value)
        depth_N = np.where(full_N > 0, passed.depth_N, -np.inf)
        return _Paths(value.count_N * full_N, passed.through_NL * full_N[:, None], depth_N)

    def total(self, graph: str, source: _Paths, terms: Sequence[_Paths]) -> _Paths:
        none = _Paths(0 * source.count_N, 0 * source.through_NL, np.full_like(source.depth_N, -np.inf))
        return reduce(_Paths.joined, terms, none)

    def _passed(self, layer: Layer, value: _Paths) -> _Paths:
        """Returns the paths that end behind the layer's operator."""
        number = self.number[layer.name]
        through_NL = value.through_NL.copy()
        through_NL[:, number] = value.count_N
        return _Paths(value.count_N, through_NL, value.depth_N + self.weights_NL[:, number])


@lru_cache(maxsize=4)
def _layer_factors(space: SearchSpace) -> tuple[Sequence[Factor], Sequence[Factor]]:
    """Returns factors that are 1 where a layer has an operator, and where the operator has weights: slow to make."""
    full = layer_factors(space.layers, space.choices, _one)
    return full, layer_factors(space.layers, space.choices, _has_weights)


def _one(operator: Operator) -> float:
    return 1.0


def _has_weights(operator: Operator) -> float:
    return float(operator.cost().params > 0)
