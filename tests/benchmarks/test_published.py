"""Published latencies are read as they were written, and what is no such table is refused."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hwnas.benchmarks.published import TABLES, PublishedLatencies, published_rows, published_space
from hwnas.errors import DataError, UnknownNameError
from hwnas.spaces.nasbench201 import from_string

FILES = {"nasbench201": "nasbench201.parquet", "fbnet": "fbnet_latency.parquet", "ofa": "ofa_latency.parquet"}
COLUMNS = {"kernel": "kernel", "expansion": "expand"}
every_table = pytest.mark.parametrize("name", TABLES)


def options_of(name: str) -> dict[str, list[float]]:
    """What the columns of a table may hold, in the order of the file."""
    if name == "nasbench201":
        return {f"edge{number}": [0, 1, 2, 3, 4] for number in range(6)}
    if name == "fbnet":
        return {f"layer{number}": list(range(9)) for number in range(22)}
    blocks = {
        f"{role}{n}": options for role, options in (("kernel", [3, 5, 7]), ("expand", [3, 4, 6])) for n in range(20)
    }
    return {**blocks, **{f"depth{n}": [2, 3, 4] for n in range(5)}, "resolution": list(range(128, 225, 4))}


def made_up(name: str, networks: int = 7) -> dict[str, list[float]]:
    """A table of a device that takes as many milliseconds as the network's number, from 1; another refuses the first."""
    rng = np.random.default_rng(0)
    columns = {column: rng.choice(options, networks).tolist() for column, options in options_of(name).items()}
    latency_ms = [float(number) for number in range(1, networks + 1)]
    return {**columns, "latency_ms_phone": latency_ms, "latency_ms_chip_1": [-1.0, *latency_ms[1:]]}


def write(folder: Path, name: str, columns: Mapping[str, list[float]]) -> Path:
    pq.write_table(pa.table(columns), folder / FILES[name])
    return folder


@every_table
def test_rows_are_the_files_options_as_written(tmp_path: Path, name: str) -> None:
    columns = made_up(name)
    table = TABLES[name](write(tmp_path, name, columns))
    assert table.space.fingerprint == published_space(name).fingerprint
    for column, choice in enumerate(table.space.choices):
        in_file = column_of(name, choice.name)
        assert table.rows_NC[:, column].tolist() == [options_of(name)[in_file].index(o) for o in columns[in_file]]


def column_of(name: str, choice: str) -> str:
    """The column of a choice, told from its name."""
    if name != "ofa" or choice == "resolution":
        return choice
    stage, *block, role = choice.split(".")
    first = int(stage.removeprefix("stage")) - 1
    if not block:
        return f"{role}{first}"
    return f"{COLUMNS[role]}{4 * first + int(block[0].removeprefix('block')) - 1}"


@every_table
def test_rows_written_as_in_the_file_are_those_of_its_table(tmp_path: Path, name: str) -> None:
    columns = made_up(name)
    table = TABLES[name](write(tmp_path, name, columns))
    rows = np.stack([columns[column] for column in options_of(name)], axis=1)
    assert np.array_equal(published_rows(name, rows), table.rows_NC)


@every_table
def test_indices_of_options_do_for_the_options_themselves(name: str) -> None:
    columns, options = made_up(name), options_of(name)
    rows = np.stack([columns[column] for column in options], axis=1)
    indices = np.stack([np.searchsorted(options[column], columns[column]) for column in options], axis=1)
    assert np.array_equal(published_rows(name, indices), published_rows(name, rows))


@every_table
def test_rows_with_another_number_of_columns_are_refused(name: str) -> None:
    count = len(options_of(name))
    for shape in ((3, count - 1), (3, count + 1), (count,)):
        with pytest.raises(DataError) as raised:
            published_rows(name, np.zeros(shape, dtype=int))
        assert str(raised.value).startswith(f"rows of {name} have {count} columns ({next(iter(options_of(name)))}, ")
        assert str(raised.value).endswith(f", not shape {shape}")


@every_table
@pytest.mark.parametrize("wrong", [-1, 9.5, 1000, float("nan")])
def test_rows_of_what_is_no_option_are_refused(name: str, wrong: float) -> None:
    columns = made_up(name)
    rows = np.stack([columns[column] for column in options_of(name)], axis=1).astype(float)
    rows[4, -1] = wrong
    with pytest.raises(DataError, match=rf"^{name}: column '{[*options_of(name)][-1]}' holds {wrong:g}, not one of \["):
        published_rows(name, rows)


