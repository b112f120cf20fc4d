"""Strategies are found by name."""

import pytest

from hwnas.errors import UnknownNameError
from hwnas.strategies.registry import STRATEGIES, strategy


def test_every_strategy_is_found_by_its_name() -> None:
    assert {name: strategy(name) for name in STRATEGIES} == dict(STRATEGIES)
    assert {"nsga2", "random"} <= set(STRATEGIES)


def test_an_unknown_strategy_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown strategy 'magic'; known: .*nsga2, random"):
        strategy("magic")
