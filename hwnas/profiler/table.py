"""The format of a table of measurements: JSON lines with checksums, a header first, then one line per measurement.

A process may die at any byte: a torn last line is dropped. Line endings, encoding, a byte-order mark and a missing last newline
are no content: a table that another program has saved is read. If something was measured twice, the last measurement counts,
unless only an earlier one converged.
"""

import json
import re
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from hwnas.core.files import decoded, json_of
from hwnas.errors import TableError
from hwnas.profiler.device import differences

SCHEMA: Final = 2
SPACE_FACTS: Final = {"reference", "options", "fingerprint"}
KINDS: Final = ("floor", "operator", "network")
# The fields of an energy: a row has both of them or neither.
ENERGY_FIELDS: Final = ("energy_mj", "energy_uncertainty")
CHECKED: Final = re.compile(rb'(\{.*), "crc32": "([0-9a-f]{8})"\}', re.DOTALL)

Row = Mapping[str, Any]
Identity = tuple[str, str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table as it was read: its conditions, the description of its space, its provenance and its rows.

    A row has at least `kind`, `key`, `p10_ms`, `median_ms`, `p90_ms`, `reference_ms` (of the reference network in the same
    rounds) and `converged`. If energy was measured, it also has `energy_mj` of one call and the relative
    `energy_uncertainty`.
    """

    path: Path
    conditions: Mapping[str, Any]
    space: Mapping[str, Any]
    provenance: Mapping[str, Any]
    rows: tuple[Row, ...] = field(repr=False)

    def keys(self, kind: str) -> set[str]:
        """Returns the keys of all rows of one kind."""
        return {row["key"] for row in self.rows if row["kind"] == kind}

    @property
    def unconverged(self) -> tuple[Row, ...]:
        """The rows that did not converge, the least precise first."""
        return tuple(sorted((row for row in self.rows if not row["converged"]), key=lambda row: -row["half_width"]))


def identity(row: Row) -> Identity:
    """Returns what a row measured: its kind, its key, and the number of its repeat."""
    return (row["kind"], row["key"], row.get("repeat", 0))


def latest(rows: Iterable[Row]) -> dict[Identity, Row]:
    """Returns the row that counts, for each identity."""
    result: dict[Identity, Row] = {}
    for row in rows:
        known = result.get(identity(row))
        if known is None or row["converged"] or not known["converged"]:
            result[identity(row)] = row
    return result


def header_line(conditions: Mapping[str, Any], space: Mapping[str, Any], provenance: Mapping[str, Any]) -> bytes:
    """Returns the first line of a table."""
    return line(
        {
            "kind": "header",
            "schema": SCHEMA,
            "conditions": dict(conditions),
            "space": dict(space),
            "provenance": dict(provenance),
        }
    )


def line(values: Mapping[str, Any]) -> bytes:
    """Returns the values as a line of JSON, with a checksum as the last entry."""
    body = json.dumps(values).encode()
    return body[:-1] + f', "crc32": "{zlib.crc32(body):08x}"}}\n'.encode()


def read_table(path: Path) -> Table:
    """Reads a table. Raises TableError if the file is missing, of another schema, or damaged before its last line."""
    try:
        whole = whole_lines(path.read_bytes())
    except FileNotFoundError as error:
        raise TableError(f"{path}: cannot be read ({error.strerror}); `hwnas profile --out {path}` makes it") from None
    except IsADirectoryError:
        raise TableError(f"{path}: is a folder; give the file of a table, such as {path / 'table.jsonl'}") from None
    except OSError as error:
        raise TableError(f"{path}: cannot be read ({error.strerror}); give a table that you may read") from None
    if any(b"\0" in text[:4] for text in whole[:1]):
        raise TableError(f"{path}: is UTF-16 or UTF-32 without a byte-order mark; save it as UTF-8")
    numbered = [(number, _parsed(text, path, number)) for number, text in enumerate(whole, start=1) if text]
    if not numbered:
        raise TableError(f"{path}: no complete line; delete it and profile again")
    (_, header), *rows = numbered
    _check_header(header, path)
    for number, row in rows:
        _check_row(row, path, number)
    return Table(
        path=path,
        conditions=header["conditions"],
        space=header["space"],
        provenance=header.get("provenance", {}),
        rows=tuple(latest(row for _, row in rows).values()),
    )


def whole_lines(content: bytes) -> list[bytes]:
    """Returns the lines of a table in UTF-8, without their endings and blanks around them; a last line that is torn is left out.

    A blank line is empty.
    """
    with suppress(UnicodeError):  # of a damaged file; the checksums say where
        content = decoded(content).encode()
    *lines, last = (text.strip() for text in re.split(b"\r\n|\r|\n", content))
    if _is_whole(CHECKED.fullmatch(last)):
        return [*lines, last]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _is_whole(match: re.Match[bytes] | None) -> bool:
    return match is not None and zlib.crc32(match[1] + b"}") == int(match[2], 16)


def _parsed(text: bytes, path: Path, number: int) -> dict[str, Any]:
    match = CHECKED.fullmatch(text)
    body = match[1] + b"}" if match else text
    try:
        value = json_of(body)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise TableError(f"{path}: line {number} is damaged; delete that line, `hwnas profile --out` measures it again")
    if number == 1 and value.get("kind") == "header" and value.get("schema") != SCHEMA:
        raise TableError(
            f"{path}: schema {value.get('schema')}, this version reads {SCHEMA}; update hwnas or profile again"
        )
    if not _is_whole(match):
        raise TableError(
            f"{path}: line {number} was changed after it was written (its checksum differs); "
            + ("profile again" if number == 1 else "delete that line, `hwnas profile --out` measures it again")
        )
    return value


def _check_header(header: Mapping[str, Any], path: Path) -> None:
    if header.get("kind") != "header":
        raise TableError(f"{path}: line 1 is not a table's header; is this a table of `hwnas profile`?")
    conditions, space = header.get("conditions"), header.get("space")
    if not isinstance(conditions, dict) or not isinstance(space, dict) or not set(space) >= SPACE_FACTS:
        raise TableError(f"{path}: line 1 does not say under what conditions and for which space; profile again")


def _check_row(row: Row, path: Path, number: int) -> None:
    times: list[Any] = [row.get(name) for name in ("p10_ms", "median_ms", "p90_ms", "reference_ms")]
    if not all(map(_is_positive, times)) or times[:3] != sorted(times[:3]):
        raise TableError(f"{path}: line {number} has no positive times in order; delete that line and profile again")
    if row.get("kind") not in KINDS or not isinstance(row.get("key"), str):
        raise TableError(f"{path}: line {number} is neither an operator's nor a network's; delete it and profile again")
    energy = [row[name] for name in ENERGY_FIELDS if name in row]
    if energy and (len(energy) < len(ENERGY_FIELDS) or not all(map(_is_positive, energy))):
        raise TableError(f"{path}: line {number} has no positive energy and uncertainty; delete it and profile again")
    if type(row.get("converged")) is not bool or type(row.get("half_width")) not in (float, int):
        raise TableError(f"{path}: line {number} does not say how precise it is; delete it and profile again")


def _is_positive(value: object) -> bool:
    return isinstance(value, float | int) and not isinstance(value, bool) and 0 < value < float("inf")


def require_conditions(table: Table, conditions: Mapping[str, Any]) -> None:
    """Raises TableError if a table was measured under other conditions."""
    different = differences(conditions, table.conditions)
    if different:
        raise TableError(
            f"{table.path}: measured under other conditions: {'; '.join(different)}; profile again under these"
        )


def require_space(table: Table, space: Mapping[str, Any]) -> None:
    """Raises TableError if a table was measured for another space, and so with another reference network."""
    if table.space["fingerprint"] != space["fingerprint"]:
        raise TableError(
            f"{table.path}: measured for space {table.space['reference']} {table.space['options']}, "
            f"not {space['reference']} {space['options']}; give another --out"
        )
