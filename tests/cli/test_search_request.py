"""Requests of `hwnas search` that are refused, the folders that runs get, and the groups of its help."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from hwnas.cli import cli
from hwnas.errors import BudgetError, HwnasError
from hwnas.pipeline.request import refitted, search_request
from hwnas.runs.folder import create_run, folder_for, last_path

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


def test_subcommands_do_not_take_an_option_of_one_value_twice_either(tmp_path: Path) -> None:
    with pytest.raises(HwnasError, match="--folder is given twice, a and b; give it once"):
        CliRunner().invoke(
            cli, ["device", "add", "pi5", "t.jsonl", "--folder", "a", "--folder", "b"], catch_exceptions=False
        )


def test_runs_get_a_new_folder_each_time(tmp_path: Path) -> None:
    usual = tmp_path / "runs" / "search"
    for name in ("search", "search-2", "search-3"):
        with folder_for(None, resume=False, usual=usual) as path:
            assert path == usual.with_name(name)
            create_run(path, {}, {}, {})
    usual.with_name("search-4.npz").touch()
    with folder_for(None, resume=False, usual=usual) as path:
        assert path == usual.with_name("search-5")
    assert not path.exists()


def test_two_searches_that_start_together_have_two_folders_and_leave_none_empty(tmp_path: Path) -> None:
    usual = tmp_path / "runs" / "search"
    with folder_for(None, resume=False, usual=usual) as one, folder_for(None, resume=False, usual=usual) as other:
        assert one != other
    assert not list(tmp_path.iterdir())


def test_a_refused_search_without_a_folder_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BudgetError, match="cannot be met"):
        searched("--device", "amd-epyc", "--latency-budget", "1ns")
    assert not list(tmp_path.iterdir())


def test_the_last_run_is_the_one_that_was_started_last(tmp_path: Path) -> None:
    usual = tmp_path / "search"
    for name, day in (("search", 3), ("search-2", 1), ("search-4", 2)):
        run = create_run(tmp_path / name, {}, {}, {})
        run.write(run.read() | {"started": f"2026-01-0{day}T00:00:00+00:00"})
    assert last_path(usual) == usual


def test_a_run_goes_on_by_the_options_that_it_was_started_with() -> None:
    request = search_request({"space_options": {"resolution": 16, "classes": 3}})
    assert refitted({"space_options": {"resolution": 16}}, request)["space_options"] == {"resolution": 16, "classes": 3}
    assert refitted({"space_options": {"classes": 4}}, request)["space_options"] == {"classes": 4}
    assert refitted({"epochs": 3}, request) == {"epochs": 3}


def test_help_shows_examples_and_common_options_first_and_every_option_once() -> None:
    text = searched("--strategy", "nsga2", "--help")
    places = [text.index(title) for title in ("Examples:", "Common options:", "Space:", "Training:", "Strategy (")]
    assert places == sorted(places)
    for name in ("--latency-budget", "--population", "--final-epochs", "--strict"):
        assert text.count(f"\n  {name} ") == 1
