"""Conditions: when a choice is switched on. A condition holds when any of its clauses holds; an empty one always holds."""

import itertools
from collections.abc import Mapping

import numpy as np

from hwnas.core.arrays import BoolArray, IntArray
from hwnas.core.choice import Choice, Clause, Condition
from hwnas.errors import SpaceError


def holds(condition: Condition, drawn: Mapping[str, IntArray], by_name: Mapping[str, Choice]) -> BoolArray:
    """Returns True where the condition holds for the drawn option indices (N,) of each choice.

    The shape is (N,), or () for an empty condition.
    """
    if not condition:
        return np.array(True)
    clauses = []
    for clause in condition:
        # Not np.isin: numpy would convert options of different types to strings.
        allowed = (
            np.array([option in options for option in by_name[name].options])[drawn[name]] for name, options in clause
        )
        clauses.append(np.logical_and.reduce(list(allowed)))
    result: BoolArray = np.logical_or.reduce(clauses)
    return result


def simplified(condition: Condition, by_name: Mapping[str, Choice]) -> Condition | None:
    """Returns an equal condition that names only options the choices still have.

    Literals that are always true and clauses that are never true are left out. Returns () where the condition always
    holds, and None where it never does.
    """
    clauses = []
    for clause in condition:
        left = [(name, tuple(o for o in options if o in by_name[name].options)) for name, options in clause]
        if all(options for _, options in left):
            clauses.append(tuple((name, o) for name, o in left if set(o) != set(by_name[name].options)))
    if () in clauses or not condition:
        return ()
    return tuple(dict.fromkeys(clauses)) or None


def conjunction(condition: Condition, clause: Clause) -> Condition:
    """Returns the condition that holds where `condition` and `clause` both hold.

    Raises SpaceError where they can never hold together.
    """
    joined = joint(condition, (clause,))
    if not joined:
        raise SpaceError(f"{dict(clause)} can never hold together with {condition}; choose other options")
    return joined


def joint(one: Condition, other: Condition) -> tuple[Clause, ...]:
    """Returns the clauses of the condition that holds where both hold; none where they can never hold together."""
    joined = []
    for first, second in itertools.product(one or ((),), other or ((),)):
        options = dict(first)
        for name, allowed in second:
            options[name] = tuple(option for option in options.get(name, allowed) if option in allowed)
        if all(options.values()):
            joined.append(tuple(options.items()))
    return tuple(joined)


def in_words(condition: Condition) -> str:
    """Returns a condition as people write it; empty for one that always holds.

    >>> in_words(((("stage1.depth", (2, 3)),),))
    'stage1.depth 2 or 3'
    """
    clauses = (
        " and ".join(f"{name} {' or '.join(map(str, options))}" for name, options in clause) for clause in condition
    )
    return "; or ".join(clauses)
