"""Laws of what is shipped: found by the names of device and space, in the folders that are asked, and of no other name."""

import os
from pathlib import Path

import pytest

from hwnas.errors import PredictorError, TableError
from hwnas.predict.predictor import LatencyPredictor
from hwnas.predict.shipped import (
    known_folders,
    missing_folders,
    own_folder,
    predictor_file,
    predictor_path,
    shipped_devices,
    table_file,
    table_path,
)
from hwnas.profiler.table import read_table
from hwnas.spaces import SPACES, load_space

MOST_BYTES = 400_000


def put(predictor: LatencyPredictor, folder: Path, device: str, space: str) -> Path:
    path = predictor_path(folder, device, space)
    path.parent.mkdir(parents=True, exist_ok=True)
    predictor.save(path)
    return path


@pytest.fixture
def folder(predictor: LatencyPredictor, tmp_path: Path) -> Path:
    """Two devices, one with two spaces and a table."""
    for device, space in (("board", "mobilenet"), ("board", "fbnet"), ("phone", "mobilenet")):
        put(predictor, tmp_path, device, space)
    table_path(tmp_path, "board", "mobilenet").parent.mkdir(parents=True)
    table_path(tmp_path, "board", "mobilenet").write_text("rows")
    return tmp_path


def test_devices_are_found_with_their_spaces_and_conditions(folder: Path, predictor: LatencyPredictor) -> None:
    found = shipped_devices([folder])
    assert {name: device.spaces for name, device in found.items()} == {
        "board": ("fbnet", "mobilenet"),
        "phone": ("mobilenet",),
    }
    assert found["board"].conditions == predictor.conditions


def test_what_is_no_device_is_passed_over(folder: Path) -> None:
    (folder / "predictors/empty").mkdir()
    (folder / "predictors/README.md").write_text("notes")
    assert shipped_devices([folder]).keys() == {"board", "phone"}
    assert shipped_devices([folder / "nowhere"]) == {}


def test_of_a_name_that_two_folders_have_the_first_ones_device_counts(
    folder: Path, predictor: LatencyPredictor, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("other")
    put(predictor, other, "board", "vit")
    put(predictor, other, "car", "vit")
    found = shipped_devices([folder, other])
    assert found.keys() == {"board", "phone", "car"} and found["board"].folder == folder


def test_hwnas_own_folder_comes_first_and_the_environments_follow() -> None:
    (own,) = known_folders({})
    assert own.samefile(Path(__file__).parents[2])
    assert known_folders({"HWNAS_DEVICES": f"/a{os.pathsep}/b"}) == (own, Path("/a"), Path("/b"))


def test_devices_inside_the_package_win_over_what_stands_beside_it(folder: Path, tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    assert own_folder(package) == tmp_path == folder
    (package / "predictors").mkdir()
    assert own_folder(package) == package


def test_folders_that_are_not_there_are_told(tmp_path: Path) -> None:
    told = missing_folders({"HWNAS_DEVICES": f"{tmp_path}{os.pathsep}{tmp_path / 'a'}"})
    assert told == [f"HWNAS_DEVICES names {tmp_path / 'a'}, which is no folder; correct it, or leave it out"]
    assert missing_folders({}) == []


def test_a_device_that_is_damaged_is_described_with_the_error(folder: Path) -> None:
    predictor_path(folder, "phone", "mobilenet").write_text("{")
    board, phone = (device.describe() for device in shipped_devices([folder]).values())
    assert board["detail"] == ""
    assert phone["spaces"] == ["mobilenet"] and phone["detail"].endswith("damaged; fit it again")


def test_tables_are_those_of_the_folder(folder: Path) -> None:
    assert {name: device.tables for name, device in shipped_devices([folder]).items()} == {
        "board": ("mobilenet",),
        "phone": (),
    }


def test_a_device_and_a_space_name_a_file(folder: Path) -> None:
    devices = shipped_devices([folder])
    assert predictor_file("board/fbnet", devices) == predictor_path(folder, "board", "fbnet")
    assert table_file(Path("board/mobilenet"), devices) == table_path(folder, "board", "mobilenet")


def test_what_is_written_otherwise_is_a_file_as_written(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices = shipped_devices([folder])
    for written in ("p.json", "boards/fbnet", "/board/fbnet", "a/board/fbnet"):
        assert predictor_file(written, devices) == table_file(written, devices) == Path(written)
    monkeypatch.chdir(tmp_path)  # a file that is there is meant
    Path("board").mkdir()
    Path("board/fbnet").write_text("mine")
    assert predictor_file("board/fbnet", devices) == Path("board/fbnet")


def test_a_space_that_a_device_has_not_is_answered_with_those_it_has(folder: Path) -> None:
    devices = shipped_devices([folder])
    with pytest.raises(PredictorError, match="device board has no predictor of 'vit'; it has fbnet, mobilenet"):
        predictor_file("board/vit", devices)
    with pytest.raises(TableError, match="device board has no table of 'fbnet'"):
        table_file("board/fbnet", devices)


def test_all_that_comes_with_hwnas_is_of_a_space_as_it_is_at_default_options_and_small() -> None:
    """One device's conditions are the same for all of its spaces; what is shipped says how it was made."""
    shipped = shipped_devices(known_folders({}))
    assert "amd-epyc" in shipped
    for device in shipped.values():
        for name in device.spaces:
            assert name in SPACES
            predictor, table = LatencyPredictor.load(device.predictor(name)), read_table(device.table(name))
            assert predictor.space == table.space == load_space(name).describe()
            assert predictor.conditions == table.conditions == device.conditions
            assert {"command", "date", "hwnas"} <= predictor.provenance.keys() & table.provenance.keys()
            for path in (device.predictor(name), device.table(name)):
                assert path.stat().st_size < MOST_BYTES
