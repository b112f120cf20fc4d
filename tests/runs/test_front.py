"""Laws of front.csv: exact, whole, and with three rows that have names."""

import csv
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.errors import RunError
from hwnas.runs.front import FrontRow, named, read_front, write_front

HEADER = (
    "arch_id,arch,loss_val,accuracy_val,accuracy_test,perplexity_val,perplexity_test,predicted_ms,interval_low_ms,"
    "interval_high_ms,measured_ms,measured_median_ms,measured_p90_ms,within_budget,budget_ms,params,flops,"
    "model_mib,peak_mib,energy_mj,onnx"
)


def front_row(measured_ms: float, loss_val: float, **changes: object) -> FrontRow:
    row = FrontRow(
        arch_id=f"{measured_ms:g}-{loss_val:g}",
        arch='{"kernel":3,"name":"a, b"}',
        loss_val=loss_val,
        accuracy_val=0.9,
        accuracy_test=0.8,
        predicted_ms=0.1 + 0.2,
        interval_low_ms=0.25,
        interval_high_ms=0.35,
        measured_ms=measured_ms,
        measured_median_ms=measured_ms,
        measured_p90_ms=measured_ms,
        within_budget=True,
        budget_ms=0.5,
        params=1000,
        flops=2_000_000,
        model_mib=0.1,
        peak_mib=0.0234375,
        onnx="models/a.onnx",
    )
    return replace(row, **changes)


NUMBERS = st.floats(allow_nan=False)
# A carriage return alone is a new line to the csv reader and never in an architecture's JSON.
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=12)
BY_TYPE = {float: NUMBERS, int: st.integers(), bool: st.booleans(), str: TEXTS, float | None: st.none() | NUMBERS}
ROWS = st.lists(
    st.builds(FrontRow, **{field.name: BY_TYPE[field.type] for field in fields(FrontRow)}),
    min_size=1,
    max_size=5,
)


@contextmanager
def front_file(rows: Sequence[FrontRow]) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "front.csv"
        write_front(path, rows)
        yield path


# ---- what was written is read


@given(ROWS)
@settings(max_examples=60, deadline=None)
def test_a_front_comes_back_exactly_fastest_first(rows: list[FrontRow]) -> None:
    with front_file(rows) as path:
        assert read_front(path) == sorted(rows, key=lambda row: row.latency_ms)


def test_the_columns_are_those_of_the_contract_and_any_program_can_read_them(tmp_path: Path) -> None:
    path = tmp_path / "front.csv"
    write_front(path, [front_row(1.5, 0.25)])
    with path.open(newline="") as file:
        (line,) = csv.DictReader(file)
    assert ",".join(line) == HEADER
    assert (line["predicted_ms"], line["within_budget"]) == ("0.30000000000000004", "True")
    assert (line["perplexity_val"], line["perplexity_test"]) == ("", "")


def test_columns_that_people_add_and_their_order_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "front.csv"
    rows = [front_row(1.0, 0.5), front_row(2.0, 0.25)]
    write_front(path, rows)
    with path.open(newline="") as file:
        lines = list(csv.DictReader(file))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["note", *reversed(HEADER.split(","))])
        writer.writeheader()
        writer.writerows({"note": "mine", **line} for line in lines)
    assert read_front(path) == rows


def test_a_front_of_an_older_version_is_read_without_the_columns_that_it_lacks(tmp_path: Path) -> None:
    path, newer = tmp_path / "front.csv", {"energy_mj", "perplexity_val", "perplexity_test"}
    write_front(path, [front_row(1.0, 0.5, energy_mj=3.0)])
    with path.open(newline="") as file:
        (line,) = csv.DictReader(file)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [name for name in HEADER.split(",") if name not in newer], extrasaction="ignore")
        writer.writeheader()
        writer.writerow(line)
    assert read_front(path) == [front_row(1.0, 0.5)]


# ---- damage


def test_a_front_that_is_not_there_yet_is_answered_with_what_makes_it(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no front there yet; finish the search by `hwnas search --resume --out"):
        read_front(tmp_path / "front.csv")


@given(ROWS, st.floats(0, 1, exclude_max=True))
@settings(max_examples=150, deadline=None)
def test_a_front_cut_at_any_byte_is_damaged_or_a_shorter_front(rows: list[FrontRow], share: float) -> None:
    with front_file(rows) as path:
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])
        try:
            found = read_front(path)
        except RunError as error:
            assert str(error).startswith(f"{path}: damaged (")
        else:
            assert found == sorted(rows, key=lambda row: row.latency_ms)[: len(found)] and len(found) < len(rows)


@given(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=6))
@settings(max_examples=200, deadline=None)
def test_damage_anywhere_is_a_run_error_or_leaves_rows(share: float, damage: bytes) -> None:
    with front_file([front_row(1.0, 0.5), front_row(2.0, 0.25)]) as path:
        content = path.read_bytes()
        start = int(share * len(content))
        path.write_bytes(content[:start] + damage + content[start + len(damage) :])
        try:
            found = read_front(path)
        except RunError as error:
            assert str(error).startswith(f"{path}: damaged (")
        else:
            assert all(isinstance(row, FrontRow) for row in found)


@given(st.binary(max_size=100))
@settings(max_examples=60, deadline=None)
def test_what_is_no_front_is_damaged(content: bytes) -> None:
    with front_file([]) as path:
        path.write_bytes(content)
        with pytest.raises(RunError, match="damaged"):
            read_front(path)


def test_a_header_alone_is_damage_for_a_front_always_has_a_row() -> None:
    with (
        front_file([]) as path,
        pytest.raises(RunError, match=r"front.csv: damaged \(no rows\); `hwnas search --resume"),
    ):
        read_front(path)


