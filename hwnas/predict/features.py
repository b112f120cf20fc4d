"""Features of the operators in a space, named by the space.

The extra cost of a kernel size is a little alike everywhere, more alike within a stage, and most alike in one layer. So
features come in levels: an option of a choice anywhere in the network, in a stage, in the layer itself; each level is a
group with a prior variance of its own. Each feature comes as a fixed cost, and as a share of the operator's expected cost:
of its FLOPs, of the bytes it moves, and of its isolated cost where that was measured.

Pairs of layers that meet have fixed costs, too: an operator after a 5x5 kernel may find its input in another layout, or in
cache. Every feature depends on the choices of one or two layers, so any weights of features make a sum of factors.

Shapes: S cells of a factor.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, final

import numpy as np

from hwnas.core.arrays import FloatArray, IntArray
from hwnas.core.costs import layer_factors
from hwnas.core.factors import Factor
from hwnas.core.layer import Layer
from hwnas.core.operator import Operator
from hwnas.core.space import SearchSpace
from hwnas.predict.basis import Basis, Feature, Name, Table

ALL: Final = "all"  # the level that all operators share
# Pairs of layers with more cells than this have no features of their own.
MOST_CELLS: Final = 5_000


def space_basis(space: SearchSpace, isolated: Mapping[str, float], typical_cost: float) -> Basis:
    """Returns the features of a space's networks, which cost about `typical_cost`.

    `isolated` holds the isolated cost of every operator by key, which is the expectation. It may be empty: then there is no
    expectation, and all is learned from descriptions of the operators.
    """
    return Basis.of(space_tables(space, isolated, typical_cost), typical_cost)


def space_tables(space: SearchSpace, isolated: Mapping[str, float], typical_cost: float) -> list[Table]:
    """Returns the expectation of every layer, and 0 for pairs of layers, each with the features of its cells."""
    expected = layer_factors(space.layers, space.choices, lambda operator: isolated.get(operator.key, 0.0))
    unit_cost = typical_cost / max(1, len(space.layers))
    costs = _Costs.of(space, isolated, unit_cost)
    tables: list[Table] = [
        (factor, list(_layer_features(space, layer, costs)))
        for layer, factor in zip(space.layers, expected, strict=True)
    ]
    for first, second in space.wiring.meetings():
        tables += _pair_tables(space, first, second, unit_cost)
    return tables


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Costs:
    """The cost of an operator by different reckonings, each of which is right for the mean operator."""

    isolated: Mapping[str, float]
    unit_cost: float
    mean: FloatArray

    @classmethod
    def of(cls, space: SearchSpace, isolated: Mapping[str, float], unit_cost: float) -> "_Costs":
        described = [description(operator) for operator in space.operators().values()]
        total = np.sum(described, axis=0) if described else np.zeros(1)
        # What costs no operator anything is 0 of all, whatever its mean is taken to be.
        return cls(isolated, unit_cost, np.where(total > 0, total / max(1, len(described)), 1.0))

    def of_operator(self, operator: Operator) -> dict[str, float]:
        flops, weights, values = (float(cost) for cost in self.unit_cost * description(operator) / self.mean)
        result = {"fixed": self.unit_cost, "flops": flops, "weights": weights, "values": values}
        return result | {"isolated": self.isolated[operator.key]} if self.isolated else result


def description(operator: Operator) -> FloatArray:
    """Returns FLOPs, bytes of weights, and bytes in and out: the bounds of the roofline model (Williams et al. 2009)."""
    cost = operator.cost()
    return np.array([cost.flops, 4 * cost.params, operator.input_bytes + operator.output_bytes], dtype=np.float64)


def _layer_features(space: SearchSpace, layer: Layer, costs: _Costs) -> Iterator[Feature]:
    for cell, (index, operator) in enumerate(layer.cells(space.by_name)):
        if operator is None:
            continue
        options = {name: repr(space.choice(name).options[i]) for name, i in zip(layer.scope, index, strict=True)}
        levels = list(_levels(layer, options))
        for reckoning, cost in costs.of_operator(operator).items():
            for level, name in levels:
                yield Feature(cell, (reckoning, level), name, cost)


def _levels(layer: Layer, options: Mapping[str, str]) -> Iterator[tuple[str, Name]]:
    """Yields the level, and the name within it, of every feature of one cell."""
    yield ALL, ()
    for choice, option in options.items():
        role = role_of(choice, layer.name)
        yield "network", (role, option)
        yield "stage", (layer.name.rpartition(".")[0], role, option)
        yield "layer", (layer.name, choice, option)


def _pair_tables(space: SearchSpace, first: Layer, second: Layer, unit_cost: float) -> Iterator[Table]:
    """Yields the tables of two layers that meet: one for their kinds, one for each choice that both have.

    A table is over only those choices that it depends on.
    """
    scope = tuple(dict.fromkeys((*first.scope, *second.scope)))
    shared = set(first.scope) <= set(second.scope) or set(second.scope) <= set(first.scope)
    if shared or math.prod(len(space.choice(name).options) for name in scope) > MOST_CELLS:
        return
    kinds, number_S = _kinds(space, (first, second), scope)
    deciding = {name for axis, name in enumerate(scope) if np.ptp(number_S, axis).any()}
    roles = [{role_of(name, layer.name): name for name in layer.scope} for layer in (first, second)]
    alike = [role for role in roles[0] if role in roles[1] and roles[0][role] != roles[1][role]]
    for role in (None, *alike):
        pair = () if role is None else (roles[0][role], roles[1][role])
        own = tuple(name for name in scope if name in deciding or name in pair)
        numbers = number_S[tuple(slice(None) if name in own else 0 for name in scope)]
        features: list[Feature] = []
        for cell, (index, number) in enumerate(np.ndenumerate(numbers)):
            if number == 0:
                continue
            if role is None:
                features.append(Feature(cell, ("pair", "kind"), kinds[number], unit_cost))
                continue
            both = (role, *(repr(space.choice(name).options[index[own.index(name)]]) for name in pair))
            features.append(Feature(cell, ("pair", "network"), both, unit_cost))
            features.append(Feature(cell, ("pair", "layer"), (first.name, second.name, *both), unit_cost))
        yield Factor(f"{first.name} + {second.name}", own, np.zeros(numbers.shape)), features


def _kinds(
    space: SearchSpace, layers: tuple[Layer, Layer], scope: tuple[str, ...]
) -> tuple[list[tuple[str, str]], IntArray]:
    """Returns pairs of kinds, and the number of the pair in each cell of a scope; 0 where one of the two is missing."""
    operators = [dict(layer.cells(space.by_name)) for layer in layers]
    axes = [[scope.index(name) for name in layer.scope] for layer in layers]
    numbers: dict[tuple[str, str], int] = {("", ""): 0}
    number_S = np.zeros([len(space.choice(name).options) for name in scope], dtype=np.int64)
    for index in np.ndindex(number_S.shape):
        one, other = (known[tuple(index[axis] for axis in own)] for known, own in zip(operators, axes, strict=True))
        if one is not None and other is not None:
            number_S[index] = numbers.setdefault((one.kind, other.kind), len(numbers))
    return list(numbers), number_S


def role_of(choice: str, layer: str) -> str:
    """Returns the role of a choice in a layer: its name without the path they share, and without numbers.

    >>> role_of("stage2.block1.kernel", "stage2.block1"), role_of("stage2.width", "stage2.block1")
    ('kernel', 'width')
    >>> role_of("stem.width", "head"), role_of("layer3", "layer3"), role_of("edge3", "stage1.cell2.edge3")
    ('stem.width', 'layer', 'edge')
    """
    path, place = choice.split("."), layer.split(".")
    shared = 0
    while shared < min(len(path) - 1, len(place)) and path[shared] == place[shared]:
        shared += 1
    return re.sub(r"\d+", "", ".".join(path[shared:]))
