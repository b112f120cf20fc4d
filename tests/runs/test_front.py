"""Laws of front.csv: exact, whole, for any metrics, costs and devices, and open to other programs."""

import copy
import csv
import io
import pickle
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.errors import RunError
from hwnas.runs.front import METRIC_ENDS, DeviceLatency, FrontRow, options_of, read_front, write_front

# Classification on one device: the contract that programs of others read.
HEADER = (
    "arch_id,arch,loss_val,accuracy_val,accuracy_test,predicted_ms,interval_low_ms,interval_high_ms,measured_ms,"
    "measured_median_ms,measured_p90_ms,within_budget,budget_ms,within_noise,params,flops,model_mib,peak_mib,device,stages,onnx"
)
METRICS = {"loss_val": 0.5, "accuracy_val": 0.9, "accuracy_test": 0.8}


def latency(measured_ms: float | None = 0.3, device: str = "cpu", **changes: object) -> DeviceLatency:
    one = DeviceLatency(
        device=device,
        predicted_ms=0.1 + 0.2,
        interval_low_ms=0.25,
        interval_high_ms=0.35,
        measured_ms=measured_ms,
        measured_median_ms=measured_ms,
        measured_p90_ms=measured_ms,
        within_budget=True,
        budget_ms=0.5,
    )
    return replace(one, **changes)


def front_row(measured_ms: float | None = 0.3, *further: DeviceLatency, **changes: object) -> FrontRow:
    row = FrontRow(
        arch_id=f"row-{measured_ms}",
        arch='{"kernel":3,"name":"a, b"}',
        stages="supernet > recalibrate",
        metrics=METRICS,
        latencies=(latency(measured_ms), *further),
        costs={"params": 1000, "flops": 2_000_000, "model_mib": 0.1, "peak_mib": 0.0234375},
        onnx="models/a.onnx",
    )
    return replace(row, **changes)


NUMBERS = st.floats(allow_nan=False)
# A carriage return alone is a new line to the csv reader and never in an architecture's JSON.
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=12)
NAMES = st.text(st.characters(categories=["Ll", "Lu", "Nd"], include_characters="_@- ,"), min_size=1, max_size=8)
COLUMNS = (*(field.name for field in fields(DeviceLatency)), "arch_id", "arch", "stages", "onnx")
ON_A_DEVICE = st.just("") | NAMES.map("@".__add__)
METRIC_NAMES = st.tuples(NAMES.filter(lambda name: "@" not in name), st.sampled_from(METRIC_ENDS), ON_A_DEVICE).map(
    "".join
)
COST_NAMES = NAMES.filter(
    lambda name: not name.partition("@")[0].endswith(METRIC_ENDS) and name.partition("@")[0] not in COLUMNS
)
BY_TYPE = {float: NUMBERS, bool: st.booleans(), str: TEXTS, float | None: st.none() | NUMBERS}
LATENCIES = st.builds(DeviceLatency, **{field.name: BY_TYPE[field.type] for field in fields(DeviceLatency)})


@st.composite
def fronts(draw: st.DrawFn) -> list[FrontRow]:
    """Rows of any metrics, costs and devices: the devices of all rows are the same, metrics and costs need not be."""
    metrics = draw(st.lists(METRIC_NAMES, min_size=1, max_size=4, unique=True))
    metrics = [*metrics, "loss_val"] if not any(name.endswith("_val") for name in metrics) else metrics
    costs = draw(st.lists(COST_NAMES, max_size=4, unique=True))
    devices = draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
    rows = []
    for _ in range(draw(st.integers(1, 4))):
        latencies = tuple(replace(draw(LATENCIES), device=device) for device in devices)
        known_costs = draw(st.sets(st.sampled_from(costs))) if costs else set()
        rows.append(
            FrontRow(
                arch_id=draw(TEXTS),
                arch=draw(TEXTS),
                stages=draw(TEXTS),
                metrics={name: draw(NUMBERS) for name in metrics},
                latencies=latencies,
                costs={name: draw(NUMBERS | st.integers(0, 10**12)) for name in costs if name in known_costs},
                onnx=draw(TEXTS),
                further_onnx={device: draw(TEXTS.filter(bool)) for device in devices[1:] if draw(st.booleans())},
            )
        )
    return rows


