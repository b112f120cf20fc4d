"""The exact best architecture under additive costs: a small integer program over choices and factor cells.

One binary variable per option of each choice, exactly one of which is 1; one continuous variable per cell of each
factor, whose sums along every axis equal the options' variables. At integer options the cells are the look-up.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array

from hwnas.core.arch import Arch
from hwnas.core.cost import Factor, FloatArray
from hwnas.core.space import SearchSpace
from hwnas.errors import BudgetError

Limit = tuple[Sequence[Factor], float]


def minimise(space: SearchSpace, objective: Sequence[Factor], limits: Sequence[Limit] = ()) -> Arch:
    """The architecture with the least sum of `objective` whose sum is at most the bound of each of `limits`.

    Raises BudgetError where no architecture meets the limits.
    """
    factors = [*objective, *(factor for limit, _ in limits for factor in limit)]
    offsets = np.cumsum([0] + [len(choice.options) for choice in space.choices])
    cells = np.cumsum([offsets[-1]] + [factor.values.size for factor in factors])
    constraints = [_consistency(space, factors, offsets, cells)]
    first = len(objective)
    for limit, bound in limits:
        weights = _cell_weights(limit, first, cells)
        # The solver's tolerance is absolute, so a limit is stated relative to its bound.
        scale = abs(bound) or np.abs(weights).max() or 1.0
        constraints.append(LinearConstraint(weights[None] / scale, -np.inf, bound / scale))
        first += len(limit)
    weights = _cell_weights(objective, 0, cells)
    solution = milp(
        weights / max(np.abs(weights).max(), 1e-300),
        constraints=constraints,
        integrality=np.arange(cells[-1]) < offsets[-1],
        bounds=Bounds(0, 1),
        options={"mip_rel_gap": 0.0},
    )
    if solution.x is None:
        raise BudgetError(f"no architecture of {space.name} meets the limits: {solution.message}")
    return space.decode([int(solution.x[a:b].argmax()) for a, b in pairwise(offsets)])


def _consistency(
    space: SearchSpace, factors: Sequence[Factor], offsets: FloatArray, cells: FloatArray
) -> LinearConstraint:
    entries: list[tuple[FloatArray, FloatArray, FloatArray]] = []
    right: list[float] = []

    def add(columns: FloatArray, coefficients: FloatArray, value: float) -> None:
        entries.append((np.full(len(columns), len(right)), columns, coefficients))
        right.append(value)

    for start, end in pairwise(offsets):
        add(np.arange(start, end), np.ones(end - start), 1.0)
    for factor, start in zip(factors, cells, strict=False):
        index = start + np.arange(factor.values.size).reshape(factor.values.shape)
        if not factor.scope:
            add(index.reshape(-1), np.ones(1), 1.0)
        for axis, name in enumerate(factor.scope):
            for option in range(factor.values.shape[axis]):
                columns = np.append(index.take(option, axis).reshape(-1), offsets[space.columns[name]] + option)
                add(columns, np.append(np.ones(len(columns) - 1), -1.0), 0.0)
    rows, columns, coefficients = (np.concatenate(part) for part in zip(*entries, strict=True))
    matrix = coo_array((coefficients, (rows, columns)), shape=(len(right), cells[-1])).tocsr()
    return LinearConstraint(matrix, right, right)


def _cell_weights(factors: Sequence[Factor], first: int, cells: FloatArray) -> FloatArray:
    weights = np.zeros(cells[-1])
    for factor, start in zip(factors, cells[first:], strict=False):
        weights[start : start + factor.values.size] = factor.values.reshape(-1)
    return weights
