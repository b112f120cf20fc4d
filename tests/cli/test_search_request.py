"""Requests of `hwnas search` that are refused, the folders that runs get, and the groups of its help."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from hwnas.cli import cli
from hwnas.errors import BudgetError, HwnasError
from hwnas.runs.folder import last_path, new_path

TWICE = [
    (["--epochs", "1", "--epochs=2"], "--epochs is given twice, 1 and 2; give it once"),
    (
        ["--latency-budget", "60%", "--latency-budget", "80%"],
        "--latency-budget is given twice, 60% and 80%; give it once",
    ),
    (["--strategy", "nsga2", "--population", "4", "--population", "8"], "--population is given twice, 4 and 8"),
    (["--space-option", "classes=3", "--space-option", "classes=4"], "--space-option classes is given twice, 3 and 4"),
]


def searched(*arguments: str) -> str:
    return CliRunner().invoke(cli, ["search", *arguments], catch_exceptions=False).stdout


@pytest.mark.parametrize(("arguments", "message"), TWICE)
def test_an_option_of_one_value_is_not_taken_twice(arguments: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(HwnasError, match=message):
        searched(*arguments, "--out", str(tmp_path / "run"))


def test_a_budget_that_cannot_be_met_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(BudgetError, match="cannot be met"):
        searched("--device", "amd-epyc", "--latency-budget", "1ns", "--out", str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_runs_get_a_new_folder_each_time(tmp_path: Path) -> None:
    usual = tmp_path / "search"
    assert new_path(usual) == last_path(usual) == usual
    usual.mkdir()
    assert (new_path(usual), last_path(usual)) == (tmp_path / "search-2", usual)
    (tmp_path / "search-2").mkdir()
    assert (new_path(usual), last_path(usual)) == (tmp_path / "search-3", tmp_path / "search-2")


def test_help_shows_examples_and_common_options_first_and_every_option_once() -> None:
    text = searched("--strategy", "nsga2", "--help")
    places = [text.index(title) for title in ("Examples:", "Common options:", "Space:", "Training:", "Strategy (")]
    assert places == sorted(places)
    for name in ("--latency-budget", "--population", "--final-epochs", "--strict"):
        assert text.count(f"\n  {name} ") == 1
