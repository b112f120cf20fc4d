"""Hard limits on costs: reading them, and proving that some architecture meets all of them.

Knows no cost by name: words and units come from `costs/registry.py`, programs and factors from the costs themselves.
"""

import math
import re
from collections.abc import Sequence
from decimal import ROUND_CEILING, Context
from typing import Final

from hwnas.core import optimum
from hwnas.core.arch import Arch
from hwnas.core.optimum import minimise
from hwnas.core.space import SearchSpace
from hwnas.costs.cost import Cost, Limit
from hwnas.costs.registry import COSTS, cost_kind, split_device
from hwnas.errors import BudgetError, HwnasError

LIMIT: Final = re.compile(
    r"\s*(?P<name>[^<>=\s]+)\s*<=\s*(?P<number>[-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?)\s*(?P<suffix>[A-Za-z]*)\s*"
)
# The least of a cost that is no sum is searched to this relative precision, finer than the four digits it is told in.
PRECISION: Final = 1e-5


def parse_limit(text: str) -> tuple[str, float]:
    """Returns the cost's name and the bound in the cost's unit. Raises HwnasError, UnknownNameError.

    >>> parse_limit("params<=200000"), parse_limit("peak <= 512KiB"), parse_limit("latency@amd-epyc<=250us")
    (('params', 200000.0), ('peak', 0.5), ('latency@amd-epyc', 0.25))
    """
    match = LIMIT.fullmatch(text)
    number = _number(match["number"]) if match else None
    if match is None or number is None:
        raise HwnasError(f"limit {text!r} cannot be read; write COST<=NUMBER, such as params<=200000 or peak<=0.5MiB")
    name, suffix = match["name"], match["suffix"]
    suffixes = cost_kind(name).suffixes
    if suffix and suffix not in suffixes:
        hint = f"write {', '.join(suffixes)} or no unit" if suffixes else "write the number alone"
        raise HwnasError(f"limit {text!r}: {name} has no unit {suffix!r}; {hint}")
    return name, number * (suffixes[suffix] if suffix else 1.0)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def in_words(limit: Limit) -> str:
    """Returns the limit as part of a sentence: "at most 0.5 MiB of weights"."""
    cost, (kind, device) = limit.cost, split_device(limit.cost.name)
    own_words = f"{cost.unit} of {cost.name}" if cost.unit not in ("", cost.name) else cost.name
    words = COSTS[kind].words if kind in COSTS else own_words
    return f"at most {limit.bound:.12g} {words}{f' on {device}' if device else ''}"


def possible(space: SearchSpace, limits: Sequence[Limit]) -> list[optimum.Limit]:
    """Returns the limits as limits on sums of factors, after proving that an architecture meets all of these.

    Limits that no integer program can hold are left out. Raises BudgetError, with the least there is, for the first limit
    that no architecture meets together with those before it.
    """
    met: list[Limit] = []
    programs: list[optimum.Limit] = []
    for limit in limits:
        program = limit.program()
        if program is None:
            continue
        if _within(space, [*programs, program]) is None:
            others = f" with {' and '.join(map(in_words, met))}" if met else ""
            raise BudgetError(
                f"no architecture of {space.name}{others} has {in_words(limit)}; the least is "
                f"{_in_digits(limit.cost, least(space, limit.cost, programs))}"
            )
        met.append(limit)
        programs.append(program)
    return programs


def least(space: SearchSpace, cost: Cost, programs: Sequence[optimum.Limit] = ()) -> float:
    """Returns the least upper end of a cost among the architectures within some limits, which one of them has.

    Raises BudgetError where no architecture is within the limits.
    """
    if cost.factors is not None:
        return _upper(space, cost, minimise(space.choices, cost.factors, programs))
    high, low = _upper(space, cost, minimise(space.choices, (), programs)), 0.0
    while high - low > PRECISION * abs(high):
        middle = (low + high) / 2
        program = cost.program(middle)
        arch = None if program is None else _within(space, [*programs, program])
        low, high = (middle, high) if arch is None else (low, _upper(space, cost, arch))
    return high


def _upper(space: SearchSpace, cost: Cost, arch: Arch) -> float:
    return float(cost.upper(space.encode([arch]))[0])


def _within(space: SearchSpace, programs: Sequence[optimum.Limit]) -> Arch | None:
    """Returns an architecture within the limits, or None where there is none."""
    try:
        return minimise(space.choices, (), programs)
    except BudgetError:
        return None


def _in_digits(cost: Cost, least: float) -> str:
    """Returns a plain count exactly, and any other number rounded up to four digits, so that it can be asked for."""
    if not cost.unit and least.is_integer():
        return str(int(least))
    return f"{Context(prec=4, rounding=ROUND_CEILING).create_decimal(least):f}"
