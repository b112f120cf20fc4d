"""The exact best architecture under additive costs: a small integer program over choices and factor cells.

Variables of the program:
- one binary variable per option of each choice, exactly one of which is 1;
- one continuous variable per cell of each factor; the sums of cells along every axis equal the options' variables, so at
  integer options the cells are the look-up. Options with equal values in a factor share a cell: a leaf of a tree of depth
  3 has 2 x 2 x 2 cells, however many options its choices have;
- one continuous variable per clause of a condition, at most any of the clause's literals. Where no clause is 1, the choice
  takes its first option, so the program's solutions are the normalised architectures.

Shapes: S sums (the objective, then the limits), K kinds of options along every axis, V variables.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from hwnas.core.arch import Arch
from hwnas.core.arrays import FloatArray, IntArray
from hwnas.core.choice import Condition, Option
from hwnas.core.choices import Choices
from hwnas.core.factors import Factor
from hwnas.errors import BudgetError

Limit = tuple[Sequence[Factor], float]


def minimise(choices: Choices, objective: Sequence[Factor], limits: Sequence[Limit] = (), *, gap: float = 0.0) -> Arch:
    """Returns the architecture with the least sum of `objective` whose sum is at most the bound of each of `limits`.

    With a `gap` the search ends at an architecture whose sum is proven to be within this share of the least sum, which takes
    less time. Only architectures that meet the requirements of the choices count. Raises BudgetError where none meets the limits.
    """
    tables = _tables([objective, *(limit for limit, _ in limits)])
    offsets = np.cumsum([0] + [len(choice.options) for choice in choices])
    conditions = [choice.when for choice in choices] + [choices.requires]
    clauses = np.cumsum([offsets[-1]] + [len(condition) for condition in conditions])
    cells = np.cumsum([clauses[-1]] + [table.values_SK[0].size for table in tables])
    program = _Program(int(cells[-1]))
    for start, end in pairwise(offsets):
        program.add(np.arange(start, end), np.ones(end - start), 1.0, 1.0)
    _add_look_ups(program, choices, tables, offsets, cells)
    _add_conditions(program, choices, conditions, offsets, clauses)
    _add_ties(program, choices, offsets)
    for number, (_, bound) in enumerate(limits, start=1):
        weights_V = _weights(tables, number, cells)
        # The solver's tolerance is absolute, so a limit is stated relative to its bound.
        scale = abs(bound) or np.abs(weights_V).max() or 1.0
        program.add(np.flatnonzero(weights_V), weights_V[weights_V != 0] / scale, -np.inf, bound / scale)
    solution_V = program.solution(_weights(tables, 0, cells), integers=int(offsets[-1]), gap=gap)
    return choices.decode([int(solution_V[start:end].argmax()) for start, end in pairwise(offsets)])


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """The cells of one scope in every sum. Options with equal values in all sums form one kind, which keeps the program small.

    `values_SK` has an axis K per choice of `scope`; `kinds` gives the kind of each option of that choice.
    """

    scope: tuple[str, ...]
    values_SK: FloatArray
    kinds: tuple[IntArray, ...]


def _tables(sums: Sequence[Sequence[Factor]]) -> list[_Table]:
    by_scope: dict[tuple[str, ...], FloatArray] = {}
    for number, factors in enumerate(sums):
        for factor in factors:
            values_SK = by_scope.setdefault(factor.scope, np.zeros((len(sums), *factor.values.shape)))
            values_SK[number] += factor.values
    return [_table(scope, values_SK) for scope, values_SK in by_scope.items()]


def _table(scope: tuple[str, ...], values_SK: FloatArray) -> _Table:
    kinds = []
    for axis in range(1, values_SK.ndim):
        _, first, kind_of_option = np.unique(values_SK, axis=axis, return_index=True, return_inverse=True)
        values_SK = values_SK.take(first, axis)
        kinds.append(kind_of_option.reshape(-1))
    return _Table(scope, values_SK, tuple(kinds))


class _Program:
    """A mixed integer program: rows of a sparse linear constraint, each `low <= coefficients @ variables <= high`."""

    def __init__(self, variables: int) -> None:
        self._variables = variables
        self._entries: list[tuple[IntArray, IntArray, FloatArray]] = []
        self._low: list[float] = []
        self._high: list[float] = []

    def add(self, columns: IntArray, coefficients: FloatArray, low: float, high: float) -> None:
        self._entries.append((np.full(len(columns), len(self._low)), columns, coefficients))
        self._low.append(low)
        self._high.append(high)

    def solution(self, weights_V: FloatArray, integers: int, gap: float) -> FloatArray:
        """Returns the variables (V,) with the least `weights @ variables` up to `gap`, the first `integers` of them integer.

        Raises BudgetError where no solution is feasible.
        """
        # Loaded here: boards that only measure have no scipy.
        from scipy.optimize import Bounds, LinearConstraint, milp
        from scipy.sparse import coo_array

        rows, columns, coefficients = (np.concatenate(part) for part in zip(*self._entries, strict=True))
        matrix = coo_array((coefficients, (rows, columns)), shape=(len(self._low), self._variables)).tocsr()
        # HiGHS's presolve can report a feasible program as infeasible, and a solution as the best that is not (docs/log.md).
        result = milp(
            weights_V / max(np.abs(weights_V).max(), 1e-300),
            constraints=LinearConstraint(matrix, self._low, self._high),
            integrality=(np.arange(self._variables) < integers).astype(int),
            bounds=Bounds(0, 1),
            options={"mip_rel_gap": gap, "presolve": False},
        )
        if result.x is None:
            raise BudgetError(f"no architecture meets the limits: {result.message}")
        solution_V: FloatArray = result.x
        return solution_V


def _add_look_ups(
    program: _Program, choices: Choices, tables: Sequence[_Table], offsets: IntArray, cells: IntArray
) -> None:
    """Adds, along every axis of a table: the cells of one kind of options sum to these options' variables."""
    for table, start in zip(tables, cells, strict=False):
        shape = table.values_SK.shape[1:]
        index = start + np.arange(math.prod(shape)).reshape(shape)
        if not table.scope:
            program.add(index.reshape(-1), np.ones(1), 1.0, 1.0)
        for axis, (name, kind_of_option) in enumerate(zip(table.scope, table.kinds, strict=True)):
            for kind in range(shape[axis]):
                of_kind = index.take(kind, axis).reshape(-1)
                options = offsets[choices.columns[name]] + np.flatnonzero(kind_of_option == kind)
                coefficients = np.repeat([1.0, -1.0], [len(of_kind), len(options)])
                program.add(np.concatenate([of_kind, options]), coefficients, 0.0, 0.0)


