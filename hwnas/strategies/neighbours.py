"""Neighbours of networks: networks that differ in a few choices. Shapes: N architectures, C choices."""

import numpy as np

from hwnas.core.arrays import IntArray
from hwnas.core.space import SearchSpace


def mutated(space: SearchSpace, parents_NC: IntArray, choices: int, rng: np.random.Generator) -> IntArray:
    """Returns normalised copies of the parents with so many choices, drawn at random, at another option; shape (N, C).

    All other options of a drawn choice are equally likely. Choices with one option are not drawn. A choice that is switched
    off changes nothing, so a copy may equal its parent.
    """
    sizes_C = np.array([len(choice.options) for choice in space.choices])
    open_C = np.flatnonzero(sizes_C > 1)
    order_NC = rng.random((len(parents_NC), len(open_C))).argsort(axis=1)
    columns_NK = open_C[order_NC[:, :choices]]
    rows_NC, line_N1 = np.array(parents_NC, dtype=np.int64), np.arange(len(parents_NC))[:, None]
    shift_NK = rng.integers(1, sizes_C[columns_NK])
    rows_NC[line_N1, columns_NK] = (rows_NC[line_N1, columns_NK] + shift_NK) % sizes_C[columns_NK]
    return space.normalise(rows_NC)


def neighbours(space: SearchSpace, row_C: IntArray) -> IntArray:
    """Returns every network that differs from one in a single choice, each once, normalised; shape (N, C)."""
    rows = []
    for column, choice in enumerate(space.choices):
        others = [option for option in range(len(choice.options)) if option != row_C[column]]
        rows_NC = np.repeat(np.asarray(row_C, dtype=np.int64)[None], len(others), axis=0)
        rows_NC[:, column] = others
        rows.append(rows_NC)
    rows_NC = np.unique(space.normalise(np.concatenate(rows)), axis=0)
    return np.asarray(rows_NC[(rows_NC != row_C).any(axis=1)])
