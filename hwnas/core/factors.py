"""Factors: an additive cost is a sum of small dense arrays, one per scope of choices.

Shapes: N architectures, C choices.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from hwnas.core.arrays import FloatArray, IntArray

# Rows per chunk, so that columns fit a core's cache: a million rows take 0.06 s, unchunked 0.4 s (30 choices, 13 factors).
CHUNK: Final = 8192


@dataclass(frozen=True, slots=True, eq=False)
class Factor:
    """An array over the choices of `scope`: axis i of `values` has one entry per option of choice i."""

    name: str
    scope: tuple[str, ...]
    values: FloatArray

    def at(self, rows_NC: IntArray, columns: Mapping[str, int]) -> FloatArray:
        """Returns the cell of each architecture; shape (N,). `columns` maps choice names to columns of `rows_NC`."""
        flat = np.zeros(len(rows_NC), dtype=np.intp)
        for name, size in zip(self.scope, self.values.shape, strict=True):
            flat *= size
            flat += rows_NC[:, columns[name]]
        return self.values.reshape(-1)[flat]


def total(factors: Sequence[Factor], rows_NC: IntArray, columns: Mapping[str, int]) -> FloatArray:
    """Returns the sum of the factors' cells; shape (N,)."""
    result = np.zeros(len(rows_NC))
    for start in range(0, len(rows_NC), CHUNK):
        chunk = slice(start, start + CHUNK)
        contiguous_NC = np.asfortranarray(rows_NC[chunk], dtype=np.intp)
        for factor in factors:
            result[chunk] += factor.at(contiguous_NC, columns)
    return result


def highest(factors: Sequence[Factor], rows_NC: IntArray, columns: Mapping[str, int]) -> FloatArray:
    """Returns the largest of the factors' cells, at least 0; shape (N,)."""
    result = np.zeros(len(rows_NC))
    for factor in factors:
        np.maximum(result, factor.at(rows_NC, columns), out=result)
    return result


def exceeding(factors: Sequence[Factor], bound: float) -> list[Factor]:
    """Returns factors with 1 in the cells above a bound, else 0.

    `highest` of the original factors is within the bound exactly where the sum of the returned ones is 0.
    """
    return [Factor(factor.name, factor.scope, (factor.values > bound).astype(float)) for factor in factors]


def merged(factors: Sequence[Factor]) -> list[Factor]:
    """Returns factors with the same sum, one per distinct scope."""
    by_scope: dict[tuple[str, ...], Factor] = {}
    for factor in factors:
        known = by_scope.get(factor.scope)
        values = factor.values if known is None else known.values + factor.values
        by_scope[factor.scope] = Factor(factor.name, factor.scope, values)
    return list(by_scope.values())


def absorbed(factors: Sequence[Factor]) -> list[Factor]:
    """Returns fewer factors with the same sum: a factor is added to another whose scope contains its scope, if any."""
    result: list[Factor] = []
    for factor in sorted(merged(factors), key=lambda factor: len(factor.scope), reverse=True):
        choices = set(factor.scope)
        target = next((at for at, other in enumerate(result) if choices.issubset(other.scope)), None)
        if target is None:
            result.append(factor)
        else:
            other = result[target]
            result[target] = Factor(other.name, other.scope, other.values + spread(factor, other.scope))
    return result


def spread(factor: Factor, scope: Sequence[str]) -> FloatArray:
    """Returns the factor's values with the axes of a scope that contains the factor's; length 1 along the rest."""
    ordered = [name for name in scope if name in factor.scope]
    values = factor.values.transpose([factor.scope.index(name) for name in ordered])
    sizes = dict(zip(ordered, values.shape, strict=True))
    return values.reshape([sizes.get(name, 1) for name in scope])