def _add_conditions(
    program: _Program, choices: Choices, conditions: Sequence[Condition], offsets: IntArray, clauses: IntArray
) -> None:
    """Adds every condition: a clause is at most any of its literals, and without a clause a choice takes its first option.

    The last condition is the requirement of all choices: one of its clauses holds.
    """
    for number, (condition, start) in enumerate(zip(conditions, clauses, strict=False)):
        for variable, clause in enumerate(condition, start):
            for literal in clause:
                columns = np.append(_literal(choices, literal, offsets), variable)
                program.add(columns, np.append(np.ones(len(columns) - 1), -1.0), 0.0, np.inf)
        if condition:
            of_condition = np.arange(start, start + len(condition))
            columns = of_condition if number == len(choices) else np.append(of_condition, offsets[number])
            program.add(columns, np.ones(len(columns)), 1.0, np.inf)


def _add_ties(program: _Program, choices: Choices, offsets: IntArray) -> None:
    """Adds the ties: while a tied choice is on, it takes the option of the choice it is tied to."""
    for column, choice in enumerate(choices):
        for option in range(len(choice.options)) if choice.tied_to else ():
            pair = np.array([offsets[column] + option, offsets[choices.columns[choice.tied_to]] + option])
            for clause in choice.when or ((),):
                literals = [_literal(choices, literal, offsets) for literal in clause]
                columns = np.concatenate([pair, *literals])
                coefficients = np.concatenate([[1.0, -1.0], *(-np.ones(len(literal)) for literal in literals)])
                program.add(columns, coefficients, -float(len(literals)), np.inf)


def _literal(choices: Choices, literal: tuple[str, tuple[Option, ...]], offsets: IntArray) -> IntArray:
    """Returns the variables of the options that make a literal of a condition true."""
    name, options = literal
    known = choices.by_name[name].options
    return np.array([offsets[choices.columns[name]] + known.index(option) for option in options])


def _weights(tables: Sequence[_Table], number: int, cells: IntArray) -> FloatArray:
    """Returns the coefficient of every variable in one of the sums; shape (V,)."""
    values = [table.values_SK[number].reshape(-1) for table in tables]
    return np.concatenate([np.zeros(cells[0]), *values])