@contextmanager
def front_file(rows: Sequence[FrontRow]) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "front.csv"
        write_front(path, rows)
        yield path


# ---- what was written is read


@given(fronts())
@settings(max_examples=100, deadline=None)
def test_a_front_of_any_metrics_costs_and_devices_comes_back_exactly_fastest_first(rows: list[FrontRow]) -> None:
    with front_file(rows) as path:
        assert read_front(path) == sorted(rows, key=lambda row: row.latency_ms)


@given(fronts())
@settings(max_examples=40, deadline=None)
def test_every_column_of_a_row_is_an_attribute(rows: list[FrontRow]) -> None:
    row = rows[0]
    with front_file([row]) as path, path.open(newline="", encoding="utf-8") as file:
        (line,) = csv.DictReader(file)
    assert list(line) == list(row.cells)
    for name, value in row.cells.items():
        written = "" if value is None else str(value)
        assert line[name] == written
        if name not in ("within_budget", "within_noise"):
            assert getattr(row, name) == value


def test_the_columns_are_those_of_the_contract_and_any_program_can_read_them(tmp_path: Path) -> None:
    path = tmp_path / "front.csv"
    write_front(path, [front_row()])
    with path.open(newline="") as file:
        (line,) = csv.DictReader(file)
    assert ",".join(line) == HEADER
    assert (line["predicted_ms"], line["within_budget"]) == ("0.30000000000000004", "True")
    assert (line["params"], line["model_mib"], line["device"]) == ("1000", "0.1", "cpu")


def test_further_devices_follow_the_first_under_their_names(tmp_path: Path) -> None:
    path = tmp_path / "front.csv"
    elsewhere = latency(None, "amd-epyc", budget_ms=None)
    write_front(path, [front_row(0.3, elsewhere)])
    with path.open(newline="") as file:
        (line,) = csv.DictReader(file)
    at = list(line).index("predicted_ms@amd-epyc")
    assert list(line)[at - 1] == "within_noise" and list(line)[at + 9] == "params"
    assert (line["measured_ms@amd-epyc"], line["budget_ms@amd-epyc"], line["budget_ms"]) == ("", "", "0.5")
    assert read_front(path)[0].latency_of("latency@amd-epyc") == elsewhere


def test_whole_costs_are_written_without_a_point_which_programs_expect_of_parameters(tmp_path: Path) -> None:
    path = tmp_path / "front.csv"
    write_front(path, [front_row(costs={"params": 1000.0, "flops": 2e6, "peak_mib": 0.5})])
    with path.open(newline="") as file:
        (line,) = csv.DictReader(file)
    assert [line[name] for name in ("params", "flops", "peak_mib")] == ["1000", "2000000", "0.5"]


def test_columns_that_people_add_and_their_order_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "front.csv"
    rows = [front_row(1.0, latency(None, "amd-epyc")), front_row(2.0, latency(None, "amd-epyc"))]
    write_front(path, rows)
    with path.open(newline="") as file:
        lines = list(csv.DictReader(file))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["note", *reversed(list(lines[0]))])
        writer.writeheader()
        writer.writerows({"note": "mine", **line} for line in lines)
    assert read_front(path) == rows


def test_a_front_that_a_spreadsheet_saved_is_read(tmp_path: Path) -> None:
    path = tmp_path / "front.csv"
    rows = [front_row(1.0), front_row(2.0, latencies=(latency(2.0, within_budget=False),))]
    write_front(path, rows)
    text = path.read_text().replace("True", "TRUE").replace("False", "FALSE").replace("\n", "\r\n")
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read_front(path) == rows


# ---- damage


