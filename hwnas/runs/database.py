"""The run's database: every evaluation, cost, measurement and test, as it happened. SQLite, write-ahead log."""

import errno
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

from hwnas.core.arch import Arch
from hwnas.core.files import json_of
from hwnas.errors import RunError

# The layout of the tables, which SQLite keeps as `user_version`; layout 1 had fixed columns of loss and accuracy, and kept 0.
LAYOUT: Final = 2
# The phases: networks with the weights of the search, and after final training.
SEARCH: Final = "search"
FINAL: Final = "final"
_TABLES: Final = f"""
BEGIN;
CREATE TABLE evaluations (
    arch_id TEXT NOT NULL, phase TEXT NOT NULL, arch TEXT NOT NULL, stages TEXT NOT NULL, metrics TEXT NOT NULL,
    at TEXT DEFAULT CURRENT_TIMESTAMP, PRIMARY KEY (arch_id, phase)
);
CREATE TABLE costs (
    arch_id TEXT NOT NULL PRIMARY KEY, costs TEXT NOT NULL, at TEXT DEFAULT CURRENT_TIMESTAMP
);
CREATE TABLE measurements (
    arch_id TEXT NOT NULL, device TEXT NOT NULL, p10_ms REAL NOT NULL, median_ms REAL NOT NULL, p90_ms REAL NOT NULL,
    at TEXT DEFAULT CURRENT_TIMESTAMP, PRIMARY KEY (arch_id, device)
);
CREATE TABLE tests (
    arch_id TEXT NOT NULL, phase TEXT NOT NULL, metrics TEXT NOT NULL,
    at TEXT DEFAULT CURRENT_TIMESTAMP, PRIMARY KEY (arch_id, phase)
);
PRAGMA user_version = {LAYOUT};
COMMIT;
"""
# The system's number of SQLite's errors that a person can do something about.
_ERRNO: Final = {sqlite3.SQLITE_FULL: errno.ENOSPC, sqlite3.SQLITE_READONLY: errno.EROFS}
# The exceptions of SQLite, of its Python layer (names that are not UTF-8) and of JSON for damaged pages.
DAMAGE: Final = (sqlite3.DatabaseError, TypeError, ValueError)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One architecture on the validation split: its metrics by name, and the names of the source of its weights and of the
    stages that made the network from them."""

    arch: Arch
    stages: tuple[str, ...]
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Latencies:
    """Measured latencies of one exported network on one device, in milliseconds."""

    p10_ms: float
    median_ms: float
    p90_ms: float

    def statistic_ms(self, name: str) -> float:
        """Returns the statistic of a name: `p10`, `median` or `p90`."""
        return {"p10": self.p10_ms, "median": self.median_ms, "p90": self.p90_ms}[name]


@final
class RunDatabase:
    """Append-only tables. Every addition is committed, so that a killed search loses at most the one it was in.

    `phase` is `search`, or `final` after final training. Metrics need not be finite.
    """

    def __init__(self, path: Path) -> None:
        """Raises RunError if the file is damaged, or of another version of hwnas."""
        self._path = path
        with self._damage():
            self._connection = _connected(path)

    @classmethod
    def existing(cls, path: Path) -> "RunDatabase":
        """Opens a database for reading. Raises RunError, and makes no file, where there is none."""
        if not path.is_file():
            raise RunError(f"{path}: no such file; `hwnas search --resume --out {path.parent}` evaluates again")
        return cls(path)

    def evaluations(self, phase: str = SEARCH) -> dict[str, Evaluation]:
        """Returns the evaluations of a phase by architecture id, in the order in which they happened."""
        query = "SELECT arch_id, arch, stages, metrics FROM evaluations WHERE phase = ? ORDER BY rowid"
        with self._damage():
            return {
                arch_id: Evaluation(Arch(json_of(arch)), _names(stages), _numbers(metrics))
                for arch_id, arch, stages, metrics in self._connection.execute(query, (phase,))
            }

    def add_evaluations(self, phase: str, evaluations: Iterable[Evaluation]) -> None:
        """Adds all evaluations or none. Raises sqlite3.IntegrityError for an architecture that the phase knows."""
        self._add(
            "INSERT INTO evaluations (arch_id, phase, arch, stages, metrics) VALUES (?, ?, ?, ?, ?)",
            [
                (one.arch.id, phase, one.arch.key, json.dumps(one.stages), json.dumps(dict(one.metrics)))
                for one in evaluations
            ],
        )

    def costs(self) -> dict[str, dict[str, float]]:
        """Returns the expected costs of architectures, by id and name, as far as they were added."""
        with self._damage():
            rows = self._connection.execute("SELECT arch_id, costs FROM costs ORDER BY rowid")
            return {arch_id: _numbers(costs) for arch_id, costs in rows}

    def add_costs(self, costs: Mapping[str, Mapping[str, float]]) -> None:
        """Adds the costs of all architectures, by id and name, or of none; those of a known architecture replace the old."""
        self._add(
            "INSERT OR REPLACE INTO costs (arch_id, costs) VALUES (?, ?)",
            [(arch_id, json.dumps(dict(values))) for arch_id, values in costs.items()],
        )

    def measurements(self) -> dict[tuple[str, str], Latencies]:
        """Returns the measured latencies by architecture id and device, in the order in which they were measured."""
        query = "SELECT arch_id, device, p10_ms, median_ms, p90_ms FROM measurements ORDER BY rowid"
        with self._damage():
            rows = self._connection.execute(query)
            return {(arch_id, device): Latencies(*map(float, numbers)) for arch_id, device, *numbers in rows}

    def add_measurements(self, measurements: Mapping[tuple[str, str], Latencies]) -> None:
        """Adds all measurements or none. Raises sqlite3.IntegrityError for what was measured already."""
        self._add(
            "INSERT INTO measurements (arch_id, device, p10_ms, median_ms, p90_ms) VALUES (?, ?, ?, ?, ?)",
            [
                (arch_id, device, latencies.p10_ms, latencies.median_ms, latencies.p90_ms)
                for (arch_id, device), latencies in measurements.items()
            ],
        )

    def last_measurement(self) -> int:
        """Returns the number of the last measurement; those that follow have higher ones."""
        with self._damage():
            ((number,),) = self._connection.execute("SELECT coalesce(max(rowid), 0) FROM measurements")
            return int(number)

    def forget_measurements(self, arch_ids: Iterable[str], after: int = 0) -> None:
        """Deletes measurements of architectures on every device, so that they are measured again: those after a number."""
        rows = [(arch_id, after) for arch_id in arch_ids]
        self._add("DELETE FROM measurements WHERE arch_id = ? AND rowid > ?", rows)

    def tests(self, phase: str) -> dict[str, dict[str, float]]:
        """Returns the metrics of exported models on the test split, by architecture id."""
        with self._damage():
            rows = self._connection.execute(
                "SELECT arch_id, metrics FROM tests WHERE phase = ? ORDER BY rowid", (phase,)
            )
            return {arch_id: _numbers(metrics) for arch_id, metrics in rows}

    def add_tests(self, phase: str, tests: Mapping[str, Mapping[str, float]]) -> None:
        """Adds all tests or none. Raises sqlite3.IntegrityError for an architecture that the phase knows."""
        self._add(
            "INSERT INTO tests (arch_id, phase, metrics) VALUES (?, ?, ?)",
            [(arch_id, phase, json.dumps(dict(metrics))) for arch_id, metrics in tests.items()],
        )

    def forget_tests(self) -> None:
        """Deletes the metrics on the test split, so that models are run again."""
        self._add("DELETE FROM tests WHERE phase = ?", [(SEARCH,), (FINAL,)])

    def forget_final(self) -> None:
        """Deletes all that is known of networks after final training."""
        self._add("DELETE FROM tests WHERE phase = ?", [(FINAL,)])
        self._add("DELETE FROM evaluations WHERE phase = ?", [(FINAL,)])

    def close(self) -> None:
        self._connection.close()

    def _add(self, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
        try:
            with self._connection:  # commits, or rolls back
                self._connection.execute("BEGIN")
                self._connection.executemany(statement, rows)
        except sqlite3.OperationalError as error:
            raise self._system_error(error) from None

    @contextmanager
    def _damage(self) -> Iterator[None]:
        """Turns the exceptions of damaged content into a RunError, and those of a full disk into an OSError."""
        try:
            yield
        except DAMAGE as error:
            if getattr(error, "sqlite_errorcode", None) in _ERRNO:
                raise self._system_error(error) from None
            raise RunError(f"{self._path}: damaged ({error}); start again under another --out") from None

    def _system_error(self, error: Exception) -> OSError:
        code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_IOERR)
        return OSError(_ERRNO.get(code, errno.EIO), str(error), str(self._path))


def _connected(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute(
            "PRAGMA trusted_schema=OFF"
        )  # the file may be of others: its views and triggers call nothing
        connection.execute("PRAGMA journal_mode=WAL")
        # A lost last page would read as zeros; thousands of rows are checked in milliseconds.
        ((verdict,), *_) = connection.execute("PRAGMA integrity_check")
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)
        _require_layout(connection, path)
    except BaseException:  # interruptions, too: raised on, but the connection must go
        connection.close()
        raise
    return connection


def _require_layout(connection: sqlite3.Connection, path: Path) -> None:
    """Makes the tables of an empty database. Raises RunError where there are tables of another layout."""
    ((layout,),) = connection.execute("PRAGMA user_version")
    ((tables,),) = connection.execute("SELECT count(*) FROM sqlite_master")
    if not tables and not layout:
        connection.executescript(_TABLES)
    elif layout != LAYOUT:
        raise RunError(
            f"{path}: has layout {layout or 1} of another version of hwnas, this version reads layout {LAYOUT}; "
            "start again under another --out"
        )


def _names(text: str) -> tuple[str, ...]:
    names = json_of(text)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("stages are no list of names")
    return tuple(names)


def _numbers(text: str) -> dict[str, float]:
    numbers = json_of(text)
    if not isinstance(numbers, dict):
        raise ValueError("no numbers by name")
    return {name: float(number) for name, number in numbers.items()}
