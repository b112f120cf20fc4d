"""Laws of what is told of spaces, data and architectures by name."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console

import hwnas
from hwnas.cli import cli
from hwnas.errors import ArchError, HwnasError, SpaceError
from hwnas.pipeline.describing import described
from hwnas.pipeline.fitting import fitted_to_data
from hwnas.pipeline.predictions import lines_named
from hwnas.pipeline.request import search_request
from hwnas.report.examples import examples_note
from hwnas.runs.database import RunDatabase
from hwnas.runs.front import DeviceLatency, FrontRow
from hwnas.terminal import plain_table


def printed(*words: str) -> str:
    result = CliRunner().invoke(cli, words, catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_a_space_is_told_with_options_choices_and_networks() -> None:
    facts = json.loads(printed("spaces", "conv_macro", "--space-option", "resolution=16", "--json"))
    space = hwnas.space("conv_macro", resolution=16)
    assert facts["space"]["architectures"] == space.size and len(facts["choices"]) == len(space.choices)
    assert {row["option"]: row["here"] for row in facts["options"]}["resolution"] == 16
    assert space.arch(facts["example"]) == space.smallest()
    flops = {row["network"]: row["flops"] for row in facts["networks"]}
    assert flops["smallest"] < flops["largest"] == sum(row["flops"] for row in facts["layers of the largest"])


def test_the_fastest_network_is_that_of_a_shipped_device() -> None:
    networks = {row["network"]: row for row in described(hwnas.space("conv_macro"), "conv_macro")["networks"]}
    fastest = networks["fastest on amd-epyc"]["ms on amd-epyc"]
    assert all(fastest <= row["ms on amd-epyc"] for row in networks.values())


def test_a_space_for_people_names_what_switches_a_choice_on() -> None:
    said = printed("spaces", "mobilenet")
    assert "stage1.depth 2 or 3" in said and "the smallest as an architecture: {" in said


def test_spaces_and_predictors_are_a_line() -> None:
    space = hwnas.space("mobilenet")
    assert len(repr(space)) < 200 and "mobilenet" in repr(space) and "stage1.depth" in space._repr_html_()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda space: space.arch({"stage1.dpth": 1}), ArchError, "did you mean 'stage1.depth'"),
        (lambda _: hwnas.space("mobilenet", resolutoin=3), SpaceError, "did you mean 'resolution'"),
        (lambda _: search_request({"fix": "stage1.dpth=2"}).space.load(), SpaceError, "did you mean 'stage1.depth'"),
    ],
)
def test_what_is_spelled_almost_right_is_suggested(make, error, message: str) -> None:
    with pytest.raises(error, match=message):
        make(hwnas.space("mobilenet"))


def test_the_space_has_the_classes_of_the_data_unless_told_otherwise() -> None:
    angle = fitted_to_data(search_request({"data": "digits-angle"}))
    assert angle.space.load().classes == 1
    told = search_request({"data": "digits-angle", "space_options": {"classes": 4}})
    assert fitted_to_data(told) is told
    same = search_request({"data": "digits"})
    assert fitted_to_data(same) is same


def test_architectures_have_names(tmp_path: Path) -> None:
    space = hwnas.space("conv_macro")
    nowhere = tmp_path / "predictor.json"
    assert lines_named(space, "largest", nowhere) == [space.largest().key]
    assert lines_named(space, "smallest", nowhere) == [space.smallest().key]
    with pytest.raises(HwnasError, match="0123456789: no such file; give a JSON object"):
        lines_named(space, "0123456789", nowhere)
    (tmp_path / "a.onnx").write_bytes(b"no model")
    with pytest.raises(HwnasError, match="cannot be read as an ONNX file"):
        lines_named(space, str(tmp_path / "a.onnx"), nowhere)


def test_a_file_that_is_not_there_is_no_id_of_a_run(tmp_path: Path) -> None:
    RunDatabase(tmp_path / "run.sqlite").close()
    space, predictor = hwnas.space("conv_macro"), tmp_path / "predictor.json"
    for named in ("archs.jsonl", "a/b"):
        with pytest.raises(HwnasError, match=f"{named}: no such file"):
            lines_named(space, named, predictor)
    with pytest.raises(HwnasError, match=r"knee: .* has evaluated no such network; give .* knee, best or an id"):
        lines_named(space, "knee", predictor)


def test_latencies_are_estimated_where_operators_were_not_measured() -> None:
    row, *_ = described(hwnas.space("mobilenet", classes=3), "mobilenet")["networks"]
    measured, *_ = described(hwnas.space("mobilenet"), "mobilenet")["networks"]
    assert row["ms on amd-epyc, estimated"] == pytest.approx(measured["ms on amd-epyc"], rel=0.05)
    assert row["ms on amd-epyc, estimated"] != measured["ms on amd-epyc"]


def test_data_are_told_with_counts_per_class_and_split_and_pictures(tmp_path: Path) -> None:
    facts = json.loads(printed("data", "digits", "--resolution", "8", "--json", "--pictures", str(tmp_path / "p")))
    assert [row["class"] for row in facts["counts"]] == [*"0123456789", "all"]
    assert sum(facts["counts"][-1][split] for split in ("train", "validation", "test")) == 1797
    assert facts["sizes"] == {"8 x 8": 500} and facts["modes"] == {"L": 500}
    assert len(list((tmp_path / "p").glob("*.png"))) == len(facts["pictures"]) == 3


def test_features_are_told_in_their_own_shape(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.random.default_rng(0).normal(size=(30, 5)), y=np.arange(30) % 2)
    facts = json.loads(printed("data", str(tmp_path / "a.npz"), "--json"))
    assert facts["read as"] == "5, float32" and facts["task"] == "classification"


def row(accuracy: float) -> FrontRow:
    latency = DeviceLatency(
        device="cpu",
        predicted_ms=1.0,
        interval_low_ms=0.9,
        interval_high_ms=1.1,
        measured_ms=None,
        measured_median_ms=None,
        measured_p90_ms=None,
        within_budget=True,
        budget_ms=None,
    )
    metrics = {"accuracy_val": accuracy}
    return FrontRow(arch_id="a", arch="{}", stages="", metrics=metrics, latencies=(latency,), costs={}, onnx="")


def test_the_front_says_how_many_examples_its_rows_differ_by() -> None:
    front, data = [row(0.8), row(0.85), row(0.84)], {"sizes": {"validation": 100}}
    assert examples_note(front, data).endswith("rows differ from the next by 5, 1 examples")
    assert examples_note([row(0.8005)], data) == "" and examples_note(front, {}) == ""


def test_long_cells_wrap_in_a_narrow_terminal() -> None:
    table = plain_table([{"device": "cuda", "detail": "install this " * 20}])
    console = Console(width=60, force_terminal=True)
    assert console.measure(table).minimum < 60


def test_large_numbers_are_in_groups_of_digits() -> None:
    console = Console(width=60)
    with console.capture() as capture:
        console.print(plain_table([{"few": 9_445, "many": 791_068_692_960, "none": True}]))
    assert "9445" in capture.get() and "791,068,692,960" in capture.get() and "True" in capture.get()
    assert "architectures: 791,068,692,960" in printed("spaces", "mobilenet")