def test_a_front_that_is_not_there_yet_is_answered_with_what_makes_it(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no front there yet; finish the search by `hwnas search --resume --out"):
        read_front(tmp_path / "front.csv")


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", ""])
def test_a_front_in_any_encoding_and_with_any_delimiter_of_spreadsheets_is_read(
    tmp_path: Path, delimiter: str, encoding: str, ending: str
) -> None:
    path, text = tmp_path / "front.csv", io.StringIO(newline="")
    rows = [front_row(1.0), front_row(2.0)]
    write_front(path, rows)
    cells = csv.reader(io.StringIO(path.read_text(), newline=""))
    csv.writer(text, delimiter=delimiter, lineterminator=ending or "\n").writerows(cells)
    saved = text.getvalue() if ending else text.getvalue().removesuffix("\n")
    path.write_bytes(saved.encode(encoding))
    assert read_front(path) == rows


def test_a_front_with_decimal_commas_is_read(tmp_path: Path) -> None:
    path, text = tmp_path / "front.csv", io.StringIO(newline="")
    rows = [front_row(1.25), front_row(2.0)]
    write_front(path, rows)
    cells = [
        [cell.replace(".", ",") if re.fullmatch(r"-?\d+\.\d+", cell) else cell for cell in line]
        for line in csv.reader(io.StringIO(path.read_text(), newline=""))
    ]
    csv.writer(text, delimiter=";", lineterminator="\r\n").writerows(cells)
    path.write_text(text.getvalue())
    assert "1,25" in path.read_text() and read_front(path) == rows


def test_a_front_whose_last_cell_is_torn_is_damaged_without_its_newline(tmp_path: Path) -> None:
    path = tmp_path / "front.csv"
    write_front(path, [front_row(1.0), front_row(2.0)])
    path.write_text(path.read_text().removesuffix("x\n"))
    with pytest.raises(RunError, match=r"damaged \(the last line is torn\)"):
        read_front(path)


@given(fronts(), st.floats(0, 1, exclude_max=True))
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
    with front_file([front_row(1.0, latency(None, "amd-epyc")), front_row(2.0, latency(None, "amd-epyc"))]) as path:
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


GOOD = front_row(1.0)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("predicted_ms", "prediction_ms", "no column predicted_ms"),
        ("stages", "stage", "no column stages"),
        ("_val", "_valid", "no column of a metric on the validation split"),
        ("loss_val", "accuracy_val", "column accuracy_val twice"),
        ("True", "yes", "no 'yes'"),
        ("0.8", "good", "could not convert string to float: 'good'"),
        ("0.25", "fast", "could not convert string to float: 'fast'"),
        ("0.25", "", "could not convert string to float: ''"),
        ("models/a.onnx", "models/a.onnx,3", "more columns than the header"),
        (",models/a.onnx", "", "fewer columns than the header"),
        ("models/a.onnx", "x" * 200_000, "field larger than field limit"),
        ("models/a.onnx", '"models/a.onnx', "unexpected end of data"),
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


@pytest.mark.parametrize("missing", ["measured_ms@amd-epyc", "budget_ms@amd-epyc"])
def test_a_device_without_all_of_its_columns_is_damage(tmp_path: Path, missing: str) -> None:
    path = tmp_path / "front.csv"
    write_front(path, [front_row(1.0, latency(None, "amd-epyc"))])
    path.write_text(path.read_text().replace(f",{missing}", ",mine"))
    with pytest.raises(RunError, match=rf"front.csv: damaged \(no column {missing}\)"):
        read_front(path)


# ---- a row's own facts


def test_the_error_is_positive_where_the_prediction_was_too_slow() -> None:
    assert latency(1.0, predicted_ms=1.05).error == pytest.approx(0.05)
    assert latency(1.0, predicted_ms=0.9).error == pytest.approx(-0.1)
    assert latency(None).error is None


@pytest.mark.parametrize(
    ("measured_ms", "inside"), [(0.24, False), (0.25, True), (0.3, True), (0.35, True), (0.36, False)]
)
def test_the_ends_of_the_interval_belong_to_it(measured_ms: float, inside: bool) -> None:
    assert latency(measured_ms).in_interval is front_row(measured_ms).in_interval is inside


@given(st.lists(st.booleans(), min_size=1, max_size=4))
def test_a_row_is_within_budget_where_it_is_on_all_devices(verdicts: list[bool]) -> None:
    latencies = tuple(latency(device=f"device{i}", within_budget=verdict) for i, verdict in enumerate(verdicts))
    assert front_row(latencies=latencies).within_budget == all(verdicts)


def test_the_facts_of_a_row_are_those_of_its_first_device() -> None:
    row = front_row(None, latency(2.0, "amd-epyc"))
    assert (row.latency_ms, row.error, row.device) == (0.1 + 0.2, None, "cpu")
    assert row.latency_of("latency") is row.latencies[0] and row.latency_of("latency@amd-epyc") is row.latencies[1]
    with pytest.raises(RunError, match="no latency of device gpu; it has cpu, amd-epyc"):
        row.latency_of("latency@gpu")


def test_a_row_can_be_copied_and_pickled() -> None:
    row = front_row(0.3, latency(None, "amd-epyc"))
    assert copy.copy(row) == copy.deepcopy(row) == pickle.loads(pickle.dumps(row)) == row
    assert len({row, copy.copy(row)}) == 1


def test_a_column_that_a_row_does_not_have_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="no column perplexity_val"):
        _ = front_row().perplexity_val


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"latencies": ()}, "no latency of any device"),
        (
            {"latencies": (latency(), latency(device="b"), latency(device="b"))},
            "predicted_ms@b: two columns of one name",
        ),
        ({"metrics": {"loss": 0.5}}, "loss: no metric of a split"),
        ({"costs": {"onnx": 0.5}}, "onnx: two columns of one name"),
        ({"costs": {"loss_val": 0.5}}, "loss_val: two columns of one name"),
    ],
)
def test_a_row_whose_columns_could_not_be_told_apart_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        front_row(**changes)


def test_what_was_not_measured_is_empty_and_the_prediction_stands_for_it(tmp_path: Path) -> None:
    slow = front_row(latencies=(latency(None, predicted_ms=2.0),))
    fast = front_row(latencies=(latency(None, predicted_ms=1.0),))
    write_front(tmp_path / "front.csv", [slow, fast])
    found = read_front(tmp_path / "front.csv")
    assert found == [fast, slow] and [row.latency_ms for row in found] == [1.0, 2.0]
    assert [row.error for row in found] == [None, None]


def test_a_damaged_architecture_is_named_with_the_path_of_its_run() -> None:
    damaged = front_row(arch_id="a", arch="{")
    with pytest.raises(
        RunError, match=r"^runs/x/front\.csv: the architecture of a is damaged .* --resume --out runs/x` "
    ):
        options_of(damaged, Path("runs/x"))


def test_a_front_of_an_earlier_build_is_read(tmp_path: Path) -> None:
    path = tmp_path / "front.csv"
    write_front(path, [front_row(), front_row(0.4)])
    lines = [
        line.split(",") for line in path.read_text().replace('"{""kernel"":3,""name"":""a, b""}"', "{}").splitlines()
    ]
    place = lines[0].index("within_noise")
    path.write_text("\n".join(",".join(cells[:place] + cells[place + 1 :]) for cells in lines) + "\n")
    assert [row.within_noise for row in read_front(path)] == [False, False]


@pytest.mark.parametrize("verdicts", [[True], [False], [False, True], [False, False]])
def test_a_row_is_within_the_noise_where_it_is_on_any_device(verdicts: list[bool]) -> None:
    latencies = tuple(latency(device=f"device{i}", within_noise=verdict) for i, verdict in enumerate(verdicts))
    assert front_row(latencies=latencies).within_noise == any(verdicts)
