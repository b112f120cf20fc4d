"""Strategies are found by name or by file, and their options are checked."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from hwnas.errors import HwnasError, UnknownNameError
from hwnas.strategies.nsga2 import Nsga2
from hwnas.strategies.registry import STRATEGIES, load_strategy_class

EXAMPLE = Path(__file__).parents[2] / "scripts/examples/regularised_evolution.py"


def test_every_strategy_is_found_by_its_name() -> None:
    assert {name: load_strategy_class(name) for name in STRATEGIES} == dict(STRATEGIES)
    assert all(strategy.name == name for name, strategy in STRATEGIES.items())
    assert {"evolution", "local", "nsga2", "random"} <= set(STRATEGIES)


def test_an_unknown_strategy_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown strategy 'magic'; known: FILE.py:NAME, .*nsga2, random"):
        load_strategy_class("magic")


def test_a_strategy_of_ones_own_is_found_by_file_and_name() -> None:
    strategy = load_strategy_class(f"{EXAMPLE}:RegularisedEvolution")
    assert strategy.name == "regularised-evolution"


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("Mine = 3", "Mine lacks name, trains_weights, search, .*; write a pydantic dataclass like RandomSearch"),
        ("class Mine:\n    name = 'mine'\n    trains_weights = False", "Mine lacks search"),
        ("class Other:\n    pass", "has no 'Mine'"),
        ("1 / 0", "cannot be loaded: ZeroDivisionError"),
    ],
)
def test_a_file_without_such_a_strategy_is_refused_with_the_reason(tmp_path: Path, source: str, problem: str) -> None:
    (tmp_path / "own.py").write_text(source)
    with pytest.raises(HwnasError, match=problem):
        load_strategy_class(f"{tmp_path / 'own.py'}:Mine")


@pytest.mark.parametrize("options", [{"evaluations": 0}, {"population": 3}, {"evaluations": "many"}, {"epochs": 3}])
def test_options_that_cannot_be_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Nsga2(**options)
