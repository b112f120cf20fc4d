"""Independent draws behind normalised choices, over which expectations are taken.

In a normalised architecture choices are not independent: a choice that another one switches off, or is tied to another
one, has its option decided by that one. An expectation over a factor's scope therefore sums over the draws that decide the
scope, which are independent.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from hwnas.core.arrays import IntArray
from hwnas.core.choice import Choice
from hwnas.core.condition import holds


def independent_groups(scope: Sequence[str], by_name: Mapping[str, Choice]) -> list[tuple[str, ...]]:
    """Partitions a scope into groups of choices that are statistically independent: no draw decides two groups."""
    groups: list[tuple[str, ...]] = []
    for name in scope:
        draws = _deciders([name], by_name).keys()
        linked = [group for group in groups if draws & _deciders(group, by_name).keys()]
        groups = [group for group in groups if group not in linked]
        groups.append((*(member for group in linked for member in group), name))
    return groups


def drawn_cells(scope: Sequence[str], by_name: Mapping[str, Choice]) -> tuple[tuple[str, ...], IntArray]:
    """Returns the choices whose draws decide the scope, and the scope's cell for every combination of their options.

    The array has one axis per returned choice. A cell is an index into a flattened array over the scope, after
    normalisation; its probability is the sum of the probabilities of all combinations that lead to it.
    """
    names = tuple(_deciders(scope, by_name))
    sizes = [len(by_name[name].options) for name in names]
    grids = dict(zip(names, np.indices(sizes).reshape(len(sizes), math.prod(sizes)), strict=True))
    drawn = {name: grids[_drawn(name, by_name)] for name in by_name if _drawn(name, by_name) in grids}
    cells = np.zeros(math.prod(sizes), dtype=np.intp)
    for name in scope:
        cells *= len(by_name[name].options)
        cells += np.where(holds(by_name[name].when, drawn, by_name), drawn[name], 0)
    return names, cells.reshape(sizes)


def _deciders(scope: Sequence[str], by_name: Mapping[str, Choice]) -> dict[str, None]:
    """Returns the choices whose draws decide the scope: its choices or their leaders, and what switches them on."""
    names = dict.fromkeys(_drawn(name, by_name) for name in scope)
    for name in scope:
        for clause in by_name[name].when:
            names |= dict.fromkeys(_drawn(other, by_name) for other, _ in clause)
    return names


def _drawn(name: str, by_name: Mapping[str, Choice]) -> str:
    """Returns the choice whose draw decides a choice: the one it is tied to, or itself."""
    return by_name[name].tied_to or name
