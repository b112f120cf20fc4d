"""The features of the additive model: linear in the cells of factors, in groups.

Shapes: N architectures, C choices, P features, S cells of a factor.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from scipy.sparse import coo_array, csr_array

from hwnas.core.arrays import FloatArray, IntArray
from hwnas.core.factors import Factor

INTERCEPT: Final = "intercept"

# A feature's name begins with its group's.
Name = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Feature:
    """A feature's value in one cell: its cost at a weight of 1."""

    cell: int
    group: Name
    name: Name
    value: float


# An expectation, and the features of its cells.
Table = tuple[Factor, list[Feature]]


@dataclass(frozen=True, eq=False)
class Basis:
    """`expected` holds the costs to be corrected, `cells` the features (S, P) of the same cells.

    `group_P` numbers the features' groups, which `groups` names. Feature 0 is the intercept.
    """

    expected: tuple[Factor, ...]
    cells: tuple[csr_array, ...]
    groups: tuple[Name, ...]
    group_P: IntArray
    intercept: float

    @classmethod
    def of(cls, tables: Sequence[Table], intercept: float) -> "Basis":
        """Returns the basis of some tables. Features of one name share a weight; tables of one name and scope are added up."""
        tables = _joined(tables)
        columns: dict[Name, int] = {(INTERCEPT,): 0}
        groups: dict[Name, int] = {(INTERCEPT,): 0}
        group_of = [0]
        for _, features in tables:
            for feature in features:
                if (*feature.group, *feature.name) not in columns:
                    columns[*feature.group, *feature.name] = len(columns)
                    group_of.append(groups.setdefault(feature.group, len(groups)))
        cells = []
        for factor, features in tables:
            rows_F = np.array([feature.cell for feature in features], dtype=np.int64)
            columns_F = np.array([columns[*feature.group, *feature.name] for feature in features], dtype=np.int64)
            values_F = np.array([feature.value for feature in features], dtype=np.float64)
            cells.append(coo_array((values_F, (rows_F, columns_F)), (factor.values.size, len(columns))).tocsr())
        expected = tuple(factor for factor, _ in tables)
        return cls(expected, tuple(cells), tuple(groups), np.array(group_of), intercept)

    def design(self, rows_NC: IntArray, columns: Mapping[str, int]) -> csr_array:
        """Returns the features of architectures, in the unit of the cost; shape (N, P)."""
        count = len(rows_NC)
        first = (np.full(count, self.intercept), (np.arange(count), np.zeros(count, dtype=np.int64)))
        result = coo_array(first, (count, len(self.group_P))).tocsr()
        for numbers, cells_SP in self._by_scope:
            result = result + cells_SP[numbers.at(rows_NC, columns).astype(np.int64)]
        return result

    @cached_property
    def _by_scope(self) -> list[tuple[Factor, csr_array]]:
        """The features of equal scopes added up, each with a factor that numbers their cells."""
        together: dict[tuple[str, ...], csr_array] = {}
        for factor, cells_SP in zip(self.expected, self.cells, strict=True):
            together[factor.scope] = together[factor.scope] + cells_SP if factor.scope in together else cells_SP
        shapes = {factor.scope: factor.values.shape for factor in self.expected}
        return [
            (Factor("", scope, np.arange(cells_SP.shape[0], dtype=np.float64).reshape(shapes[scope])), cells_SP)
            for scope, cells_SP in together.items()
        ]

    def factors(self, weights_P: FloatArray) -> tuple[Factor, ...]:
        """Returns the expectation, corrected by the features with these weights."""
        corrected = [
            Factor(factor.name, factor.scope, factor.values + (cells_SP @ weights_P).reshape(factor.values.shape))
            for factor, cells_SP in zip(self.expected, self.cells, strict=True)
        ]
        return (*corrected, Factor(INTERCEPT, (), np.array(self.intercept * weights_P[0])))


def _joined(tables: Sequence[Table]) -> list[Table]:
    result: dict[tuple[str, tuple[str, ...]], Table] = {}
    for factor, features in tables:
        known, before = result.get((factor.name, factor.scope), (None, []))
        values = factor.values if known is None else known.values + factor.values
        result[factor.name, factor.scope] = (Factor(factor.name, factor.scope, values), [*before, *features])
    return list(result.values())
