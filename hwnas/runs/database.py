"""The run's database: every evaluation and every measurement of a winner, as it happened. SQLite, write-ahead log."""

import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any, Final, final

from hwnas.core.arch import Arch
from hwnas.errors import RunError

TABLES: Final = """
CREATE TABLE IF NOT EXISTS evaluations (
    arch_id TEXT PRIMARY KEY, arch TEXT NOT NULL, loss_val REAL NOT NULL, accuracy_val REAL NOT NULL,
    predicted_ms REAL NOT NULL, at TEXT DEFAULT CURRENT_TIMESTAMP
);
CREATE TABLE IF NOT EXISTS winners (
    arch_id TEXT PRIMARY KEY, loss_test REAL NOT NULL, accuracy_test REAL NOT NULL, measured_ms REAL,
    measured_median_ms REAL, measured_p90_ms REAL, within_budget INTEGER NOT NULL,
    at TEXT DEFAULT CURRENT_TIMESTAMP
);
"""
# What SQLite, its Python layer (names that are not UTF-8) and JSON say of damaged pages.
DAMAGE: Final = (sqlite3.DatabaseError, TypeError, ValueError)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One architecture, judged on the validation split: with the supernet's weights, or with its own."""

    arch: Arch
    loss_val: float
    accuracy_val: float
    predicted_ms: float


@dataclass(frozen=True, slots=True)
class Winner:
    """One exported network: test loss (nats), accuracy and latencies as the run's runtime runs it. `measured_ms` is the p10.

    Latencies are None where the device is not here, `within_budget` then by prediction, and the rest as run here.
    """

    loss_test: float
    accuracy_test: float
    measured_ms: float | None
    measured_median_ms: float | None
    measured_p90_ms: float | None
    within_budget: bool

    def statistic_ms(self, name: str) -> float | None:
        """`p10`, `median` or `p90`."""
        return {"p10": self.measured_ms, "median": self.measured_median_ms, "p90": self.measured_p90_ms}[name]


def _connected(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        # A lost last page would read as zeros; thousands of rows are checked in milliseconds.
        ((verdict,), *_) = connection.execute("PRAGMA integrity_check")
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)
        connection.executescript(TABLES)
    except BaseException:  # interruptions, too: raised on, but the connection must go
        connection.close()
        raise
    return connection


@final
class RunDatabase:
    """Append-only; committed at every row, so that a killed search loses at most the evaluation it was in."""

    def __init__(self, path: Path) -> None:
        """Raises RunError if the file is damaged."""
        self._path = path
        try:
            self._connection = _connected(path)
        except DAMAGE as error:
            raise RunError(f"{path}: damaged ({error}); start again under another --out") from None

    @classmethod
    def existing(cls, path: Path) -> "RunDatabase":
        """For commands that only read. Raises RunError, and makes no file, where there is none."""
        if not path.is_file():
            raise RunError(f"{path}: no such file; `hwnas search --resume --out {path.parent}` evaluates again")
        return cls(path)

    def evaluations(self) -> dict[str, Evaluation]:
        """By architecture id, in the order in which they happened."""
        rows = self._rows("SELECT arch_id, arch, loss_val, accuracy_val, predicted_ms FROM evaluations ORDER BY rowid")
        try:
            return {row[0]: Evaluation(Arch(json.loads(row[1])), *row[2:]) for row in rows}
        except DAMAGE as error:
            raise RunError(f"{self._path}: damaged ({error}); start again under another --out") from None

    def winners(self) -> dict[str, Winner]:
        """By architecture id, in the order in which they were measured."""
        names = ", ".join(field.name for field in fields(Winner))
        rows = self._rows(f"SELECT arch_id, {names} FROM winners ORDER BY rowid")
        return {row[0]: Winner(row[1], row[2], row[3], row[4], row[5], bool(row[6])) for row in rows}

    def _rows(self, query: str) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(query).fetchall()
        except DAMAGE as error:
            raise RunError(f"{self._path}: damaged ({error}); start again under another --out") from None

    def add_evaluation(self, evaluation: Evaluation) -> None:
        arch, *scores = (getattr(evaluation, field.name) for field in fields(evaluation))
        self._connection.execute(
            "INSERT INTO evaluations (arch_id, arch, loss_val, accuracy_val, predicted_ms) VALUES (?, ?, ?, ?, ?)",
            (arch.id, arch.key, *scores),
        )

    def add_winners(self, winners: Mapping[str, Winner]) -> None:
        """All or none."""
        names = ", ".join(field.name for field in fields(Winner))
        with self._connection:  # commits, or rolls back
            self._connection.execute("BEGIN")
            self._connection.executemany(
                f"INSERT INTO winners (arch_id, {names}) VALUES (?, ?, ?, ?, ?, ?, ?)",
                [(arch_id, *astuple(winner)) for arch_id, winner in winners.items()],
            )

    def forget_winners(self, arch_ids: Iterable[str]) -> None:
        """So that they are measured again."""
        self._connection.executemany("DELETE FROM winners WHERE arch_id = ?", [(arch_id,) for arch_id in arch_ids])

    def close(self) -> None:
        self._connection.close()
