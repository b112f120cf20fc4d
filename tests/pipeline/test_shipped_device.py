"""Searching for a device that is not here, by what is shipped of it."""

import json
import os
import runpy
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner

import hwnas
from hwnas.cli import cli
from hwnas.core.operations import restricted
from hwnas.core.space import SearchSpace
from hwnas.data.dataset import load_data
from hwnas.errors import DeviceError, HwnasError, PredictorError, RunError, TableError, UnknownNameError
from hwnas.pipeline.boards import add_device, bundle_winners, verify_measured
from hwnas.pipeline.describing import described
from hwnas.pipeline.preflight import needs_of
from hwnas.pipeline.request import search_request
from hwnas.pipeline.search import SearchResult, resume, search
from hwnas.pipeline.sources import Need, Sources
from hwnas.pipeline.target import Target, require_here
from hwnas.pipeline.target import target_of as target_of_request
from hwnas.pipeline.winners import verify
from hwnas.predict.predictor import LatencyPredictor
from hwnas.predict.shipped import FOLDERS, predictor_path, shipped_devices, table_path
from hwnas.profiler.board import measure_bundle
from hwnas.profiler.device import conditions_here
from hwnas.profiler.profile import Profiling, profile
from hwnas.profiler.table import header_line, line, read_table
from hwnas.runs.folder import RunFolder
from hwnas.runs.front import read_front
from hwnas.runs.own_files import require_no_own_file
from hwnas.testing.notes import Notes

SHIP = runpy.run_path(str(Path(__file__).parents[2] / "scripts/ship_device.py"))
MADE = {"command": "python scripts/ship_device.py board", "date": "2026-01-01", "hwnas": "0"}
QUICK: dict[str, Any] = {"device": ("board",), "limit_images": 128, "epochs": 1, "evaluations": 12, "final_epochs": 1}
GRADIENT: dict[str, Any] = {"strategy": "gradient"}


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return hwnas.space("nasbench201", resolution=8, width=8, cells=1)


