"""Finds the operators that stand out in a table: the slowest, and those that are slower than larger or more precise ones."""

from collections.abc import Mapping
from dataclasses import fields
from itertools import combinations
from typing import Final

from hwnas.core.operator import Operator

SHOWN: Final = 5
# A share by which two measurements of one operator in one table do not differ.
NOTABLE: Final = 0.10


def slowest(operator_ms: Mapping[str, float]) -> tuple[str, ...]:
    """Returns the operators that take longest, each with its milliseconds."""
    order = sorted(operator_ms, key=lambda key: -operator_ms[key])
    return tuple(f"{key}: {operator_ms[key]:.4g} ms" for key in order[:SHOWN])


def slower_quantised(operators: Mapping[str, Operator], operator_ms: Mapping[str, float]) -> tuple[str, ...]:
    """Returns the operators that take longer alone in another precision than in float32, the worst first."""
    ratios = {
        key: operator_ms[key] / operator_ms[operator.in_float32.key]
        for key, operator in operators.items()
        if operator.in_float32 is not operator and {key, operator.in_float32.key} <= operator_ms.keys()
    }
    order = sorted((key for key in ratios if ratios[key] > 1), key=lambda key: -ratios[key])
    return tuple(f"{key} takes {ratios[key]:.2f} times as long as in fp32" for key in order)


def surprises(operators: Mapping[str, Operator], operator_ms: Mapping[str, float]) -> tuple[str, ...]:
    """Returns pairs of operators that differ in one number and of which the smaller is notably slower, the worst first.

    A 3x3 kernel that is slower than a 5x5 is a fact about the device's kernels, or a bad measurement.
    """
    groups: dict[tuple[object, ...], list[str]] = {}
    for key, operator in operators.items():
        if key not in operator_ms or operator.in_float32 is not operator:
            continue
        values = [(field.name, getattr(operator, field.name)) for field in fields(operator)]
        for changed in range(len(values)):
            same = tuple(value for i, value in enumerate(values) if i != changed)
            groups.setdefault((operator.kind, values[changed][0], *same), []).append(key)
    ratios: dict[tuple[str, str], float] = {}
    for keys in groups.values():
        for pair in combinations(keys, 2):
            small, large = sorted(pair, key=lambda key: operators[key].cost().flops)
            ratio = operator_ms[small] / operator_ms[large]
            if operators[small].cost().flops < operators[large].cost().flops and ratio > 1 + NOTABLE:
                ratios[(small, large)] = ratio
    order = sorted(ratios, key=lambda pair: -ratios[pair])
    return tuple(f"{small} takes {ratios[small, large]:.2f} times as long as {large}" for small, large in order[:SHOWN])
