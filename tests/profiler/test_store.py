"""Laws of tables: what was written is read, however the writer died; what is damaged or does not belong is refused."""

import json
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.errors import TableError
from hwnas.profiler.store import TableWriter, merge_tables
from hwnas.profiler.table import Row, Table, header_line, identity, latest, line, read_table, require_conditions

CONDITIONS = {"device": "cpu", "runtime": "onnxruntime 1.20.0", "threads": 1}
SPACE = {"reference": "tiny", "options": {"resolution": 16}, "fingerprint": "0123456789abcdef"}

TIMES = st.floats(0, 1e9, exclude_min=True, allow_subnormal=False)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "kind": st.sampled_from(["operator", "network"]),
            "key": st.text(max_size=20),
            "p10_ms": TIMES,
            "median_ms": TIMES,
            "p90_ms": TIMES,
            "spread": st.floats(0, 1),
            "half_width": st.floats(0, 1),
            "converged": st.booleans(),
            "reference_ms": TIMES,
        },
        optional={"repeat": st.integers(0, 3)},
    ),
    max_size=6,
).map(lambda rows: [ordered(row) for row in rows])


def ordered(row: dict[str, Any]) -> dict[str, Any]:
    names = ("p10_ms", "median_ms", "p90_ms")
    return row | dict(zip(names, sorted(row[name] for name in names), strict=True))


def row(number: int = 0, **changes: Any) -> dict[str, Any]:
    times = {"p10_ms": 0.1 + number, "median_ms": 0.2 + number, "p90_ms": 0.3 + number, "reference_ms": 1.5}
    precision = {"half_width": 0.01, "converged": True}
    return {"kind": "operator", "key": f"conv({number})", **times, **precision, **changes}


def counting(rows: Sequence[Row]) -> list[Row]:
    """Returns the row that counts of each thing."""
    return list(latest(rows).values())


