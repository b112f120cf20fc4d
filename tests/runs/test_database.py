"""Laws of the run's database: what happened is there, in its order, after any restart; a damaged file says so."""

import errno
import math
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.core.arch import Arch
from hwnas.errors import RunError
from hwnas.runs.database import LAYOUT, Evaluation, Latencies, RunDatabase

NUMBERS = st.floats(allow_nan=False)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
IDS = st.text("0123456789abcdef", min_size=10, max_size=10)
ARCHS = st.dictionaries(st.sampled_from("abcd"), st.integers(0, 9) | st.booleans() | st.text(max_size=3), min_size=1)
METRICS = st.dictionaries(st.text(max_size=6), NUMBERS, max_size=4)
STAGES = st.lists(st.text(max_size=8), max_size=3).map(tuple)
EVALUATIONS = st.lists(
    st.builds(Evaluation, st.builds(Arch, ARCHS), STAGES, METRICS),
    unique_by=lambda evaluation: evaluation.arch.id,
    max_size=8,
)
DEVICES = st.sampled_from(["cpu", "amd-epyc", "my board"])
MEASUREMENTS = st.dictionaries(st.tuples(IDS, DEVICES), st.builds(Latencies, FINITE, FINITE, FINITE), max_size=6)
BY_ID = st.dictionaries(IDS, METRICS, max_size=6)
LATENCIES = Latencies(1.0, 1.1, 1.2)


def evaluation(number: int) -> Evaluation:
    metrics = {"loss": 1.0 / (number + 1), "accuracy": 0.5}
    return Evaluation(Arch({"kernel": number}), ("supernet", "recalibrate"), metrics)


@contextmanager
def opened(path: Path) -> Iterator[RunDatabase]:
    with closing(RunDatabase(path)) as database:
        yield database


@contextmanager
def new_path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "run.sqlite"


# ---- what happened is there


@given(EVALUATIONS, st.integers(0, 8), st.sampled_from(["search", "final"]))
@settings(max_examples=25, deadline=None)
def test_evaluations_come_back_exactly_and_in_order_however_often_the_file_is_reopened(
    evaluations: list[Evaluation], restart: int, phase: str
) -> None:
    with new_path() as path:
        for part in (evaluations[:restart], evaluations[restart:]):
            with opened(path) as database:
                database.add_evaluations(phase, part)
        with opened(path) as database:
            assert list(database.evaluations(phase).items()) == [(one.arch.id, one) for one in evaluations]
            assert database.evaluations({"search": "final", "final": "search"}[phase]) == {}


@given(MEASUREMENTS, st.integers(0, 6))
@settings(max_examples=25, deadline=None)
def test_measurements_come_back_exactly_and_in_order(
    measurements: dict[tuple[str, str], Latencies], restart: int
) -> None:
    items = list(measurements.items())
    with new_path() as path:
        for part in (items[:restart], items[restart:]):
            with opened(path) as database:
                database.add_measurements(dict(part))
        with opened(path) as database:
            assert list(database.measurements().items()) == items


@given(BY_ID, BY_ID)
@settings(max_examples=25, deadline=None)
def test_tests_and_costs_come_back_exactly_and_in_order(
    tests: dict[str, Mapping[str, float]], costs: dict[str, Mapping[str, float]]
) -> None:
    with new_path() as path:
        with opened(path) as database:
            database.add_tests("final", tests)
            database.add_costs(costs)
        with opened(path) as database:
            assert list(database.tests("final").items()) == list(tests.items())
            assert database.tests("search") == {}
            assert list(database.costs().items()) == list(costs.items())


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_metrics_that_are_not_finite_come_back(tmp_path: Path, value: float) -> None:
    one = Evaluation(Arch({"kernel": 3}), ("untrained",), {"loss": 0.5, "perplexity": value})
    with opened(tmp_path / "run.sqlite") as database:
        database.add_evaluations("search", [one])
        database.add_tests("search", {one.arch.id: one.metrics})
    with opened(tmp_path / "run.sqlite") as database:
        (stored,) = database.evaluations().values()
        found = [stored.metrics["perplexity"], database.tests("search")[one.arch.id]["perplexity"]]
    assert [repr(number) for number in found] == [repr(value)] * 2


def test_an_evaluation_is_kept_without_closing_the_database(tmp_path: Path) -> None:
    with opened(tmp_path / "run.sqlite") as database, opened(tmp_path / "run.sqlite") as reader:
        database.add_evaluations("search", [evaluation(1)])
        assert list(reader.evaluations().values()) == [evaluation(1)]


def test_additions_are_all_or_none_and_a_failure_does_not_stop_what_follows(tmp_path: Path) -> None:
    path = tmp_path / "run.sqlite"
    with opened(path) as database:
        database.add_evaluations("search", [evaluation(1)])
        database.add_measurements({("a", "cpu"): LATENCIES})
        database.add_tests("search", {"a": {"loss": 1.0}})
        with pytest.raises(sqlite3.IntegrityError):
            database.add_evaluations("search", [evaluation(2), evaluation(3), evaluation(1)])
        with pytest.raises(sqlite3.IntegrityError):
            database.add_measurements({("b", "cpu"): LATENCIES, ("a", "cpu"): LATENCIES})
        with pytest.raises(sqlite3.IntegrityError):
            database.add_tests("search", {"b": {"loss": 1.0}, "a": {"loss": 1.0}})
        database.add_evaluations("search", [evaluation(4)])
        database.add_measurements({("a", "amd-epyc"): LATENCIES})
        database.add_tests("final", {"a": {"loss": 0.5}})
    with opened(path) as database:
        assert list(database.evaluations().values()) == [evaluation(1), evaluation(4)]
        assert list(database.measurements()) == [("a", "cpu"), ("a", "amd-epyc")]
        assert (database.tests("search"), database.tests("final")) == ({"a": {"loss": 1.0}}, {"a": {"loss": 0.5}})


