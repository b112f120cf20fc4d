"""Writes tables: appends and flushes rows, one process at a time, and merges files of equal conditions."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from filelock import FileLock, Timeout

from hwnas.core.files import names_file, replace_file, require_regular
from hwnas.errors import TableError
from hwnas.profiler.table import (
    Identity,
    Row,
    Table,
    header_line,
    latest,
    line,
    read_table,
    require_conditions,
    require_space,
    whole_lines,
)

FIRST_BYTES: Final = b'{"kind": "header"'


class TableWriter:
    """Appends rows to a new or existing table, and keeps other processes from writing it while it is open.

    `rows` has the rows that count, by their identity.
    """

    def __init__(
        self,
        path: Path,
        conditions: Mapping[str, Any],
        space: Mapping[str, Any],
        provenance: Mapping[str, Any] | None = None,
    ) -> None:
        """Opens the table.

        Raises TableError if another process writes the file, or if its rows have other conditions or another space, and
        HwnasError if a device, a pipe or a socket is at `path`.
        """
        if path.is_dir():
            raise TableError(
                f"{path}: is a folder; give the name of a file in it, such as --out {path / 'table.jsonl'}"
            )
        require_regular(path, "--out")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._lock = FileLock(path.with_name(f".{path.name}.lock"))
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise TableError(f"{path}: another process is writing it; wait, or give another --out") from None
        try:
            self.rows: dict[Identity, Row] = self._opened(conditions, space, provenance or {})
        except BaseException:  # interruptions, too: the lock must go in every case
            self._lock.release()
            raise

    def _opened(
        self, conditions: Mapping[str, Any], space: Mapping[str, Any], provenance: Mapping[str, Any]
    ) -> dict[Identity, Row]:
        if not self._path.exists() or self._is_torn_header():
            self._path.write_bytes(b"")
            self._write(header_line(conditions, space, provenance))
            return {}
        table = read_table(self._path)
        require_conditions(table, conditions)
        require_space(table, space)
        self._write_anew_where_edited()
        return latest(table.rows)

    def _is_torn_header(self) -> bool:
        """Returns True if a writer died before its first line was whole.

        Any other file without a complete line belongs to someone else, and is not emptied.
        """
        content = self._path.read_bytes()
        return not any(whole_lines(content)) and content[: len(FIRST_BYTES)] == FIRST_BYTES[: len(content)]

    def _write_anew_where_edited(self) -> None:
        """Drops a torn last line, and brings lines that another program has saved to the endings and encoding of a table."""
        content = self._path.read_bytes()
        whole = b"".join(text + b"\n" for text in whole_lines(content) if text)
        if whole != content:
            replace_file(self._path.resolve(), whole)  # a link stays one

    def append(self, rows: Iterable[Row]) -> None:
        """Writes rows to the disk and counts them."""
        rows = list(rows)
        self._write(b"".join(line(row) for row in rows))
        self.rows = latest([*self.rows.values(), *rows])

    def _write(self, content: bytes) -> None:
        with names_file(self._path), self._path.open("ab") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())

    def __enter__(self) -> "TableWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def merge_tables(paths: Sequence[Path], out: Path) -> Table:
    """Merges tables of the same conditions and space into the file `out`, and returns the merged table.

    If two files measured the same, the later one's row counts. Raises TableError if conditions or spaces differ, or if `out`
    exists already.
    """
    if out.exists():
        raise TableError(f"{out} exists already; give another --out")
    first, *others = (read_table(path) for path in paths)
    for other in others:
        require_conditions(other, first.conditions)
        require_space(other, first.space)
    rows = latest([row for table in (first, *others) for row in table.rows])
    header = header_line(first.conditions, first.space, first.provenance)
    replace_file(out, header + b"".join(line(row) for row in rows.values()))
    return read_table(out)