@every_table
def test_latencies_are_the_columns_and_nan_where_a_device_refused(tmp_path: Path, name: str) -> None:
    columns = made_up(name)
    table = TABLES[name](write(tmp_path, name, {**columns, "energy_mj_phone": [2.0] * 7, "params_m": [1.0] * 7}))
    assert list(table.latency_ms) == ["phone", "chip_1"] and list(table.other) == ["energy_mj_phone"]
    assert table.latency_ms["phone"].tolist() == columns["latency_ms_phone"]
    assert np.isnan(table.latency_ms["chip_1"]).tolist() == [True] + [False] * 6
    assert list(table.measured) == ["phone", "chip_1", "energy_mj_phone"]


@every_table
def test_a_table_without_a_column_is_refused(tmp_path: Path, name: str) -> None:
    columns = made_up(name)
    for column in (min(options_of(name)), max(options_of(name))):
        without = {key: values for key, values in columns.items() if key != column}
        with pytest.raises(DataError, match=rf"{FILES[name]}: has no column '{column}'; fetch the file again"):
            TABLES[name](write(tmp_path, name, without))
    only_options = {column: columns[column] for column in options_of(name)}
    with pytest.raises(DataError, match=rf"{FILES[name]}: has no column that begins with 'latency_ms_'"):
        TABLES[name](write(tmp_path, name, only_options))


@every_table
@pytest.mark.parametrize("wrong", [9.5, float("nan")])
def test_a_value_that_is_no_option_is_refused(tmp_path: Path, name: str, wrong: float) -> None:
    column = min(options_of(name))
    columns = made_up(name) | {column: [*made_up(name)[column][:-1], wrong]}
    with pytest.raises(DataError, match=rf"{FILES[name]}: column '{column}' holds {wrong:g}, not one of \["):
        TABLES[name](write(tmp_path, name, columns))


@every_table
def test_a_folder_without_the_table_and_a_damaged_one_are_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=rf"{FILES[name]}: does not exist; give the folder"):
        TABLES[name](tmp_path)
    (tmp_path / FILES[name]).write_text("not a table")
    with pytest.raises(DataError, match=rf"{FILES[name]}: cannot be read \(.*\); fetch the file again"):
        TABLES[name](tmp_path)


def test_a_table_that_there_is_not_is_answered_with_those_there_are() -> None:
    with pytest.raises(
        UnknownNameError, match="unknown table of latencies 'mobilenet'; known: fbnet, nasbench201, ofa"
    ):
        published_space("mobilenet")


def test_fbnets_options_are_numbered_as_in_the_table() -> None:
    blocks = ("k3_e1", "k3_e1_g2", "k3_e3", "k3_e6", "k5_e1", "k5_e1_g2", "k5_e3", "k5_e6", "skip")
    assert {choice.name: choice.options for choice in published_space("fbnet").choices} == {
        f"layer{number}": blocks for number in range(22)
    }


# ---- the published files


@pytest.fixture(scope="module", params=TABLES)
def table(bench_data: Path, request: pytest.FixtureRequest) -> PublishedLatencies:
    return TABLES[request.param](bench_data)


def test_the_published_tables_have_their_devices_and_networks(table: PublishedLatencies) -> None:
    networks, devices = {"nasbench201": (15625, 15), "fbnet": (5000, 13), "ofa": (5000, 9)}[table.space.name]
    assert table.rows_NC.shape == (networks, len(table.space.choices)) and len(table.latency_ms) == devices
    assert list(table.other) == (["energy_mj_edgegpu"] if table.space.name == "nasbench201" else [])
    refused = {name: int(np.isnan(values_N).sum()) for name, values_N in table.measured.items()}
    expected = {"edgetpu": 4699} if table.space.name == "nasbench201" else {}
    assert {name: count for name, count in refused.items() if count} == expected
    assert all(np.nanmin(values_N) > 0 for values_N in table.measured.values())


def test_networks_with_more_flops_take_longer_on_the_whole(table: PublishedLatencies) -> None:
    flops_N = table.space.costs("flops", table.space.normalise(table.rows_NC))
    for device, latency_N in table.measured.items():
        runs = np.isfinite(latency_N)
        assert np.corrcoef(flops_N[runs], latency_N[runs])[0, 1] > 0.2, device


def test_cells_are_those_of_the_benchmarks_strings(bench_data: Path) -> None:
    table = TABLES["nasbench201"](bench_data)
    strings = pq.read_table(bench_data / FILES["nasbench201"], columns=["arch"])["arch"].to_pylist()
    for row, string in list(zip(table.rows_NC, strings, strict=True))[::1000]:
        written = from_string(string)
        assert [choice.options[i] for choice, i in zip(table.space.choices, row, strict=True)] == list(written.values())
