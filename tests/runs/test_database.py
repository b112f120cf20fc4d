"""Laws of the run's database: what happened is there, in its order, after any restart; a damaged file says so."""

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.core.arch import Arch
from hwnas.errors import RunError
from hwnas.runs.database import Evaluation, RunDatabase, Winner

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
ARCHS = st.dictionaries(st.sampled_from("abcd"), st.integers(0, 9) | st.booleans() | st.text(max_size=3), min_size=1)
EVALUATIONS = st.lists(
    st.builds(Evaluation, st.builds(Arch, ARCHS), NUMBERS, NUMBERS, NUMBERS),
    unique_by=lambda evaluation: evaluation.arch.id,
    max_size=8,
)
WINNERS = st.dictionaries(
    st.text("0123456789abcdef", min_size=10, max_size=10),
    st.builds(Winner, NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS, st.booleans()),
    max_size=6,
)
WINNER = Winner(0.3, 0.9, 1.0, 1.1, 1.2, True)


def evaluation(number: int) -> Evaluation:
    return Evaluation(Arch({"kernel": number}), 1.0 / (number + 1), 0.5, 0.1 * number)


@contextmanager
def opened(path: Path) -> Iterator[RunDatabase]:
    with closing(RunDatabase(path)) as database:
        yield database


@contextmanager
def new_path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "run.sqlite"


# ---- what happened is there


@given(EVALUATIONS, st.integers(0, 8))
@settings(max_examples=25, deadline=None)
def test_evaluations_come_back_exactly_and_in_order_however_often_the_file_is_reopened(
    evaluations: list[Evaluation], restart: int
) -> None:
    expected = [(one.arch.id, one) for one in evaluations]
    with new_path() as path:
        for part in (evaluations[:restart], evaluations[restart:]):
            with opened(path) as database:
                for one in part:
                    database.add_evaluation(one)
        with opened(path) as database:
            assert list(database.evaluations().items()) == expected


@given(WINNERS, WINNERS)
@settings(max_examples=25, deadline=None)
def test_winners_come_back_exactly_and_in_order(first: dict[str, Winner], second: dict[str, Winner]) -> None:
    second = {arch_id: winner for arch_id, winner in second.items() if arch_id not in first}
    with new_path() as path:
        for part in (first, second):
            with opened(path) as database:
                database.add_winners(part)
        with opened(path) as database:
            assert list(database.winners().items()) == [*first.items(), *second.items()]
            assert all(isinstance(winner.within_budget, bool) for winner in database.winners().values())


def test_an_evaluation_is_kept_without_closing_the_database(tmp_path: Path) -> None:
    with opened(tmp_path / "run.sqlite") as database, opened(tmp_path / "run.sqlite") as reader:
        database.add_evaluation(evaluation(1))
        assert list(reader.evaluations().values()) == [evaluation(1)]


def test_winners_are_added_all_or_none_and_a_failure_does_not_stop_what_follows(tmp_path: Path) -> None:
    path = tmp_path / "run.sqlite"
    with opened(path) as database:
        database.add_winners({"a": WINNER})
        with pytest.raises(sqlite3.IntegrityError):
            database.add_winners({"b": WINNER, "c": WINNER, "a": WINNER})
        assert list(database.winners()) == ["a"]
        database.add_evaluation(evaluation(1))
        database.add_winners({"d": WINNER})
    with opened(path) as database:
        assert list(database.winners()) == ["a", "d"] and len(database.evaluations()) == 1


def test_an_architecture_is_evaluated_once(tmp_path: Path) -> None:
    with opened(tmp_path / "run.sqlite") as database:
        database.add_evaluation(evaluation(1))
        with pytest.raises(sqlite3.IntegrityError):
            database.add_evaluation(evaluation(1))
        assert list(database.evaluations().values()) == [evaluation(1)]


def test_a_new_database_is_empty(tmp_path: Path) -> None:
    with opened(tmp_path / "run.sqlite") as database:
        assert database.evaluations() == {} and database.winners() == {}


@pytest.mark.parametrize(("name", "expected"), [("p10", 1.0), ("median", 1.1), ("p90", 1.2)])
def test_a_winner_knows_its_statistics_by_name(name: str, expected: float) -> None:
    assert WINNER.statistic_ms(name) == expected


# ---- damage


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("database") / "run.sqlite"
    with opened(path) as database:
        for number in range(80):
            database.add_evaluation(evaluation(number))
        database.add_winners({f"{number:010}": WINNER for number in range(5)})
    return path


def read_all(path: Path) -> dict[str, Evaluation]:
    with opened(path) as database:
        database.winners()
        return database.evaluations()


def test_a_file_that_is_no_database_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "run.sqlite"
    path.write_bytes(b"my notes about this run\n" * 100)
    with pytest.raises(RunError, match=r"run.sqlite: damaged \(file is not a database\); start again"):
        RunDatabase(path)
    with pytest.raises(RunError, match="damaged"):
        RunDatabase(tmp_path)


def test_a_row_that_is_no_architecture_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "run.sqlite"
    with opened(path) as database:
        database.add_evaluation(evaluation(1))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE evaluations SET arch = '{\"kernel'")
    with pytest.raises(RunError, match=r"run.sqlite: damaged"):
        read_all(path)


def test_an_identity_that_differs_from_the_one_in_the_index_is_damage(filled: Path, tmp_path: Path) -> None:
    name = evaluation(7).arch.id.encode()
    content = filled.read_bytes()
    assert content.count(name) == 2  # in the row, and in the index
    (tmp_path / "run.sqlite").write_bytes(content.replace(name, b"0000000000", 1))
    with pytest.raises(RunError, match="damaged"):
        read_all(tmp_path / "run.sqlite")


@given(st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_a_database_that_lost_its_end_is_damaged(filled: Path, share: float) -> None:
    content = filled.read_bytes()
    # Less than a page is an empty database to SQLite, and the last bytes are a time stamp and numbers, zeros if lost.
    fewest, most = 4096, len(content) - 512
    with new_path() as path:
        path.write_bytes(content[: int(fewest + share * (most - fewest))])
        with pytest.raises(RunError, match="damaged"):
            read_all(path)


@given(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=40))
@settings(max_examples=150, deadline=None)
def test_damage_anywhere_is_a_run_error_or_leaves_evaluations(filled: Path, share: float, damage: bytes) -> None:
    content = filled.read_bytes()
    with new_path() as path:
        start = int(share * len(content))
        path.write_bytes((content[:start] + damage + content[start + len(damage) :])[: len(content)])
        try:
            found = read_all(path)
        except RunError as error:
            assert str(error).startswith(str(path))
        else:
            assert all(isinstance(one, Evaluation) for one in found.values())


def test_reading_makes_no_database(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"run.sqlite: no such file; `hwnas search --resume --out .*` evaluates again"):
        RunDatabase.existing(tmp_path / "run.sqlite")
    assert not list(tmp_path.iterdir())