def write(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with TableWriter(path, CONDITIONS, SPACE) as table:
        table.append(rows)


@contextmanager
def table_of(rows: Sequence[Mapping[str, Any]]) -> Iterator[Path]:
    """A table in a folder of its own: Hypothesis tries many within one test."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.jsonl"
        write(path, rows)
        yield path


def whole_rows(content: bytes) -> list[Mapping[str, Any]]:
    """The rows whose lines are there; the last one may lack its newline."""
    *whole, last = content.split(b"\n")
    rows = [json.loads(text) for text in [*whole, *([last] if last.endswith(b"}") else [])][1:]]
    return [{name: value for name, value in row.items() if name != "crc32"} for row in rows]


# ---- what was written is read


@given(ROWS, ROWS)
@settings(max_examples=30, deadline=None)
def test_rows_come_back_as_they_were_written_over_any_number_of_sessions(
    first: list[dict[str, Any]], second: list[dict[str, Any]]
) -> None:
    with table_of(first) as path:
        with TableWriter(path, CONDITIONS, SPACE) as table:
            assert list(table.rows.values()) == counting(first)
            table.append(second)
            assert list(table.rows.values()) == counting(first + second)
        found = read_table(path)
        assert list(found.rows) == counting(first + second)
        assert (found.path, found.conditions, found.space) == (path, CONDITIONS, SPACE)


def test_keys_are_those_of_one_kind(tmp_path: Path) -> None:
    write(tmp_path / "t", [row(0), row(1), row(1, repeat=1), row(2, kind="network", key="{}")])
    assert read_table(tmp_path / "t").keys("operator") == {"conv(0)", "conv(1)"}
    assert read_table(tmp_path / "t").keys("network") == {"{}"}


def test_a_row_is_on_disk_as_soon_as_it_is_appended(tmp_path: Path) -> None:
    with TableWriter(tmp_path / "deep" / "t", CONDITIONS, SPACE) as table:
        for number in range(3):
            table.append([row(number)])
            assert len(read_table(tmp_path / "deep" / "t").rows) == number + 1


# ---- a writer may die at any byte


@given(ROWS, st.floats(0, 1, exclude_max=True))
@settings(max_examples=100, deadline=None)
def test_a_table_cut_at_any_byte_holds_its_whole_lines_and_can_be_finished(
    rows: list[dict[str, Any]], share: float
) -> None:
    with table_of(rows) as path:
        content = path.read_bytes()
        torn = content[: int(share * len(content))]
        path.write_bytes(torn)
        kept = whole_rows(torn)
        if b"\n" in torn or torn == content[: content.index(b"\n")]:
            assert list(read_table(path).rows) == counting(kept)
        else:
            with pytest.raises(TableError, match="no complete line"):
                read_table(path)
        with TableWriter(path, CONDITIONS, SPACE) as table:
            assert list(table.rows.values()) == counting(kept)
            table.append(rows[len(kept) :])
        assert path.read_bytes() == content


def corrupted(content: bytes, rng: random.Random) -> bytes:
    """The content after one to three random accidents: bits, bytes or ranges changed, lost, doubled or moved."""
    for _ in range(rng.randint(1, 3)):
        start, end = sorted(rng.randrange(len(content) + 1) for _ in range(2))
        end = min(end, start + rng.choice([1, 2, 8, 100, len(content)]))
        accidents = [
            content[:start] + bytes(byte ^ (1 << rng.randrange(8)) for byte in content[start:end]) + content[end:],
            content[:start] + rng.randbytes(end - start) + content[end:],
            content[:start]
            + content[start:end].translate(bytes.maketrans(b"0123456789", b"1234567890"))
            + content[end:],
            content[:start] + content[end:],
            content[:end] + content[start:end] + content[end:],
            content[start:end] + content[:start] + content[end:],
            content[:start] + b"\n" + content[start:],
            content[:start],
        ]
        content = rng.choice(accidents)
    return content


@pytest.mark.parametrize(
    "count",
    [
        1_000,
        pytest.param(10_000, marks=pytest.mark.slow(reason="writes and reads ten thousand files, for rare damage")),
    ],
)
def test_of_many_damaged_tables_none_gives_a_wrong_number(tmp_path: Path, count: int) -> None:
    """Each gives undamaged rows, or is refused in a line that names it; and so when it is to be continued."""
    path = tmp_path / "t"
    write(path, [row(number, repeat=number % 2) for number in range(6)])
    content = path.read_bytes()
    true = {identity(row): row for row in read_table(path).rows}
    rng = random.Random(0)
    refused = shorter = 0
    for _ in range(count):
        path.write_bytes(corrupted(content, rng))
        try:
            table = read_table(path)
        except TableError as error:
            refused += 1
            assert str(error).startswith(str(path)) and "\n" not in str(error)
            continue
        shorter += len(table.rows) < len(true)
        assert (table.conditions, table.space) == (CONDITIONS, SPACE)
        assert all(row == true[identity(row)] for row in table.rows)
    assert refused > 0.5 * count and shorter > 0.03 * count  # both happen


@given(ROWS, st.integers(0, 2**32))
@settings(max_examples=100, deadline=None)
def test_a_damaged_table_is_continued_or_refused(rows: list[dict[str, Any]], seed: int) -> None:
    with table_of(rows) as path:
        path.write_bytes(corrupted(path.read_bytes(), random.Random(seed)))
        try:
            with TableWriter(path, CONDITIONS, SPACE) as table:
                table.append([row(99)])
        except TableError as error:
            assert str(error).startswith(str(path))
        else:
            assert identity(row(99)) in {identity(row) for row in read_table(path).rows}


@given(st.binary(max_size=60))
@settings(max_examples=60, deadline=None)
def test_a_file_that_is_no_table_is_refused_and_not_touched(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "photo.jpg"
        path.write_bytes(b"\xff\xd8" + content)
        for use in (lambda: read_table(path), lambda: TableWriter(path, CONDITIONS, SPACE)):
            with pytest.raises(TableError):
                use()
        assert path.read_bytes() == b"\xff\xd8" + content


# ---- a table that cannot be written


def test_a_folder_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"is a folder; give the name of a file in it, such as --out .*table\.jsonl"):
        TableWriter(tmp_path, CONDITIONS, SPACE)


def test_a_full_disk_names_the_table_and_leaves_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "t"
    write(path, [row(0)])
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    with TableWriter(path, CONDITIONS, SPACE) as table:
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10, limit[1]))
        try:
            with pytest.raises(OSError, match="File too large") as caught:
                table.append([row(1)])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert caught.value.filename == str(path)
    assert list(read_table(path).rows) == [row(0)]


# ---- a table that another program has saved


SAVINGS: dict[str, Callable[[bytes], bytes]] = {
    "as it is": lambda content: content,
    "CRLF": lambda content: content.replace(b"\n", b"\r\n"),
    "byte-order mark": lambda content: b"\xef\xbb\xbf" + content,
    "no last newline": lambda content: content.removesuffix(b"\n"),
    "empty last lines": lambda content: content + b"\r\n\n",
    "CRLF, a mark, no last newline": lambda content: (
        b"\xef\xbb\xbf" + content.removesuffix(b"\n").replace(b"\n", b"\r\n")
    ),
    "blank lines": lambda content: b"\n" + content.replace(b"\n", b"\n \t\n"),
    "blanks at ends": lambda content: content.replace(b"\n", b" \t\n"),
    "CR": lambda content: content.replace(b"\n", b"\r"),
    "UTF-16": lambda content: content.decode().replace("\n", "\r\n").encode("utf-16"),
}


@pytest.mark.parametrize("saving", SAVINGS)
@pytest.mark.parametrize("count", [0, 3])
def test_a_table_that_another_program_saved_is_read_and_continued_as_it_was(
    tmp_path: Path, saving: str, count: int
) -> None:
    path = tmp_path / "t"
    write(path, [row(number) for number in range(count)])
    content, table = path.read_bytes(), read_table(path)
    path.write_bytes(SAVINGS[saving](content))
    assert read_table(path) == table
    with TableWriter(path, CONDITIONS, SPACE) as writer:
        assert list(writer.rows.values()) == list(table.rows)
        writer.append([row(9)])
    assert path.read_bytes() == content + line(row(9))


@pytest.mark.parametrize("saving", SAVINGS)
def test_damage_is_found_in_a_table_that_another_program_saved(tmp_path: Path, saving: str) -> None:
    path = tmp_path / "t"
    write(path, [row(0), row(1), row(2)])
    damaged = path.read_bytes().replace(b'"p10_ms": 1.1', b'"p10_ms": 1.0')
    path.write_bytes(SAVINGS[saving](damaged))
    number = 6 if saving == "blank lines" else 3
    with pytest.raises(TableError, match=rf"line {number} was changed after it was written \(its checksum differs\)"):
        read_table(path)


def test_a_clone_has_tables_byte_by_byte_whatever_git_is_told_of_line_endings(tmp_path: Path) -> None:
    repository = Path(__file__).parents[2]
    source, clone = tmp_path / "source", tmp_path / "clone"
    source.mkdir()
    shutil.copy(repository / ".gitattributes", source)
    write(source / "table.jsonl", [row(0)])
    identity_of = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for arguments in (
        ["init", "--quiet", source],
        ["-C", source, "add", "."],
        ["-C", source, *identity_of, "commit", "--quiet", "-m", "a"],
        ["clone", "--quiet", "-c", "core.autocrlf=true", source, clone],
    ):
        subprocess.run(["git", *arguments], check=True)
    assert (clone / "table.jsonl").read_bytes() == (source / "table.jsonl").read_bytes()


# ---- what is damaged is named


def test_a_missing_table_is_an_error_that_says_what_makes_it(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"cannot be read \(No such file .*hwnas profile --out"):
        read_table(tmp_path / "t")


def test_a_folder_and_an_encoding_without_a_mark_are_named(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"is a folder; give the file of a table, such as .*table\.jsonl$"):
        read_table(tmp_path)
    path = tmp_path / "t"
    write(path, [row(0)])
    content = path.read_text()
    for encoding in ("utf-16-le", "utf-16-be", "utf-32-le"):
        path.write_bytes(content.encode(encoding))
        with pytest.raises(TableError, match=r"is UTF-16 or UTF-32 without a byte-order mark; save it as UTF-8$"):
            read_table(path)


@pytest.mark.parametrize("damage", [b'{"kind": "operator", "key"', b"\xff\xfe", b"3", b"[]", b"[" * 200_000])
def test_a_damaged_line_before_the_last_is_named_by_its_number(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "t"
    write(path, [row(0), row(1), row(2)])
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([*lines[:2], damage, *lines[3:]]))
    for use in (lambda: read_table(path), lambda: TableWriter(path, CONDITIONS, SPACE)):
        with pytest.raises(TableError, match=r"line 3 is damaged; delete that line"):
            use()


IMPOSSIBLE = [0, 0.0, -0.1, float("nan"), float("inf"), "0.1", None, True, [0.1]]


@pytest.mark.parametrize("value", IMPOSSIBLE, ids=repr)
@pytest.mark.parametrize("name", ["p10_ms", "median_ms", "p90_ms", "reference_ms"])
def test_a_time_that_cannot_be_is_refused(tmp_path: Path, name: str, value: object) -> None:
    write(tmp_path / "t", [row(0), row(1, **{name: value})])
    with pytest.raises(TableError, match="line 3 has no positive times"):
        read_table(tmp_path / "t")


@pytest.mark.parametrize("name", ["p10_ms", "median_ms", "p90_ms", "reference_ms"])
def test_a_row_without_one_of_its_times_is_refused(tmp_path: Path, name: str) -> None:
    write(tmp_path / "t", [{key: value for key, value in row().items() if key != name}])
    with pytest.raises(TableError, match="line 2 has no positive times"):
        read_table(tmp_path / "t")


def test_an_energy_is_read_as_it_was_written(tmp_path: Path) -> None:
    write(tmp_path / "t", [row(0), row(1, energy_mj=2.5, energy_uncertainty=0.04)])
    plain, with_energy = read_table(tmp_path / "t").rows
    assert "energy_mj" not in plain
    assert (with_energy["energy_mj"], with_energy["energy_uncertainty"]) == (2.5, 0.04)


@pytest.mark.parametrize("value", IMPOSSIBLE, ids=repr)
@pytest.mark.parametrize("name", ["energy_mj", "energy_uncertainty"])
def test_an_energy_that_cannot_be_is_refused(tmp_path: Path, name: str, value: object) -> None:
    write(tmp_path / "t", [row(0), row(1, **{"energy_mj": 2.5, "energy_uncertainty": 0.04, name: value})])
    with pytest.raises(TableError, match="line 3 has no positive energy"):
        read_table(tmp_path / "t")


@pytest.mark.parametrize("name", ["energy_mj", "energy_uncertainty"])
def test_an_energy_without_its_uncertainty_is_refused_and_the_other_way_round(tmp_path: Path, name: str) -> None:
    write(tmp_path / "t", [row(0, **{name: 0.1})])
    with pytest.raises(TableError, match="line 2 has no positive energy and uncertainty"):
        read_table(tmp_path / "t")


@pytest.mark.parametrize("changes", [{"converged": None}, {"converged": 1}, {"half_width": "1 %"}])
def test_a_row_that_does_not_say_how_precise_it_is_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    write(tmp_path / "t", [row(0, **changes)])
    with pytest.raises(TableError, match="line 2 does not say how precise it is"):
        read_table(tmp_path / "t")


@pytest.mark.parametrize("changes", [{"kind": "header"}, {"kind": "block"}, {"kind": None}, {"key": 3}, {"key": None}])
def test_a_row_of_another_kind_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    write(tmp_path / "t", [row(0, **changes)])
    with pytest.raises(TableError, match="line 2 is neither an operator's nor a network's"):
        read_table(tmp_path / "t")


HEADER = {"kind": "header", "schema": 2, "conditions": CONDITIONS, "space": SPACE}


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (HEADER | {"schema": 3}, "schema 3, this version reads 2"),
        (HEADER | {"schema": None}, "schema None, this version reads 2"),
        (HEADER | {"kind": "operator"}, "line 1 is not a table's header"),
        (HEADER | {"conditions": 3}, "line 1 does not say under what conditions and for which space"),
        (HEADER | {"space": None}, "line 1 does not say under what conditions and for which space"),
        (HEADER | {"space": {"reference": "tiny"}}, "line 1 does not say under what conditions and for which space"),
        ({"kind": "header", "schema": 2}, "line 1 does not say under what conditions and for which space"),
    ],
)
def test_a_header_of_another_kind_or_version_is_refused(tmp_path: Path, header: dict[str, Any], message: str) -> None:
    path = tmp_path / "t"
    path.write_bytes(line(header))
    for use in (lambda: read_table(path), lambda: TableWriter(path, CONDITIONS, SPACE)):
        with pytest.raises(TableError, match=message):
            use()


# ---- measurements under other conditions, or of other spaces, are never mixed


def test_other_conditions_are_refused_with_what_differs(tmp_path: Path) -> None:
    path = tmp_path / "t"
    write(path, [row()])
    content = path.read_bytes()
    others = CONDITIONS | {"threads": 2, "device": "cuda"}
    message = r"measured under other conditions: device cpu \(here cuda\); threads 1 \(here 2\); profile again"
    with pytest.raises(TableError, match=message):
        TableWriter(path, others, SPACE)
    with pytest.raises(TableError, match=message):
        require_conditions(read_table(path), others)
    require_conditions(read_table(path), CONDITIONS)
    assert path.read_bytes() == content


def test_conditions_that_lack_a_fact_are_other_conditions() -> None:
    table = Table(path=Path("t"), conditions=CONDITIONS, space=SPACE, provenance={}, rows=())
    with pytest.raises(TableError, match=r"clock None \(here fixed\)"):
        require_conditions(table, CONDITIONS | {"clock": "fixed"})


def test_the_table_of_another_space_is_refused_with_both_spaces(tmp_path: Path) -> None:
    path = tmp_path / "t"
    write(path, [row()])
    other = {"reference": "wide", "options": {}, "fingerprint": "f" * 16}
    with pytest.raises(TableError, match=r"measured for space tiny \{'resolution': 16\}, not wide \{\}"):
        TableWriter(path, CONDITIONS, other)


def test_a_refused_writer_does_not_keep_the_table_locked(tmp_path: Path) -> None:
    path = tmp_path / "t"
    write(path, [row()])
    with pytest.raises(TableError) as refusal:  # holding it holds the frames in which the lock was taken
        TableWriter(path, CONDITIONS | {"threads": 2}, SPACE)
    write(path, [row(1)])
    assert len(read_table(path).rows) == 2, refusal.value


# ---- two writers

HOLDER = """
import json, sys
from pathlib import Path
from hwnas.profiler.store import TableWriter

path, conditions, space, row = (json.loads(argument) for argument in sys.argv[1:])
with TableWriter(Path(path), conditions, space) as table:
    table.append([row])
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def another_process_writing(path: Path) -> Iterator[subprocess.Popen[str]]:
    arguments = [json.dumps(value) for value in (str(path), CONDITIONS, SPACE, row(0))]
    command = [sys.executable, "-c", HOLDER, *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_second_process_cannot_write_a_table_and_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "t"
    with another_process_writing(path) as process:
        with pytest.raises(TableError, match="another process is writing it; wait, or give another --out"):
            TableWriter(path, CONDITIONS, SPACE)
        assert list(read_table(path).rows) == [row(0)]
        process.communicate("")
        assert process.returncode == 0
    write(path, [row(1)])
    assert list(read_table(path).rows) == [row(0), row(1)]


def test_the_lock_of_a_killed_writer_dies_with_it(tmp_path: Path) -> None:
    path = tmp_path / "t"
    with another_process_writing(path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        write(path, [row(1)])
    assert list(read_table(path).rows) == [row(0), row(1)]


# ---- of several measurements one counts; tables merge


def test_the_last_measurement_counts_unless_only_an_earlier_one_converged(tmp_path: Path) -> None:
    good, better, poor = row(0), row(0, spread=0.1), row(0, converged=False)
    for rows, counts in ([(good, better), better], [(poor, good), good], [(good, poor), good], [(poor, poor), poor]):
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        write(path, [row(1), *rows, row(2)])
        assert list(read_table(path).rows) == [row(1), counts, row(2)]


def test_unconverged_rows_are_listed_least_precise_first(tmp_path: Path) -> None:
    poor, poorer = row(1, converged=False, half_width=0.1), row(2, converged=False, half_width=0.2)
    write(tmp_path / "t", [row(0), poor, poorer])
    assert read_table(tmp_path / "t").unconverged == (poorer, poor)


def test_tables_of_the_same_conditions_merge(tmp_path: Path) -> None:
    write(tmp_path / "a", [row(0), row(1)])
    write(tmp_path / "b", [row(1, spread=0.1), row(2)])
    merged = merge_tables([tmp_path / "a", tmp_path / "b"], tmp_path / "c")
    assert list(merged.rows) == [row(0), row(1, spread=0.1), row(2)]
    assert read_table(tmp_path / "c") == merged
    with pytest.raises(TableError, match="exists already; give another --out"):
        merge_tables([tmp_path / "a"], tmp_path / "c")


@pytest.mark.parametrize(
    ("conditions", "space", "message"),
    [
        (CONDITIONS | {"threads": 2}, SPACE, r"threads 2 \(here 1\)"),
        (CONDITIONS, SPACE | {"fingerprint": "f" * 16}, "measured for space tiny"),
    ],
)
def test_tables_of_other_conditions_or_spaces_do_not_merge(
    tmp_path: Path, conditions: dict[str, Any], space: dict[str, Any], message: str
) -> None:
    write(tmp_path / "a", [row(0)])
    (tmp_path / "b").write_bytes(header_line(conditions, space, {}) + line(row(1)))
    with pytest.raises(TableError, match=message):
        merge_tables([tmp_path / "a", tmp_path / "b"], tmp_path / "c")
    assert not (tmp_path / "c").exists()
