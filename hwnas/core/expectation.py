"""Choices as they are drawn, independently: what an expectation can be taken over.

In a normalised architecture choices are not independent: where one switches another off, or is tied to it, the other's
option follows. So the choices of a factor are told by the draws that decide them.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from hwnas.core.arrays import IntArray
from hwnas.core.choice import Choice
from hwnas.core.condition import holds


def independent_groups(scope: Sequence[str], by_name: Mapping[str, Choice]) -> list[tuple[str, ...]]:
    """The choices of a scope in groups that no draw decides two of: so their options are independent of each other."""
    groups: list[tuple[str, ...]] = []
    for name in scope:
        draws = _deciders([name], by_name).keys()
        linked = [group for group in groups if draws & _deciders(group, by_name).keys()]
        groups = [group for group in groups if group not in linked]
        groups.append((*(member for group in linked for member in group), name))
    return groups


def drawn_cells(scope: Sequence[str], by_name: Mapping[str, Choice]) -> tuple[tuple[str, ...], IntArray]:
    """The choices whose draws decide a scope's, and an array with one axis for each: the cell of the normalised row.

    A cell is an index into a flattened array over the scope. With independent draws a cell is as likely as all the draws
    together that lead to it.
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
    """The choices whose draws decide a scope's: they, or what they are tied to, and those that switch them on."""
    names = dict.fromkeys(_drawn(name, by_name) for name in scope)
    for name in scope:
        for clause in by_name[name].when:
            names |= dict.fromkeys(_drawn(other, by_name) for other, _ in clause)
    return names


def _drawn(name: str, by_name: Mapping[str, Choice]) -> str:
    """The choice whose option, as drawn, a choice takes."""
    return by_name[name].tied_to or name
