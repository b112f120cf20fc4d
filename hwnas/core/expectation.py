"""Factors over choices that are drawn independently: what an expectation can be taken of.

In a normalised architecture choices are not independent: where one switches another off, or is tied to it, the other's
option follows. So a factor is rewritten over the choices as they are drawn.
"""

import math
from collections.abc import Mapping

import numpy as np

from hwnas.core.choice import Choice, Condition
from hwnas.core.cost import BoolArray, Factor, IntArray


def over_drawn_choices(factor: Factor, by_name: Mapping[str, Choice]) -> Factor:
    """The same factor, of the normalised architecture, over all drawn choices that decide it.

    These are its scope's, or what they are tied to, and those that switch them on. For every row of drawn options its cell
    is `factor`'s cell of the normalised row; so with independent probabilities its expectation is exact.
    """
    names = dict.fromkeys(_drawn(name, by_name) for name in factor.scope)
    for name in factor.scope:
        for clause in by_name[name].when:
            names |= dict.fromkeys(_drawn(other, by_name) for other, _ in clause)
    sizes = [len(by_name[name].options) for name in names]
    grids = dict(zip(names, np.indices(sizes).reshape(len(sizes), math.prod(sizes)), strict=True))
    drawn = {name: grids[_drawn(name, by_name)] for name in by_name if _drawn(name, by_name) in grids}
    cells = tuple(np.where(holds(by_name[name].when, drawn, by_name), drawn[name], 0) for name in factor.scope)
    return Factor(factor.name, tuple(names), factor.values[cells].reshape(sizes))


def _drawn(name: str, by_name: Mapping[str, Choice]) -> str:
    """The choice whose option, as drawn, a choice takes."""
    return by_name[name].tied_to or name


def holds(condition: Condition, drawn: Mapping[str, IntArray], by_name: Mapping[str, Choice]) -> BoolArray:
    """Whether any clause holds of the drawn option indices (N,) of each choice; shape (N,), or () for an empty condition,
    which always holds.
    """
    if not condition:
        return np.array(True)
    clauses = []
    for clause in condition:
        # Not np.isin: numpy would make strings of options of different types.
        allowed = (
            np.array([option in options for option in by_name[name].options])[drawn[name]] for name, options in clause
        )
        clauses.append(np.logical_and.reduce(list(allowed)))
    result: BoolArray = np.logical_or.reduce(clauses)
    return result
