"""Writing tables: rows are appended and flushed, one process at a time; files of equal conditions merge."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from filelock import FileLock, Timeout

from hwnas.core.files import replace_file
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
)

FIRST_BYTES: Final = b'{"kind": "header"'


class TableWriter:
    """Appends to a table, new or existing, that is its own while it is open. `rows` are those that count."""

    def __init__(
        self,
        path: Path,
        conditions: Mapping[str, Any],
        space: Mapping[str, Any],
        provenance: Mapping[str, Any] | None = None,
    ) -> None:
        """Raises TableError if another process writes the file, or if it was measured under other conditions."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._lock = FileLock(path.with_name(f".{path.name}.lock"))
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise TableError(f"{path}: another process is writing it; wait, or give another --out") from None
        try:
            self.rows: dict[Identity, Row] = self._opened(conditions, space, provenance or {})
        except BaseException:  # interruptions, too: raised on, but the lock must go
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
        self._drop_torn_line()
        return latest(table.rows)

    def _is_torn_header(self) -> bool:
        """Whether a writer died before its first line was whole. Any other file without a line is not ours to empty."""
        content = self._path.read_bytes()
        return b"\n" not in content and content[: len(FIRST_BYTES)] == FIRST_BYTES[: len(content)]

    def _drop_torn_line(self) -> None:
        with self._path.open("r+b") as file:
            file.truncate(file.read().rfind(b"\n") + 1)

    def append(self, rows: Iterable[Row]) -> None:
        rows = list(rows)
        self._write(b"".join(line(row) for row in rows))
        self.rows = latest([*self.rows.values(), *rows])

    def _write(self, content: bytes) -> None:
        with self._path.open("ab") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())

    def __enter__(self) -> "TableWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def merge_tables(paths: Sequence[Path], out: Path) -> Table:
    """One table of several of the same conditions and space; of what was measured twice, the later file's counts.

    Raises TableError where conditions or spaces differ, or `out` is there already.
    """
    if out.exists():
        raise TableError(f"{out} is there already; give another --out")
    first, *others = (read_table(path) for path in paths)
    for other in others:
        require_conditions(other, first.conditions)
        require_space(other, first.space)
    rows = latest([row for table in (first, *others) for row in table.rows])
    header = header_line(first.conditions, first.space, first.provenance)
    replace_file(out, header + b"".join(line(row) for row in rows.values()))
    return read_table(out)