@pytest.fixture(scope="module")
def folder(space: SearchSpace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A board, of which this machine's times are told."""
    folder = tmp_path_factory.mktemp("devices")
    path = table_path(folder, "board", "nasbench201")
    profile(Profiling(space=space, conditions=conditions_here("cpu"), path=path), networks=10)
    table = read_table(path)
    conditions = {**table.conditions, "hardware": "a board"}
    path.write_bytes(header_line(conditions, table.space, table.provenance) + b"".join(line(row) for row in table.rows))
    SHIP["ship"](space, path, predictor_path(folder, "board", "nasbench201"), MADE, True)
    return folder


@pytest.fixture(autouse=True)
def known_board(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDERS, str(folder))


@pytest.fixture(scope="module")
def notes() -> Notes:
    return Notes()


@pytest.fixture(scope="module")
def finished(space: SearchSpace, folder: Path, notes: Notes, tmp_path_factory: pytest.TempPathFactory) -> SearchResult:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(FOLDERS, str(folder))
        out = tmp_path_factory.mktemp("runs") / "run"
        return search(space, "digits", out=out, reporter=notes, **QUICK, latency_budget="90%")


@pytest.fixture(scope="module")
def predictor(folder: Path) -> LatencyPredictor:
    return LatencyPredictor.load(predictor_path(folder, "board", "nasbench201"))


# ---- the artefacts


def test_a_shipped_table_is_small_and_gives_the_shipped_predictor_again(
    folder: Path, space: SearchSpace, predictor: LatencyPredictor, tmp_path: Path
) -> None:
    path = table_path(folder, "board", "nasbench201")
    table = read_table(path)
    assert not any("rounds_ms" in row for row in table.rows)
    assert {**table.provenance, **MADE} == table.provenance and predictor.provenance["table"] == "board/nasbench201"
    before = path.read_bytes()
    SHIP["ship"](space, path, tmp_path / "again.json", {**MADE, "date": "later"}, True)
    assert path.read_bytes() == before
    again = LatencyPredictor.load(tmp_path / "again.json")
    rows = space.sample_rows(np.random.default_rng(0), 20)
    assert np.array_equal(again.predict_ms(rows), predictor.predict_ms(rows))


def test_a_name_of_a_local_device_or_of_other_hardware_is_not_shipped(folder: Path) -> None:
    conditions = conditions_here("cpu")
    for name in ("cpu", "cuda", "a/b"):
        with pytest.raises(DeviceError, match=f"{name} is no name for a shipped device"):
            SHIP["require_new"](name, folder, conditions)
    with pytest.raises(DeviceError, match=r"has a board measured under other conditions: hardware a board \(here "):
        SHIP["require_new"]("board", folder, conditions)
    SHIP["require_new"]("another", folder, conditions)


# ---- a search


def test_nothing_is_measured_and_the_budget_is_held_by_the_upper_end_of_the_interval(
    finished: SearchResult, space: SearchSpace, predictor: LatencyPredictor, notes: Notes
) -> None:
    assert not finished.run.table.exists()
    largest_ms = float(predictor.predict_ms(space.encode([space.largest()]))[0]) * predictor.statistics["median"]
    assert finished.latency_budget_ms == pytest.approx(0.9 * largest_ms)
    assert finished.front
    for row in finished.front:
        assert (row.measured_ms, row.measured_median_ms, row.measured_p90_ms) == (None, None, None)
        arch = space.encode([space.arch(json.loads(row.arch))])
        upper_ms = float(predictor.for_space(space).upper(arch, "median")[0])
        assert row.within_budget and upper_ms <= finished.latency_budget_ms
    (device,) = finished.run.read("devices")["devices"]
    assert device["conditions"]["hardware"] == "a board"
    assert any("latency of nasbench201 on board (median)" in text for text in notes.texts)
    assert notes.texts[-1].startswith("not timed: latencies of board are predicted")


def test_the_front_is_written_and_drawn_without_what_was_not_measured(finished: SearchResult) -> None:
    assert tuple(read_front(finished.run.front)) == finished.front
    first = finished.run.front.read_text().splitlines()[1]
    assert ",,,True," in first
    page = finished.run.report.read_text(encoding="utf-8")
    assert "not timed: predicted for a board" in page and '"grade":"unknown"' in page
    assert (finished.run.path / "front.png").stat().st_size > 10_000


def test_models_are_judged_on_test_data_here_and_say_what_was_predicted(
    finished: SearchResult, space: SearchSpace
) -> None:
    data = load_data("digits", space.input_shape, limit=128)
    for row in finished.front:
        session = onnxruntime.InferenceSession(finished.run.path / row.onnx)
        inputs = data.inputs(data.test.raw).numpy()
        logits = np.concatenate([session.run(None, {"input": x[None]})[0] for x in inputs])
        assert (logits.argmax(1) == data.test.labels).mean() == pytest.approx(row.accuracy_test, abs=1e-6)
        said = {item.key: item.value for item in onnx.load(finished.run.path / row.onnx).metadata_props}
        assert float(said["hwnas.predicted_ms"]) == row.predicted_ms and "hwnas.measured_ms" not in said


def test_a_finished_run_resumes_to_itself_and_an_unfinished_one_to_the_same(
    finished: SearchResult, tmp_path: Path
) -> None:
    again = shutil.copytree(finished.run.path, tmp_path / "run")
    for name in ("front.csv", "predictor.json", "supernet.safetensors"):
        (again / name).unlink()
    assert resume(again, Notes(), {}).front == finished.front


@pytest.mark.parametrize("shipped", ["nothing", "other conditions"])
def test_a_run_goes_on_whatever_is_shipped_by_now(
    finished: SearchResult, predictor: LatencyPredictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shipped: str
) -> None:
    monkeypatch.setenv(FOLDERS, str(tmp_path / "devices"))
    if shipped != "nothing":
        put(predictor, tmp_path / "devices", "board", runtime="onnxruntime 99")
    again = shutil.copytree(finished.run.path, tmp_path / "run")
    (again / "front.csv").unlink()
    notes = Notes()
    assert resume(again, notes, {}).front == finished.front
    assert notes.texts[-1].startswith("not timed: latencies of board are predicted")
    (device,) = json.loads((again / "run.json").read_text())["devices"]
    assert device["conditions"] == predictor.conditions


def test_the_strategy_gradient_takes_the_first_network_that_it_derives(space: SearchSpace, tmp_path: Path) -> None:
    result = search(space, "digits", out=tmp_path / "run", **QUICK | GRADIENT, latency_budget="90%")
    (row,) = result.front
    assert "tightened" not in result.run.read()
    assert row.measured_ms is None and row.within_budget


# ---- what a run of another device is refused, and where it is not


def test_verify_names_the_device_it_needs(finished: SearchResult) -> None:
    with pytest.raises(
        RunError, match=r"is of another device than this: board: hardware a board \(here .*; copy it there"
    ):
        verify(finished.run.path, Notes())


def test_on_the_device_itself_verify_measures_for_the_first_time(finished: SearchResult, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished.run.path, tmp_path / "run"))
    facts = json.loads((run / "run.json").read_text())
    facts["devices"][0]["conditions"] = conditions_here("cpu").describe()
    (run / "run.json").write_text(json.dumps(facts))
    found = verify(run, Notes())
    assert [each.row for each in found] == list(finished.front)
    assert all(each.timing.p10_ms > 0 and each.describe()["measured_then_ms"] is None for each in found)


