"""Strategies by name."""

from collections.abc import Mapping
from typing import Final

from hwnas.errors import UnknownNameError
from hwnas.strategies.nsga2 import nsga2
from hwnas.strategies.problem import Strategy, random_search

STRATEGIES: Final[Mapping[str, Strategy]] = {"nsga2": nsga2, "random": random_search}


def strategy(name: str) -> Strategy:
    """Raises UnknownNameError."""
    if name not in STRATEGIES:
        raise UnknownNameError("strategy", name, list(STRATEGIES))
    return STRATEGIES[name]
