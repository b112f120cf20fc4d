"""A table of measurements: JSON lines, a header first, then one line per measurement, appended and flushed.

A process may die at any byte: a torn last line is dropped by the reader and overwritten by the next writer.
"""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from filelock import FileLock, Timeout

from hwnas.errors import TableError
from hwnas.profiler.device import differences

SCHEMA: Final = 1
SPACE_FACTS: Final = {"reference", "options", "fingerprint"}
FIRST_BYTES: Final = b'{"kind": "header"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Conditions, the space's description, and rows with at least `kind`, `key`, `p10_ms`, `median_ms`, `p90_ms`."""

    path: Path
    conditions: Mapping[str, Any]
    space: Mapping[str, Any]
    rows: tuple[Mapping[str, Any], ...] = field(repr=False)

    def keys(self, kind: str) -> set[str]:
        return {row["key"] for row in self.rows if row["kind"] == kind}


def read_table(path: Path) -> Table:
    """Raises TableError where the file is missing, of another schema, or damaged before its last line."""
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise TableError(f"{path}: cannot be read ({error.strerror}); `hwnas profile --out {path}` makes it") from None
    whole = lines[:-1]  # what follows the last newline is empty, or torn
    if not whole:
        raise TableError(f"{path}: no complete line; delete it and profile again")
    parsed = [_parsed(line, path, number) for number, line in enumerate(whole, start=1)]
    header, *rows = parsed
    _check_header(header, path)
    for number, row in enumerate(rows, start=2):
        _check_row(row, path, number)
    return Table(path=path, conditions=header["conditions"], space=header["space"], rows=tuple(rows))


def _parsed(line: bytes, path: Path, number: int) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise TableError(f"{path}: line {number} is damaged; delete that line, `hwnas profile --out` measures it again")
    return value


def _check_header(header: Mapping[str, Any], path: Path) -> None:
    if header.get("kind") != "header":
        raise TableError(f"{path}: line 1 is not a table's header; is this a table of `hwnas profile`?")
    if header.get("schema") != SCHEMA:
        raise TableError(
            f"{path}: schema {header.get('schema')}, this version reads {SCHEMA}; update hwnas or profile again"
        )
    conditions, space = header.get("conditions"), header.get("space")
    if not isinstance(conditions, dict) or not isinstance(space, dict) or not set(space) >= SPACE_FACTS:
        raise TableError(f"{path}: line 1 does not say under what conditions and for which space; profile again")


def _check_row(row: Mapping[str, Any], path: Path, number: int) -> None:
    times: list[Any] = [row.get(name) for name in ("p10_ms", "median_ms", "p90_ms", "reference_ms")]
    if not all(type(time) in (float, int) and 0 < time < float("inf") for time in times) or times[:3] != sorted(
        times[:3]
    ):
        raise TableError(f"{path}: line {number} has no positive times in order; delete that line and profile again")
    if row.get("kind") not in ("operator", "network") or not isinstance(row.get("key"), str):
        raise TableError(f"{path}: line {number} is neither an operator's nor a network's; delete it and profile again")


class TableWriter:
    """Appends to a table, new or existing, that is its own while it is open."""

    def __init__(self, path: Path, conditions: Mapping[str, Any], space: Mapping[str, Any]) -> None:
        """Raises TableError if another process writes the file, or if it was measured under other conditions."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._lock = FileLock(path.with_name(f".{path.name}.lock"))
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise TableError(f"{path}: another process is writing it; wait, or give another --out") from None
        try:
            self.rows = self._opened(conditions, space)
        except BaseException:
            self._lock.release()
            raise

    def _opened(self, conditions: Mapping[str, Any], space: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        if not self._path.exists() or self._is_torn_header():
            self._path.write_bytes(b"")
            header = {"kind": "header", "schema": SCHEMA, "conditions": dict(conditions), "space": dict(space)}
            self._write([header])
            return []
        table = read_table(self._path)
        require_conditions(table, conditions)
        if table.space["fingerprint"] != space["fingerprint"]:
            raise TableError(
                f"{self._path}: measured for space {table.space['reference']} {table.space['options']}, "
                f"not {space['reference']} {space['options']}; give another --out"
            )
        self._drop_torn_line()
        return list(table.rows)

    def _is_torn_header(self) -> bool:
        """Whether a writer died before its first line was whole. Any other file without a line is not ours to empty."""
        content = self._path.read_bytes()
        return b"\n" not in content and content[: len(FIRST_BYTES)] == FIRST_BYTES[: len(content)]

    def _drop_torn_line(self) -> None:
        with self._path.open("r+b") as file:
            file.truncate(file.read().rfind(b"\n") + 1)

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        rows = list(rows)
        self._write(rows)
        self.rows += rows

    def _write(self, rows: Iterable[Mapping[str, Any]]) -> None:
        with self._path.open("ab") as file:
            file.write(b"".join(json.dumps(row).encode() + b"\n" for row in rows))
            file.flush()
            os.fsync(file.fileno())

    def __enter__(self) -> "TableWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def require_conditions(table: Table, conditions: Mapping[str, Any]) -> None:
    """Raises TableError where a table was measured under other conditions."""
    found = differences(conditions, table.conditions)
    if found:
        raise TableError(f"{table.path}: measured under other conditions: {'; '.join(found)}; profile again for these")