# ---- requests


def put(predictor: LatencyPredictor, folder: Path, name: str, space: str = "nasbench201", **conditions: Any) -> None:
    """A device in the folder, measured under these conditions."""
    path = predictor_path(folder, name, space)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace(predictor, conditions={**predictor.conditions, **conditions}).save(path)


def target_of(space: SearchSpace, **changes: Any) -> Target:
    options = QUICK | {"space": space.reference, "space_options": space.options} | changes
    (device,) = search_request(options).devices.devices()
    return target_of_request(device)


def sources_of(space: SearchSpace, target: Target, **changes: Any) -> tuple[Sources, Need]:
    request = search_request(QUICK | {"space": space.reference, "space_options": space.options} | changes)
    needs = needs_of((), [target], ())
    return Sources(request=request.sources, space=space, restrictions=request.space, needs=needs), needs[0]


def known_predictor(space: SearchSpace, target: Target, **changes: Any) -> LatencyPredictor | None:
    sources, need = sources_of(space, target, **changes)
    return sources.predictor(need)


def test_a_part_of_a_space_uses_the_predictor_of_the_whole(space: SearchSpace, predictor: LatencyPredictor) -> None:
    part = restricted(space, dropped=["*=nor_conv_3x3"])
    assert part.size < space.size
    found = known_predictor(part, target_of(space))
    assert found is not None
    rows = part.sample_rows(np.random.default_rng(0), 20)
    whole = space.encode([part.decode(row) for row in rows])
    assert found.predict_ms(rows) == pytest.approx(predictor.predict_ms(whole))


OTHER: dict[str, Any] = {"space_options": {"resolution": 8, "width": 16, "cells": 1}, "drop": ("*=nor_conv_3x3",)}


def test_operators_that_the_device_has_not_measured_are_estimated_and_the_interval_is_wider(
    space: SearchSpace, predictor: LatencyPredictor, tmp_path: Path
) -> None:
    three = hwnas.space("nasbench201", resolution=8, width=8, cells=1, classes=3)
    found = known_predictor(three, target_of(three))
    assert found is not None and found.report["estimated_operators"] == 1
    assert found.interval[0] <= predictor.interval[0] and found.interval[1] >= predictor.interval[1]
    assert found.provenance["table"] == "board/nasbench201"
    wide = search_request({"space": "nasbench201", **OTHER}).space.load()
    found = known_predictor(wide, target_of(wide), **OTHER)
    assert found is not None and found.report["estimated_operators"] == len(wide.operators())
    printed("fit", "--table", "board/nasbench201", "--space", "nasbench201", "--space-option", "resolution=8",
            "--space-option", "width=8", "--space-option", "cells=1", "--space-option", "classes=3",
            "--allow-unconverged", "--out", tmp_path / "three.json")  # fmt: skip
    rows = three.sample_rows(np.random.default_rng(0), 20)
    again = known_predictor(three, target_of(three))
    assert again is not None
    assert LatencyPredictor.load(tmp_path / "three.json").predict_ms(rows) == pytest.approx(again.predict_ms(rows))