GOOD = front_row(1.0, 0.5)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("loss_val", "loss", "no column loss_val"),
        ("True", "yes", "no 'yes'"),
        ("1000", "1e3", "invalid literal for int"),
        ("0.25", "fast", "could not convert string to float: 'fast'"),
        ("models/a.onnx", "models/a.onnx,3", "more columns than the header"),
        (",models/a.onnx", "", "fewer columns than the header"),
        ("models/a.onnx", "x" * 200_000, "field larger than field limit"),
    ],
)
def test_a_wrong_cell_is_damage_and_the_message_says_which(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "front.csv"
    write_front(path, [GOOD])
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(RunError, match=rf"front.csv: damaged .*{message}.*`hwnas search --resume"):
        read_front(path)


# ---- names


def names(rows: Sequence[FrontRow]) -> dict[str, tuple[float, float]]:
    return {name: (row.measured_ms, row.loss_val) for name, row in named(rows).items()}


def test_the_knee_is_furthest_below_the_line_between_the_ends() -> None:
    rows = [front_row(1, 1.0), front_row(2, 0.3), front_row(3, 0.25), front_row(5, 0.2)]
    assert names(rows) == {"fastest": (1, 1.0), "knee": (2, 0.3), "best": (5, 0.2)}


def test_the_knee_of_two_rows_is_the_best_and_one_row_is_all_three() -> None:
    fast, good = front_row(1, 1.0), front_row(2, 0.5)
    assert named([good, fast]) == {"fastest": fast, "knee": good, "best": good}
    assert named([fast]) == {"fastest": fast, "knee": fast, "best": fast}


@st.composite
def fronts(draw: st.DrawFn) -> list[FrontRow]:
    """Rows of which none beats another, in any order."""
    count = draw(st.integers(1, 8))
    latencies = sorted(draw(st.sets(st.floats(0.1, 10), min_size=count, max_size=count)))
    losses = sorted(draw(st.sets(st.floats(0.01, 3), min_size=count, max_size=count)), reverse=True)
    return draw(st.permutations([front_row(*point) for point in zip(latencies, losses, strict=True)]))


@given(fronts(), st.randoms(use_true_random=False))
def test_names_are_rows_of_the_front_in_order_of_latency_whatever_the_order_of_the_rows(
    rows: list[FrontRow], random: Random
) -> None:
    found = named(rows)
    assert set(found.values()) <= set(rows)
    assert found["fastest"].measured_ms == min(row.measured_ms for row in rows)
    assert found["best"].loss_val == min(row.loss_val for row in rows)
    assert found["fastest"].measured_ms <= found["knee"].measured_ms <= found["best"].measured_ms
    if len(rows) > 2:
        assert found["knee"] not in (found["fastest"], found["best"])
    random.shuffle(rows)
    again = named(rows)
    assert (again["fastest"], again["best"]) == (found["fastest"], found["best"])


@given(fronts())
def test_names_do_not_depend_on_units(rows: list[FrontRow]) -> None:
    other = {row: replace(row, measured_ms=row.measured_ms * 1024, loss_val=row.loss_val / 4) for row in rows}
    assert named(list(other.values())) == {name: other[row] for name, row in named(rows).items()}


# ---- a row's own facts


def test_the_error_is_positive_where_the_prediction_was_too_slow() -> None:
    assert front_row(1.0, 0.5, predicted_ms=1.05).error == pytest.approx(0.05)
    assert front_row(1.0, 0.5, predicted_ms=0.9).error == pytest.approx(-0.1)


@pytest.mark.parametrize(
    ("measured_ms", "inside"), [(0.24, False), (0.25, True), (0.3, True), (0.35, True), (0.36, False)]
)
def test_the_ends_of_the_interval_belong_to_it(measured_ms: float, inside: bool) -> None:
    assert front_row(measured_ms, 0.5).in_interval is inside


def test_what_was_not_measured_is_empty_and_the_prediction_stands_for_it(tmp_path: Path) -> None:
    nothing = {"measured_ms": None, "measured_median_ms": None, "measured_p90_ms": None}
    slow = replace(front_row(1.0, 0.5, predicted_ms=2.0), **nothing)
    fast = replace(front_row(2.0, 0.75, predicted_ms=1.0), **nothing)
    write_front(tmp_path / "front.csv", [slow, fast])
    found = read_front(tmp_path / "front.csv")
    assert found == [fast, slow] and [row.latency_ms for row in found] == [1.0, 2.0]
    assert [row.error for row in found] == [None, None]
    assert named(found)["fastest"] == fast and named(found)["best"] == slow
