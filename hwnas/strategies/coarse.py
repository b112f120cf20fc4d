"""The coarse grid of a space: networks in which choices of one kind are alike (Yu et al. 2020, BigNAS, section 3.3).

Shapes: C choices, K kinds of choices, G points of the grid.
"""

import math
from typing import Final

import numpy as np

from hwnas.core.arrays import IntArray
from hwnas.core.space import SearchSpace

# Points of a grid that are looked at; those of a larger grid are drawn at random.
GRID: Final = 1000


def kinds(space: SearchSpace) -> IntArray:
    """Returns the number of each choice's kind, from 0 in the order of first choices; shape (C,).

    Choices are of one kind where the last parts of their names are equal but for a number at the end, and they have as many
    options: `stage1.block2.kernel` and `stage3.block1.kernel`, `edge0` and `edge5`.
    """
    names = [(choice.name.rpartition(".")[2].rstrip("0123456789"), len(choice.options)) for choice in space.choices]
    order = list(dict.fromkeys(names))
    return np.array([order.index(name) for name in names], dtype=np.int64)


def grid(space: SearchSpace, rng: np.random.Generator) -> IntArray:
    """Returns normalised rows in which choices of one kind have one option, each once, at random; shape (at most GRID, C)."""
    kind_C = kinds(space)
    sizes = [len(space.choices[kind_C.tolist().index(kind)].options) for kind in range(kind_C.max(initial=-1) + 1)]
    if math.prod(sizes) <= GRID:
        options_GK = np.indices(sizes).reshape(len(sizes), -1).T
    else:
        options_GK = rng.integers(0, sizes, size=(GRID, len(sizes)))
    return rng.permutation(np.unique(space.normalise(options_GK[:, kind_C]), axis=0))