def test_a_search_says_what_it_has_estimated(tmp_path: Path) -> None:
    notes, wide = Notes(), hwnas.space("nasbench201", **OTHER["space_options"])
    quick = QUICK | {"evaluations": 4, "final": "none"}
    result = search(wide, "digits", out=tmp_path / "run", reporter=notes, **quick, latency_budget="90%")
    assert any("operators were not measured on the device and are estimated" in text for text in notes.texts)
    assert result.front and all(row.predicted_ms > 0 for row in result.front)


def test_another_space_is_estimated_from_the_table_that_there_is_or_only_profiled(
    space: SearchSpace, folder: Path, predictor: LatencyPredictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = target_of(space)
    with pytest.raises(
        PredictorError,
        match=r"^device board has no predictor of this conv_macro: it has nasbench201; profile the space there, or estimate "
        r"it: `hwnas fit --table board/nasbench201 --space conv_macro --out cold.json`, and search with --predictor cold.json$",
    ):
        known_predictor(hwnas.space("conv_macro"), target)
    put(predictor, tmp_path, "board")  # the same, without its table
    monkeypatch.setenv(FOLDERS, str(tmp_path))
    with pytest.raises(PredictorError, match=r": it has nasbench201; profile the space there$"):
        known_predictor(hwnas.space("conv_macro"), target)


def test_a_damaged_predictor_is_called_that(
    space: SearchSpace, predictor: LatencyPredictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(predictor, tmp_path, "board", "fbnet")
    predictor_path(tmp_path, "board", "nasbench201").write_text("{")
    monkeypatch.setenv(FOLDERS, str(tmp_path))
    with pytest.raises(PredictorError, match=r"nasbench201.json: not a predictor's JSON, or damaged; fit it again$"):
        known_predictor(space, target_of(space))


def test_other_names_are_refused(space: SearchSpace) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown device 'bored'; known: amd-epyc, board, cpu, cuda"):
        target_of(space, device=("bored",))
    with pytest.raises(UnknownNameError, match="unknown precision 'int4'"):
        target_of(space, device=("cpu",), precision="int4")


def test_other_conditions_are_refused_with_those_of_the_device(
    space: SearchSpace, predictor: LatencyPredictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(predictor, tmp_path, "wide", threads=4, batch=32)
    put(predictor, tmp_path, "gpu", device="cuda", runtime="torch 2.0", precision="bf16")
    put(predictor, tmp_path, "still", runtime_options={"allow_spinning": "0"})
    monkeypatch.setenv(FOLDERS, str(tmp_path))

    def refused(**asked: Any) -> str:
        with pytest.raises(DeviceError, match=r"^device \w+ was measured under other conditions; give ") as refusal:
            target_of(space, **asked)
        return str(refusal.value).partition("; give ")[2]

    assert refused(device=("wide",)) == "--threads 4 --batch 32"
    assert refused(device=("wide",), threads=4, batch=1) == "--batch 32"
    assert target_of(space, device=("wide",), threads=4, batch=32).here.batch == 32
    assert refused(device=("wide",), threads=4, batch=32, runtime="torch") == "--runtime onnxruntime"
    assert refused(device=("gpu",), runtime="onnxruntime") == "--precision bf16 --runtime torch"
    assert target_of(space, device=("gpu",), precision="bf16").conditions["runtime"] == "torch 2.0"
    assert refused(device=("still",)) == "--runtime-option allow_spinning=0"
    asked = {"allow_spinning": "0", "denormal_as_zero": "1"}
    assert refused(device=("still",), runtime_options=asked) == "--runtime-option denormal_as_zero=0"


def test_usual_values_of_options_and_permissions_are_no_other_conditions(space: SearchSpace) -> None:
    options = {"graph_optimization": "all", "slow_int8": "allowed"}
    assert target_of(space, runtime_options=options, runtime="onnxruntime").shipped == "board"
    with pytest.raises(UnknownNameError, match="unknown runtime option 'graph'"):
        target_of(space, runtime_options={"graph": "all"})


def test_names_of_this_machines_devices_are_never_shipped_ones(
    space: SearchSpace, predictor: LatencyPredictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(predictor, tmp_path, "cpu")
    monkeypatch.setenv(FOLDERS, str(tmp_path))
    assert "cpu" in shipped_devices()
    target = target_of(space, device=("cpu",))
    assert target.timed and target.conditions == conditions_here("cpu").describe()
    require_here("cpu")


def test_a_device_that_is_not_found_may_be_in_a_folder_that_is_not_there(
    space: SearchSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLDERS, str(tmp_path / "nowhere"))
    with pytest.raises(
        DeviceError, match=r"^device board is not found: HWNAS_DEVICES names .*nowhere, which is no folder"
    ):
        target_of(space)
    assert target_of(space, device=("cpu",)).timed


def test_a_table_or_predictor_that_is_given_goes_before_the_shipped_one(space: SearchSpace, folder: Path) -> None:
    target = target_of(space)
    sources, need = sources_of(space, target, table=("board/nasbench201",))
    assert sources.predictor(need) is None
    assert sources.table(need) == table_path(folder, "board", "nasbench201")
    assert known_predictor(space, target, predictor=("board/nasbench201",)) is not None
    sources, _ = sources_of(space, target_of(space, device=("cpu",)), predictor=("board/nasbench201",))
    with pytest.raises(HwnasError, match="fitted under other conditions: hardware a board"):
        sources.check()


# ---- commands


def printed(*arguments: object) -> str:
    outcome = CliRunner().invoke(cli, [str(each) for each in arguments], catch_exceptions=False)
    assert outcome.exit_code == 0
    return outcome.stdout


def test_devices_are_listed_with_the_shipped_ones() -> None:
    listed = json.loads(printed("devices", "--json"))
    assert listed["devices"][0]["device"] == "cpu"
    (board,) = [row for row in listed["shipped"] if row["device"] == "board"]
    runtime = conditions_here("cpu").runtime
    assert board == {
        "device": "board",
        "hardware": "a board",
        "runtime": runtime,
        "precision": "fp32",
        "spaces": ["nasbench201"],
        "detail": "",
    }
    assert "a board" in printed("devices") and "nasbench201" in printed("devices")


def test_a_damaged_device_and_a_folder_that_is_not_there_are_told_beside_the_others(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = predictor_path(tmp_path, "broken", "vit")
    damaged.parent.mkdir(parents=True)
    damaged.write_text("{")
    monkeypatch.setenv(FOLDERS, os.pathsep.join(map(str, (folder, tmp_path, tmp_path / "nowhere"))))
    outcome = CliRunner().invoke(cli, ["devices", "--json"], catch_exceptions=False)
    rows = {row["device"]: row for row in json.loads(outcome.stdout)["shipped"]}
    assert rows["board"]["hardware"] == "a board"
    assert rows["broken"]["detail"] == f"{damaged}: not a predictor's JSON, or damaged; fit it again"
    assert f"HWNAS_DEVICES names {tmp_path / 'nowhere'}, which is no folder" in outcome.stderr
    assert "or damaged; fit it again" in printed("devices")


def test_shipped_predictors_and_tables_are_given_by_name(space: SearchSpace, folder: Path, tmp_path: Path) -> None:
    answer = json.loads(printed("predict", "--predictor", "board/nasbench201", "--arch", space.smallest().key))
    assert answer["predicted_ms"] > 0
    merged = json.loads(printed("merge", "board/nasbench201", "--out", tmp_path / "merged.jsonl", "--json"))
    assert merged["rows"] == len(read_table(table_path(folder, "board", "nasbench201")).rows)
    printed("fit", "--table", "board/nasbench201", "--allow-unconverged", "--out", tmp_path / "p.json")
    assert LatencyPredictor.load(tmp_path / "p.json").conditions["hardware"] == "a board"


def test_a_shipped_device_is_profiled_where_it_is(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="device board is measured where it is, as --device cpu; what is known of it"):
        printed("profile", "--device", "board", "--out", tmp_path / "table.jsonl")
    assert not list(tmp_path.iterdir())


# ---- boards


def told_of(path: Path, **conditions: Any) -> Path:
    """The table, with other conditions: this machine's times are told of another device."""
    table = read_table(path)
    header = header_line({**table.conditions, **conditions}, table.space, table.provenance)
    path.write_bytes(header + b"".join(line(row) for row in table.rows))
    return path


def test_a_device_is_added_by_its_table_and_searches_are_for_it(
    folder: Path, space: SearchSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = table_path(folder, "board", "nasbench201")
    added = json.loads(printed("device", "add", "pi5", table, "--folder", tmp_path, "--allow-unconverged", "--json"))
    assert added["added"][0]["device"] == "pi5" and added["added"][0]["spaces"] == ["nasbench201"]
    monkeypatch.setenv(FOLDERS, str(tmp_path))
    assert known_predictor(space, target_of(space, device=("pi5",)), device=("pi5",)) is not None
    for name in ("cpu", "a/b", "a+b"):
        with pytest.raises(DeviceError, match="is no name for a device that is not here"):
            add_device(name, [table], tmp_path)
    again = Path(shutil.copyfile(table, tmp_path / "again.jsonl"))
    with pytest.raises(DeviceError, match=r"again.jsonl: pi5 would have two tables of nasbench201 \(.*remove the file"):
        add_device("pi5", [again], tmp_path, allow_unconverged=True)
    other = told_of(Path(shutil.copyfile(table, tmp_path / "other.jsonl")), threads=2)
    with pytest.raises(DeviceError, match=r"this table's differ: threads 2 \(here 1\); add it under another name"):
        add_device("pi5", [other], tmp_path, allow_unconverged=True)


def test_a_table_of_a_device_that_is_not_here_names_the_way_to_search_for_it(space: SearchSpace, folder: Path) -> None:
    table = table_path(folder, "board", "nasbench201")
    sources, _ = sources_of(space, target_of(space, device=("cpu",)), table=(str(table),))
    with pytest.raises(
        TableError, match=r"measured on a board, which is not here; `hwnas device add NAME .*--device NAME"
    ):
        sources.check()


def test_a_table_of_this_machine_is_no_table_of_another_device(
    space: SearchSpace, folder: Path, tmp_path: Path
) -> None:
    table = table_path(folder, "board", "nasbench201")
    here = told_of(Path(shutil.copyfile(table, tmp_path / "here.jsonl")), hardware=conditions_here("cpu").hardware)
    sources, _ = sources_of(space, target_of(space), table=(str(here),))
    with pytest.raises(
        TableError,
        match=r"measured on this machine .*, which is not board; search with --device cpu, or without --table",
    ):
        sources.check()


def test_a_device_that_was_added_tells_the_latencies_of_its_space(
    finished: SearchResult, space: SearchSpace, predictor: LatencyPredictor
) -> None:
    networks = {row["network"]: row for row in described(space, "nasbench201")["networks"]}
    assert networks["largest"]["ms on board"] == float(predictor.predict_ms([space.largest()])[0])


def measured_table(
    run: Path, path: Path, space: SearchSpace, conditions: Mapping[str, Any], ms: Sequence[float]
) -> Path:
    """A table in which each network of a run's front takes so many milliseconds."""
    shared = {"kind": "network", "repeat": 0, "spread": 0.0, "half_width": 0.001, "converged": True, "calls": 9}
    shared |= {"discarded": 0, "rounds_ms": [1.0], "reference_ms": 1.0}
    content = header_line(conditions, space.describe(), {})
    for row, each_ms in zip(read_front(run / "front.csv"), ms, strict=True):
        times = {"p10_ms": each_ms, "median_ms": each_ms, "p90_ms": 2 * each_ms}
        content += line({**shared, **times, "key": space.arch(json.loads(row.arch)).key})
    path.write_bytes(content)
    return path


def test_networks_that_a_measured_one_beats_leave_the_front_and_rows_keep_their_verdicts(
    finished: SearchResult, space: SearchSpace, predictor: LatencyPredictor, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(finished.run.path, tmp_path / "run"))
    by_loss = sorted(finished.front, key=lambda row: row.loss_val)
    if len(by_loss) == 1:
        pytest.skip("the search found a front of one network")
    # The network of the least loss becomes the fastest, and the last one misses its budget.
    ms = [0.5 * finished.latency_budget_ms * (0.5 if row is by_loss[0] else 1) for row in finished.front]
    ms[finished.front.index(by_loss[-1])] = 2 * finished.latency_budget_ms
    table, notes = measured_table(run, tmp_path / "t.jsonl", space, predictor.conditions, ms), Notes()
    verified = verify_measured(run, table, notes)
    assert [each.within_budget for each in verified] == [row is not by_loss[-1] for row in finished.front]
    (kept,) = read_front(RunFolder(run).measured_front)
    assert (kept.arch_id, kept.measured_ms) == (by_loss[0].arch_id, min(ms))
    within = len(ms) - 1
    words = f"{within} of {len(ms)} networks are within the budget"
    words += f", {within - 1} of which another one beats in all objectives" if within > 1 else ""
    assert notes.texts == [f"as measured for board: {words}: {run / 'front-measured.csv'}"]
    assert verify_measured(run, run / "measured.jsonl", Notes()) == verified  # the copy of the run
    with pytest.raises(RunError, match=r"measured.jsonl: is a file of the run"):
        require_no_own_file(run / "measured.jsonl")


@pytest.mark.slow(reason="searches for two devices")
def test_a_second_device_joins_the_measured_front_of_the_first(
    space: SearchSpace, folder: Path, predictor: LatencyPredictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(predictor, tmp_path / "devices", "other", hardware="another board")
    monkeypatch.setenv(FOLDERS, os.pathsep.join([str(folder), str(tmp_path / "devices")]))
    options = QUICK | {"device": ("board", "other"), "latency_budget": "board:90%,other:95%"}
    run = search(space, "digits", out=tmp_path / "run", **options).run
    ms = [1e-4 * (1 + number) for number in range(len(read_front(run.front)))]
    for hardware in ("a board", "another board"):
        conditions = {**predictor.conditions, "hardware": hardware}
        notes = Notes()
        verify_measured(run.path, measured_table(run.path, tmp_path / "t.jsonl", space, conditions, ms), notes)
    assert notes.texts[-1].startswith("as measured for board, other: ")
    measured = read_front(run.measured_front)
    assert measured and all(None not in {each.measured_ms for each in row.latencies} for row in measured)


@pytest.mark.slow(reason="measures the winners of a run")
def test_winners_are_packed_measured_elsewhere_and_judged_by_that(finished: SearchResult, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished.run.path, tmp_path / "run"))
    models = bundle_winners(run, tmp_path / "winners.zip", None, Notes())
    assert len(finished.front) <= models <= len(finished.front) + 1  # and the largest, as the reference
    out = tmp_path / "winners.jsonl"
    measure_bundle(tmp_path / "winners.zip", out, threads=None, reporter=Notes())
    with pytest.raises(RunError, match=r"measured on another device than the run's: board: hardware "):
        verify_measured(run, out, Notes())
    told_of(out, hardware="a board", runtime="onnxruntime 0.1")
    notes = Notes()
    verified = verify_measured(run, out, notes)
    assert [each.row.arch_id for each in verified] == [row.arch_id for row in finished.front]
    assert notes.texts[0].startswith("measured by onnxruntime 0.1, and predicted for onnxruntime ")
    measured = read_front(RunFolder(run).measured_front)
    within = {each.row.arch_id: each.timing.p10_ms for each in verified if each.within_budget}
    assert bool(measured) == bool(within)
    assert all(row.measured_ms == pytest.approx(within[row.arch_id]) for row in measured)
    assert tuple(read_front(run / "front.csv")) == finished.front