def test_an_architecture_is_evaluated_once_in_each_phase(tmp_path: Path) -> None:
    with opened(tmp_path / "run.sqlite") as database:
        for phase in ("search", "final"):
            database.add_evaluations(phase, [evaluation(1)])
            with pytest.raises(sqlite3.IntegrityError):
                database.add_evaluations(phase, [evaluation(1)])
            assert list(database.evaluations(phase).values()) == [evaluation(1)]


def test_what_is_forgotten_is_forgotten_on_every_device_and_can_be_measured_again(tmp_path: Path) -> None:
    again = Latencies(2.0, 2.1, 2.2)
    with opened(tmp_path / "run.sqlite") as database:
        database.add_measurements({(arch_id, device): LATENCIES for arch_id in "ab" for device in ("cpu", "amd-epyc")})
        database.forget_measurements(["a", "unknown"])
        assert list(database.measurements()) == [("b", "cpu"), ("b", "amd-epyc")]
        database.add_measurements({("a", "cpu"): again})
        assert database.measurements()["a", "cpu"] == again


def test_costs_that_are_added_again_replace_the_old_ones(tmp_path: Path) -> None:
    with opened(tmp_path / "run.sqlite") as database:
        database.add_costs({"a": {"latency": 1.0}, "b": {"latency": 2.0}})
        database.add_costs({"a": {"latency": 1.5, "params": 100.0}})
        assert database.costs() == {"a": {"latency": 1.5, "params": 100.0}, "b": {"latency": 2.0}}


def test_a_new_database_is_empty(tmp_path: Path) -> None:
    with opened(tmp_path / "run.sqlite") as database:
        assert database.evaluations() == database.evaluations("final") == database.costs() == {}
        assert database.measurements() == database.tests("search") == {}


@pytest.mark.parametrize(("name", "expected"), [("p10", 1.0), ("median", 1.1), ("p90", 1.2)])
def test_latencies_know_their_statistics_by_name(name: str, expected: float) -> None:
    assert LATENCIES.statistic_ms(name) == expected


# ---- other versions

OLD_TABLE = "CREATE TABLE evaluations (arch_id TEXT PRIMARY KEY, arch TEXT NOT NULL, loss_val REAL NOT NULL)"


@pytest.mark.parametrize(("layout", "said"), [(0, 1), (LAYOUT + 1, LAYOUT + 1)])
def test_a_database_of_another_layout_is_refused_in_one_line_and_left_alone(
    tmp_path: Path, layout: int, said: int
) -> None:
    path = tmp_path / "run.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(OLD_TABLE)
        connection.execute(f"PRAGMA user_version = {layout}")
    with pytest.raises(RunError) as refused:
        RunDatabase(path)
    assert str(refused.value) == (
        f"{path}: has layout {said} of another version of hwnas, this version reads layout {LAYOUT}; "
        "start again under another --out"
    )
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall() == [
            ("evaluations",)
        ]


# ---- damage


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("database") / "run.sqlite"
    with opened(path) as database:
        database.add_evaluations("search", [evaluation(number) for number in range(80)])
        database.add_costs({f"{number:010}": {"latency": 0.1 * number} for number in range(80)})
        database.add_measurements({(f"{number:010}", "cpu"): LATENCIES for number in range(5)})
        database.add_tests("search", {f"{number:010}": {"loss": 0.5, "accuracy": 0.9} for number in range(5)})
    return path


def read_all(path: Path) -> dict[str, Evaluation]:
    with opened(path) as database:
        database.costs(), database.measurements(), database.tests("search")
        return database.evaluations()


def test_a_file_that_is_no_database_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "run.sqlite"
    path.write_bytes(b"my notes about this run\n" * 100)
    with pytest.raises(RunError, match=r"run.sqlite: damaged \(file is not a database\); start again"):
        RunDatabase(path)
    with pytest.raises(RunError, match="damaged"):
        RunDatabase(tmp_path)


@pytest.mark.parametrize(
    ("column", "text"),
    [
        ("arch", '{"kernel'),
        ("arch", "[" * 200_000),
        ("metrics", "[" * 200_000),
        ("stages", '"supernet"'),
        ("stages", "[1]"),
        ("metrics", "[0.5]"),
        ("metrics", '{"loss": null}'),
        ("metrics", '{"loss": "low"}'),
    ],
)
def test_a_row_that_is_no_evaluation_is_damage(tmp_path: Path, column: str, text: str) -> None:
    path = tmp_path / "run.sqlite"
    with opened(path) as database:
        database.add_evaluations("search", [evaluation(1)])
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"UPDATE evaluations SET {column} = ?", (text,))
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


def test_a_full_disk_names_the_database_and_leaves_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "run.sqlite"
    database = RunDatabase(path)
    (pages,) = database._connection.execute("PRAGMA page_count").fetchone()
    database._connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(OSError, match="database or disk is full") as caught:
        database.add_costs({str(number): {"params": float(number)} for number in range(10_000)})
    assert (caught.value.filename, caught.value.errno) == (str(path), errno.ENOSPC)
    assert database.costs() == {}
    database.close()
