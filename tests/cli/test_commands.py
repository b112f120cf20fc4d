"""The command line on real files: every command on one finished run, and every wrong request."""

import csv
import json
import math
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from PIL import Image

from hwnas.__main__ import _terminated, _told, main
from hwnas.cli import COMMANDS, cli
from hwnas.data.dataset import load_data
from hwnas.pipeline.request import search_request
from hwnas.pipeline.worth import worth_of
from hwnas.profiler.device import conditions_here
from hwnas.profiler.table import header_line, line, read_table
from hwnas.runs.database import RunDatabase
from hwnas.runs.folder import create_run
from hwnas.runs.front import read_front
from hwnas.spaces import load_space
from hwnas.strategies.registry import STRATEGIES

ROOT = Path(__file__).parents[2]
OWN_SPACE = f"{ROOT / 'scripts/examples/own_space.py'}:build"
TINY = [
    "--space",
    OWN_SPACE,
    "--space-option",
    "resolution=16",
    "--data",
    "digits",
    "--epochs",
    "1",
    "--limit-images",
    "200",
]


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def message(self) -> str:
        """Returns the message of a refused request: the only line of stderr that begins with `hwnas:`."""
        assert "Traceback" not in self.err
        lines = [line for line in self.err.splitlines() if line.startswith("hwnas: ")]
        assert len(lines) == 1, self.err
        return lines[0]


Run = Callable[..., Outcome]


@pytest.fixture
def hwnas(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["hwnas", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main()
        captured = capsys.readouterr()
        return Outcome(int(exit_.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the example space, made by the command itself."""
    path = tmp_path_factory.mktemp("runs") / "finished"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            sys,
            "argv",
            [
                "hwnas",
                "search",
                *TINY,
                "--latency-budget",
                "1s",  # a busy machine must not miss it
                "--evaluations",
                "30",
                "--networks",
                "10",
                "--final-epochs",
                "1",
                "--out",
                str(path),
            ],
        )
        with pytest.raises(SystemExit) as exit_:
            main()
    assert not exit_.value.code
    return path


def fit_of(finished: Path) -> list[object]:
    """The arguments that fit the table of a run, also where a busy machine measured rows that did not converge."""
    return ["fit", "--table", finished / "table.jsonl", "--allow-unconverged"]


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """A run that a test may damage."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def test_every_row_of_a_front_is_not_dominated_and_within_budget(finished: Path) -> None:
    rows = read_front(finished / "front.csv")
    budget_ms = json.loads((finished / "run.json").read_text())["latency_budget_ms"]
    assert rows
    assert all(row.within_budget and row.measured_median_ms <= budget_ms for row in rows)
    for latency in ("predicted_ms", "measured_ms", "measured_median_ms"):
        points = [(row.loss_val, getattr(row, latency)) for row in rows]
        for point in points:
            assert not any(other != point and other[0] <= point[0] and other[1] <= point[1] for other in points)


def test_an_onnx_file_has_the_accuracy_the_front_says_and_carries_its_provenance(finished: Path) -> None:
    data = load_data("digits", (3, 16, 16), limit=200)
    for row in read_front(finished / "front.csv"):
        session = ort.InferenceSession((finished / row.onnx).read_bytes(), providers=["CPUExecutionProvider"])
        inputs = data.inputs(data.test.raw).numpy()
        logits = np.concatenate([session.run(None, {"input": x[None]})[0] for x in inputs])
        assert (logits.argmax(1) == data.test.labels).mean() == pytest.approx(row.accuracy_test, abs=1e-6)
        properties = {item.key: item.value for item in onnx.load(finished / row.onnx).metadata_props}
        assert properties["hwnas.arch"] == row.arch
        assert float(properties["hwnas.predicted_ms"]) == row.predicted_ms
        assert float(properties["hwnas.measured_ms"]) == row.measured_ms
        here = conditions_here("cpu")
        assert properties["hwnas.measured_by"] == f"onnxruntime {ort.__version__}, fp32, {here.hardware}"
        assert json.loads(properties["hwnas.mean"]) == pytest.approx(data.normalise.mean)
        assert {"hwnas.space", "hwnas.version", "hwnas.std", "hwnas.classes"} <= set(properties)


def test_a_run_folder_has_what_the_documentation_lists(finished: Path) -> None:
    names = {path.name for path in finished.iterdir()}
    assert {"run.json", "run.sqlite", "supernet.safetensors", "front.csv", "table.jsonl", "predictor.json"} <= names
    assert {"report.html", "front.png", "models", "importance.csv", "importance.png"} <= names
    assert {"hypervolume.csv", "hypervolume.png"} <= names
    assert {f"models/{path.name}" for path in (finished / "models").iterdir()} == {
        row.onnx for row in read_front(finished / "front.csv")
    }


def test_spaces_and_devices_are_listed(hwnas: Run) -> None:
    spaces = json.loads(hwnas("spaces", "--json").out)["spaces"]
    assert {
        "space": "mobilenet",
        "architectures": spaces[0]["architectures"],
        "choices": 30,
        "operators": 201,
        "fingerprint": load_space("mobilenet").fingerprint,
    } in spaces
    devices = {row["device"]: row for row in json.loads(hwnas("devices", "--json").out)["devices"]}
    assert devices["cpu"]["usable"] is True
    assert "CUDA" in devices["cuda"]["detail"] or devices["cuda"]["usable"]


def test_a_space_of_ones_own_is_listed_beside_the_built_in_ones(hwnas: Run) -> None:
    listed = hwnas("spaces", "--space", OWN_SPACE, "--space-option", "blocks=2", "--json").out
    rows = {row["space"]: row for row in json.loads(listed)["spaces"]}
    own = rows[f"{OWN_SPACE} blocks=2"]
    assert (own["architectures"], own["choices"]) == (16, 2)
    assert own["fingerprint"] == load_space(OWN_SPACE, {"blocks": 2}).fingerprint
    assert "mobilenet" in rows
    assert "need a --space that they are about" in hwnas("spaces", "--space-option", "blocks=2").message


def test_hwnas_alone_says_what_there_is(hwnas: Run) -> None:
    outcome = hwnas()
    assert outcome.code == 0
    assert all(name in outcome.out for name in COMMANDS)


def test_fit_prints_the_held_out_error(hwnas: Run, finished: Path, tmp_path: Path) -> None:
    report = json.loads(hwnas(*fit_of(finished), "--out", tmp_path / "p.json", "--json").out)
    assert 0 < report["held_out"]["mape"] < math.inf
    assert list(report["baselines"]) == ["isolated_sum", "affine_sum", "flops"]
    assert 0 <= report["covered"] <= 1
    assert (tmp_path / "p.json").read_text() == (finished / "predictor.json").read_text()


def test_a_fits_points_are_in_its_file_and_not_printed(hwnas: Run, finished: Path, tmp_path: Path) -> None:
    report = json.loads(hwnas(*fit_of(finished), "--out", tmp_path / "p.json", "--json").out)
    assert "points" not in report
    points = json.loads((tmp_path / "p.json").read_text())["report"]["points"]
    assert len(points["predicted_ms"]) == len(points["measured_ms"]) == report["networks"]


def test_fit_prints_a_table_for_people(hwnas: Run, finished: Path, tmp_path: Path) -> None:
    printed = hwnas(*fit_of(finished), "--out", tmp_path / "p.json").out
    report = json.loads((tmp_path / "p.json").read_text())["report"]
    rows = {"held-out prediction": report["held_out"]}
    rows |= {
        name: report["baselines"][key]
        for name, key in (
            ("isolated sum", "isolated_sum"),
            ("a + b * isolated sum", "affine_sum"),
            ("a + b * FLOPs", "flops"),
        )
    }
    for name, errors in rows.items():
        (line,) = (line for line in printed.splitlines() if line.startswith(f"│ {name} "))
        assert f"{100 * errors['mape']:.2f} %" in line
        assert f"{errors['kendall']:.3f} │" in line
    assert f"{report['networks']} networks, each predicted by a fit to others" in printed
    assert f"repeat noise {100 * report['repeat_noise']:.2f} %" in printed
    assert f"kept for {100 * report['covered']:.0f} % of the held-out ones" in printed
    assert f"predictor {tmp_path / 'p.json'}" in printed


@pytest.mark.parametrize("suffix", ["png", "svg", "html"])
def test_fit_plots_held_out_predictions_when_asked(hwnas: Run, finished: Path, tmp_path: Path, suffix: str) -> None:
    files = {"predictor": str(tmp_path / "p.json"), "plot": str(tmp_path / f"fit.{suffix}")}
    arguments = [*fit_of(finished), "--out", files["predictor"], "--plot", files["plot"], "--json"]
    told = json.loads(hwnas(*arguments).out)
    assert {name: told[name] for name in files} == files
    assert Path(files["plot"]).stat().st_size > 1000
    assert {path.name for path in tmp_path.iterdir()} == {"p.json", f"fit.{suffix}"}


def test_a_fit_that_cannot_be_plotted_writes_nothing(hwnas: Run, finished: Path, tmp_path: Path) -> None:
    files = ["--out", tmp_path / "p.json", "--plot", tmp_path / "fit.csv"]
    outcome = hwnas(*fit_of(finished), *files)
    assert outcome.code == 2
    assert outcome.message == "hwnas: unknown plot format '.csv'; known: .html, .pdf, .png, .svg; did you mean '.svg'?"
    assert not list(tmp_path.iterdir())


OTHER = ["--space", OWN_SPACE, "--space-option", "resolution=16", "--space-option", "channels=8"]


@pytest.mark.slow(reason="profiles one space and searches another")
def test_a_space_that_was_not_measured_is_fitted_cold_and_searched(hwnas: Run, tmp_path: Path) -> None:
    table, cold = tmp_path / "mobilenet.jsonl", tmp_path / "cold.json"
    small = ["--space-option", "resolution=16", "--space-option", "width=0.25"]
    small += ["--fix", "stage*.kernel=3", "--fix", "stage*.expansion=3"]
    profiled = hwnas("profile", "--space", "mobilenet", *small, "--networks", "8", "--out", table)
    assert profiled.code == 0, profiled.err
    asked = ["--space", OWN_SPACE, "--space-option", "resolution=16", "--allow-unconverged"]
    fitted = hwnas("fit", "--table", table, *asked, "--out", cold, "--plot", tmp_path / "fit.svg")
    assert fitted.code == 0, fitted.err
    assert "the table is of mobilenet: 5 of 5 operators are estimated" in fitted.err
    assert "; kinds of which none was measured: convmixer" in fitted.err
    assert "networks of mobilenet, each predicted as if nothing of them or their operators were measured" in fitted.out
    assert (tmp_path / "fit.svg").exists()
    settings = ["--latency-budget", "50ms", "--evaluations", "5", "--out", tmp_path / "run"]
    searched = hwnas("search", *TINY, "--predictor", cold, *settings)
    assert searched.code == 0, searched.err
    assert "on held-out networks of mobilenet, none of this space" in searched.err
    assert read_front(tmp_path / "run" / "front.csv")


def test_the_measured_space_is_not_fitted_cold(hwnas: Run, finished: Path, tmp_path: Path) -> None:
    asked = ["--space", OWN_SPACE, "--space-option", "resolution=16", "--out", tmp_path / "p.json", "--json"]
    fitted = hwnas(*fit_of(finished), *asked)
    assert "cold" not in json.loads(fitted.out)
    assert "estimated" not in fitted.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*OTHER, "--from", "p.json"], "leave out --from, or profile own"),
        (["--fix", "a=1"], "--fix is of a space; give --space, too"),
        (["--space-option", "channels=8"], "--space-option is of a space; give --space, too"),
    ],
)
def test_a_fit_of_a_space_that_cannot_be_is_refused(
    hwnas: Run, finished: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    outcome = hwnas(*fit_of(finished), *arguments, "--out", tmp_path / "cold.json")
    assert outcome.code == 2
    assert message in outcome.message
    assert not (tmp_path / "cold.json").exists()


def test_predict_answers_json_lines_with_json_lines(hwnas: Run, finished: Path, tmp_path: Path) -> None:
    rows = read_front(finished / "front.csv")
    (tmp_path / "archs.jsonl").write_text("".join(row.arch + "\n" for row in rows))
    answers = hwnas("predict", "--predictor", finished / "predictor.json", "--arch", tmp_path / "archs.jsonl").out
    for row, text in zip(rows, answers.splitlines(), strict=True):
        answer = json.loads(text)
        assert answer["arch_id"] == row.arch_id
        assert answer["predicted_ms"] == pytest.approx(row.predicted_ms)
        assert sum(answer["layers_ms"].values()) == pytest.approx(row.predicted_ms)


def test_predict_takes_one_object_over_several_lines(hwnas: Run, finished: Path, tmp_path: Path) -> None:
    row = read_front(finished / "front.csv")[0]
    (tmp_path / "arch.json").write_text(json.dumps(json.loads(row.arch), indent=2))
    outcome = hwnas("predict", "--predictor", finished / "predictor.json", "--arch", tmp_path / "arch.json", "--json")
    assert json.loads(outcome.out)["arch_id"] == row.arch_id


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("piped", [False, True])
def test_predict_reads_json_of_any_encoding(finished: Path, tmp_path: Path, encoding: str, piped: bool) -> None:
    rows, archs, predictor = read_front(finished / "front.csv"), tmp_path / "archs.jsonl", tmp_path / "predictor.json"
    archs.write_bytes("".join(row.arch + "\r\n" for row in rows).encode(encoding))
    predictor.write_bytes((finished / "predictor.json").read_text().encode(encoding))
    command = [sys.executable, "-m", "hwnas", "predict", "--predictor", predictor, "--arch", "-" if piped else archs]
    with archs.open("rb") as file:
        answers = subprocess.run(command, stdin=file, capture_output=True, text=True, check=True).stdout
    assert [json.loads(text)["arch_id"] for text in answers.splitlines()] == [row.arch_id for row in rows]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_run_json_that_an_editor_saved_is_read(hwnas: Run, copied: Path, tmp_path: Path, encoding: str) -> None:
    (copied / "run.json").write_bytes((copied / "run.json").read_text().replace("\n", "\r\n").encode(encoding))
    assert hwnas("export", copied, "--out", tmp_path / "knee.onnx").code == 0


def test_deeply_nested_json_is_no_architecture(hwnas: Run, finished: Path, tmp_path: Path) -> None:
    nested = '{"a":' * 100_000 + "1" + "}" * 100_000
    (tmp_path / "arch.json").write_text(nested)
    outcome = hwnas("predict", "--predictor", finished / "predictor.json", "--arch", tmp_path / "arch.json")
    assert outcome.code == 2
    assert "architecture 1: " in outcome.message


def test_export_and_plot_say_in_json_what_they_wrote(hwnas: Run, finished: Path, tmp_path: Path) -> None:
    model, picture = tmp_path / "a.onnx", tmp_path / "no" / "such" / "front.png"
    assert json.loads(hwnas("export", finished, "--out", model, "--json").out) == {"path": str(model)}
    assert json.loads(hwnas("plot", finished, "--out", picture, "--json").out) == {"path": str(picture)}
    assert model.stat().st_size and picture.stat().st_size


def test_export_writes_named_and_evaluated_architectures(hwnas: Run, finished: Path, tmp_path: Path) -> None:
    rows = read_front(finished / "front.csv")
    assert hwnas("export", finished, "--arch", "fastest", "--out", tmp_path / "a.onnx").code == 0
    assert (tmp_path / "a.onnx").read_bytes() == (finished / rows[0].onnx).read_bytes()
    from hwnas.runs.database import RunDatabase

    beaten = sorted(set(RunDatabase(finished / "run.sqlite").evaluations("search")) - {row.arch_id for row in rows})
    assert hwnas("export", finished, "--arch", beaten[0], "--out", tmp_path / "b.onnx").code == 0
    onnx.checker.check_model(onnx.load(tmp_path / "b.onnx"))


@pytest.mark.parametrize("flags", [["--batch", 4], ["--dynamic-batch"], ["--batch", 1]])
def test_export_writes_the_same_network_for_another_batch_size(
    hwnas: Run, finished: Path, tmp_path: Path, flags: list[Any]
) -> None:
    ids = [row.arch_id for row in read_front(finished / "front.csv")]
    from hwnas.runs.database import RunDatabase

    beaten = sorted(set(RunDatabase(finished / "run.sqlite").evaluations("search")) - set(ids))
    for arch in (ids[0], beaten[0]):
        assert hwnas("export", finished, "--arch", arch, "--out", tmp_path / "one.onnx").code == 0
        assert hwnas("export", finished, "--arch", arch, *flags, "--out", tmp_path / "more.onnx").code == 0
        one, more = (ort.InferenceSession(tmp_path / name) for name in ("one.onnx", "more.onnx"))
        (_, *shape), (size, *_) = one.get_inputs()[0].shape, more.get_inputs()[0].shape
        assert size == (flags[1] if len(flags) > 1 else "batch")
        for batch in (4, 1, 7) if size == "batch" else (size,):
            x = np.random.default_rng(0).normal(size=(batch, *shape)).astype(np.float32)
            apart = np.concatenate([one.run(None, {"input": x[i : i + 1]})[0] for i in range(batch)])
            np.testing.assert_allclose(more.run(None, {"input": x})[0], apart, atol=1e-4 * np.abs(apart).max())
        told = {item.key for item in onnx.load(tmp_path / "more.onnx").metadata_props}
        assert ("hwnas.predicted_ms" in told) == (size == 1) and "hwnas.arch" in told


def test_a_file_has_one_batch_axis(hwnas: Run, finished: Path) -> None:
    outcome = hwnas("export", finished, "--batch", 2, "--dynamic-batch")
    assert (outcome.code, outcome.message) == (
        2,
        "hwnas: --batch 2 and --dynamic-batch exclude each other; give one of the two",
    )
    assert hwnas("export", finished, "--batch", 0).code == 2


def test_verify_measures_every_point_again(hwnas: Run, finished: Path) -> None:
    verified = json.loads(hwnas("verify", finished, "--json").out)["verified"]
    assert [row["arch_id"] for row in verified] == [row.arch_id for row in read_front(finished / "front.csv")]
    assert all(row["measured_ms"] > 0 for row in verified)
    assert " %" in hwnas("verify", finished).out


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf", "html", "csv"])
def test_plot_writes_every_format(hwnas: Run, finished: Path, tmp_path: Path, suffix: str) -> None:
    assert hwnas("plot", finished, "--out", tmp_path / f"front.{suffix}").code == 0
    assert (tmp_path / f"front.{suffix}").stat().st_size > 100


def test_plot_draws_several_runs_or_networks_of_one(hwnas: Run, finished: Path, copied: Path, tmp_path: Path) -> None:
    several, networks = tmp_path / "fronts.csv", tmp_path / "networks.csv"
    assert hwnas("plot", finished, copied, "--out", several).code == 0
    assert {line.split(",")[0] for line in several.read_text().splitlines()} == {"run", "finished"}
    assert hwnas("plot", finished, "--network", "best", "--out", networks).code == 0
    assert networks.read_text().startswith("network,name,layer,is_block,operator,latency_ms")
    both = hwnas("plot", finished, copied, "--network", "best", "--out", networks)
    assert both.code == 2 and "give one RUN" in both.message


def test_a_finished_run_resumes_to_itself(hwnas: Run, copied: Path) -> None:
    before = (copied / "front.csv").read_text()
    assert hwnas("search", "--resume", "--out", copied).code == 0
    assert (copied / "front.csv").read_text() == before


def test_a_model_with_preprocessing_takes_images_of_any_size(hwnas: Run, finished: Path, tmp_path: Path) -> None:
    options = ("--arch", "best", "--with-preprocessing", "--dynamic-batch")
    assert hwnas("export", finished, *options, "--out", tmp_path / "best.onnx").code == 0
    session = ort.InferenceSession(tmp_path / "best.onnx", providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    images = np.zeros((3, 50, 40, given.shape[3]), dtype=np.uint8)
    assert (given.name, given.type) == ("image", "tensor(uint8)")
    assert session.run(None, {"image": images})[0].shape == (3, 10)
    Image.new("RGB", (50, 40), "grey").save(tmp_path / "photo.png")
    command = [
        sys.executable,
        ROOT / "scripts/examples/prepare_image.py",
        tmp_path / "best.onnx",
        tmp_path / "photo.png",
    ]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert sorted(printed[1::2]) == list("0123456789")


def test_a_finished_run_goes_on_with_more_evaluations_in_its_folder_or_in_a_copy(
    hwnas: Run, copied: Path, tmp_path: Path
) -> None:
    evaluated = json.loads((copied / "run.json").read_text())["request"]["strategy"]["options"]["evaluations"]
    before = (copied / "front.csv").read_text()
    more = ("--evaluations", evaluated + 8)
    outcome = hwnas("search", "--from", copied, "--out", tmp_path / "copy", *more)
    assert outcome.code == 0 and f"--evaluations {evaluated + 8} instead of {evaluated}" in outcome.err
    assert (copied / "front.csv").read_text() == before
    assert hwnas("search", "--resume", "--out", copied, *more).code == 0
    for run in (copied, tmp_path / "copy"):
        with closing(RunDatabase(run / "run.sqlite")) as database:
            assert len(database.evaluations()) == evaluated + 8
    outcome = hwnas("search", "--from", copied, "--resume", "--out", tmp_path / "copy")
    assert (outcome.code, "give one of the two" in outcome.message) == (2, True)
    outcome = hwnas("search", "--from", tmp_path / "nothing", "--out", tmp_path / "other")
    assert (outcome.code, "no run there" in outcome.message) == (2, True)
    assert not (tmp_path / "other").exists()


def test_recipes_vary_only_where_networks_are_searched_or_counted() -> None:
    commands = {name: cli.get_command(click.Context(cli), name) for name in COMMANDS}
    having = {name for name, command in commands.items() if any(param.name == "vary" for param in command.params)}
    assert having == {"search", "spaces"}


def test_every_command_in_the_readme_can_be_parsed() -> None:
    lines = [line.strip() for line in (ROOT / "README.md").read_text().splitlines()]
    commands = [line.split("#")[0].split()[1:] for line in lines if line.startswith("hwnas ")]
    assert len(commands) >= 8
    for name, *arguments in commands:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        command.make_context(name, arguments)


# ---- wrong requests: exit code 2 (3 for budgets), one line that says what, where and what to do, no traceback


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--space", "mobilnet"], "unknown space 'mobilnet'; known: FILE.py:NAME, conv_macro"),
        (["--space", "nowhere.py:build"], "nowhere.py: no such file"),
        (["--space-option", "size=3"], "has no option 'size'; it has resolution"),
        (["--space-option", "size"], "is not NAME=VALUE"),
        (["--data", "imagenet"], "unknown data set 'imagenet'; known: FILE.py:NAME, digits"),
        (["--data", "parquet:/nowhere"], "/nowhere"),
        (["--device", "tpu"], "unknown device 'tpu'; known: amd-epyc, cpu, cuda"),
        (["--threads", "1000"], "1000 threads on"),
        (
            ["--strategy", "luck"],
            f"unknown strategy 'luck'; known: {', '.join(sorted(['FILE.py:NAME', *STRATEGIES]))}",
        ),
        (["--latency-budget", "0.4"], "has no unit; write 0.4ms"),
        (["--latency-budget", "fast"], "is not a positive duration"),
        (["--budget-on", "mean"], "unknown latency statistic 'mean'; known: median, p10, p90"),
        (["--optimizer", "lamb"], "unknown optimizer 'lamb'; known: adamw, auto, sgd"),
        (
            ["--recipe", "spos"],
            "unknown recipe 'spos'; known: alternating, autodistil, bignas, instatune, progressive, sandwich, single",
        ),
        (["--recipe", "sgd"], "for the optimiser give --optimizer sgd"),
        (["--data", "text:/nowhere.txt"], "text:/nowhere.txt: is text, but the space takes images of shape"),
        (["--precision", "int4"], "unknown precision 'int4'"),
        (["--precision", "fp16"], "onnxruntime on cpu does not compute in fp16; --runtime torch does"),
        (
            ["--runtime-option", "graph_optimisation=all"],
            "unknown runtime option 'graph_optimisation'; known: allow_sp",
        ),
        (["--runtime-option", "graph_optimization=most"], "it can be all, extended, basic, disabled"),
        (["--evaluations", "0"], "--evaluations must be at least 1, not 0"),
        (["--epochs", "-1"], "--epochs must be at least 0, not -1"),
        (["--batch", "0"], "--batch must be at least 1, not 0"),
        (["--limit-images", "-1"], "--limit-images must be at least 1, not -1"),
        (["--max-params", "0"], "--max-params must be at least 1, not 0.0"),
        (["--max-model-mib", "0"], "--max-model-mib must be above 0, not 0.0"),
        (["--max-peak-mib", "much"], "Invalid value for '--max-peak-mib': 'much' is not a valid float."),
        (["--seed", "4294967296"], "Invalid value for '--seed': 4294967296"),
        (["--no-such"], "No such option"),
        (["--space-option", "classes=7"], "digits has 10 classes, the space 7; give --space-option classes=10"),
    ],
)
def test_a_wrong_search_is_refused_before_anything_is_made(
    hwnas: Run, tmp_path: Path, options: list[str], told: str
) -> None:
    outcome = hwnas("search", *options, "--out", tmp_path / "run")
    assert outcome.code == 2
    assert told in outcome.message
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--seed", "-1"], "Invalid value for '--seed': -1 is not in the range 0<=x<=4294967295."),
        (["--networks", "-5"], "--networks must be at least 1, not -5"),
        (["--threads", "0"], "--threads must be at least 1, not 0"),
        (["--runtime", "torch", "--device", "tensorrt"], "runtime torch has no device tensorrt; it has cpu, cuda"),
        (["--runtime", "tvm"], "unknown runtime 'tvm'; known: FILE.py:NAME, onnxruntime, torch"),
    ],
)
def test_a_wrong_profile_is_refused_before_anything_is_made(
    hwnas: Run, tmp_path: Path, options: list[str], told: str
) -> None:
    outcome = hwnas("profile", *options, "--out", tmp_path / "table.jsonl")
    assert outcome.code == 2
    assert outcome.message == f"hwnas: {told}"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments", [["plot", "--out", "front.png"], ["plot", "--out", "front.csv"], ["verify"], ["export"], ["best"]]
)
def test_what_needs_a_front_says_so_before_there_is_one_and_makes_nothing(
    hwnas: Run, tmp_path: Path, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    request = search_request({"space": OWN_SPACE})
    create_run(tmp_path / "run", request.describe(), load_space(OWN_SPACE).describe())
    outcome = hwnas(*arguments, "run")
    assert outcome.code == 2
    assert "no front there yet; finish the search by `hwnas search --resume --out run`" in outcome.message
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")} == {"run", "run/run.json"}


@pytest.mark.parametrize(
    "arguments", [["plot", "--out", "front.png"], ["export", "--arch", "0123456789"], ["best"], ["importance"]]
)
def test_a_database_that_is_missing_is_named_and_not_made(
    hwnas: Run, copied: Path, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(copied.parent)
    for path in copied.glob("run.sqlite*"):
        path.unlink()
    assert "run.sqlite: no such file" in hwnas(*arguments, copied).message
    assert not list(copied.glob("run.sqlite*"))


@pytest.mark.parametrize("arguments", [["verify"], ["export", "--arch", "fastest"]])
def test_a_model_that_is_missing_is_named(hwnas: Run, copied: Path, arguments: list[str]) -> None:
    model = copied / read_front(copied / "front.csv")[0].onnx
    model.unlink()
    outcome = hwnas(*arguments, copied)
    assert outcome.code == 2
    assert f"{model}: the model of {model.stem} is missing" in outcome.message


def test_an_import_that_is_interrupted_is_an_interruption(hwnas: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted_import(*_: object) -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise ImportError("numpy._core failed to import") from None

    monkeypatch.setattr("hwnas.spaces.load_space", interrupted_import)
    outcome = hwnas("spaces")
    assert (outcome.code, outcome.message) == (130, "hwnas: interrupted")


@pytest.mark.parametrize("command", ["search", "train", "profile", "export", "fit", "merge"])
def test_only_commands_that_keep_something_say_so_when_they_are_interrupted(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["hwnas", command])
    with pytest.raises(SystemExit):
        _terminated()
    assert _told(KeyboardInterrupt()) == 130
    kept = "; what was measured, trained and evaluated so far is kept (search and train go on by --resume"
    for message, word in zip(capsys.readouterr().err.splitlines(), ("terminated", "interrupted"), strict=True):
        if command in ("search", "train", "profile"):
            assert message.startswith(f"hwnas: {word}{kept}")
        else:
            assert message == f"hwnas: {word}"


def test_a_front_that_learned_nothing_is_said_to_be_worth_nothing_and_refused_by_strict(
    hwnas: Run, finished: Path, tmp_path: Path
) -> None:
    np.savez(tmp_path / "grey.npz", x=np.full((200, 8, 8), 99, dtype=np.uint8), y=np.arange(200) % 10)
    run, predictor = tmp_path / "run", finished / "predictor.json"
    options = ["--class-weights", "balanced", "--evaluations", "10"]
    tiny = [f"npz:{tmp_path / 'grey.npz'}" if word == "digits" else word for word in TINY]
    outcome = hwnas("search", *tiny, *options, "--predictor", predictor, "--final", "none", "--strict", "--out", run)
    assert outcome.code == 4
    assert outcome.message.endswith("refused by --strict, for the warnings above; they are in its run.json, too")
    warnings = json.loads((run / "run.json").read_text())["warnings"]
    assert [warning.split(" ")[:3] for warning in warnings] == [["only", "1", "of"], ["the", "front", "is"]]
    for warning in warnings:
        assert f"warning: {warning}" in outcome.err
        assert warning[:60] in (run / "report.html").read_text(encoding="utf-8")
    again = hwnas("search", "--resume", "--out", run, "--json")
    assert (again.code, json.loads(again.out)["warnings"]) == (0, warnings)


def test_a_front_is_compared_with_guessing_by_its_final_scores_on_both_splits(
    hwnas: Run, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, scores = tmp_path / "copy", list[Any]()

    def watched(front: Any, *arguments: Any, **options: Any) -> Any:
        scores.append(front)
        return worth_of(front, *arguments, **options)

    shutil.copytree(finished, copy)
    monkeypatch.setattr("hwnas.pipeline.stages.worth_of", watched)
    assert hwnas("search", "--resume", "--out", copy).code == 0
    ((front, rows),) = zip(scores, [read_front(copy / "front.csv")], strict=True)
    assert front.networks == 30
    for split, by_network in (("val", front.validation), ("test", front.test)):
        written = sorted(row.metrics[f"loss_{split}"] for row in rows)
        assert sorted(metrics["loss"] for metrics in by_network) == pytest.approx(written, rel=1e-4)


def test_every_class_of_the_test_split_has_a_row_per_network(finished: Path) -> None:
    with (finished / "classes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for network in read_front(finished / "front.csv"):
        own = [row for row in rows if row["arch_id"] == network.arch_id]
        assert [row["class"] for row in own] == list("0123456789")
        labels = np.array([int(row["labels_test"]) for row in own])
        recall = np.array([float(row["recall_test"]) for row in own])
        assert recall @ labels / labels.sum() == pytest.approx(network.accuracy_test, rel=1e-5)
        assert recall.mean() == pytest.approx(network.balanced_accuracy_test, rel=1e-5)


def test_a_run_folder_is_never_overwritten(hwnas: Run, copied: Path) -> None:
    outcome = hwnas("search", *TINY, "--out", copied)
    assert outcome.code == 2
    assert "--resume" in outcome.message


def test_resuming_with_another_option_is_refused(hwnas: Run, copied: Path) -> None:
    outcome = hwnas("search", "--resume", "--out", copied, "--seed", "7")
    assert (outcome.code, "was started with --seed 0, not 7" in outcome.message) == (2, True)


def test_resuming_nothing_is_refused(hwnas: Run, tmp_path: Path) -> None:
    assert "no run there" in hwnas("search", "--resume", "--out", tmp_path / "nothing").message


def test_an_infeasible_budget_names_the_fastest_latency_before_training(
    hwnas: Run, finished: Path, tmp_path: Path
) -> None:
    predictor = finished / "predictor.json"
    outcome = hwnas("search", *TINY, "--predictor", predictor, "--latency-budget", "1ns", "--out", tmp_path / "run")
    assert outcome.code == 3
    assert "cannot be met: the fastest architecture of own takes up to 0.0" in outcome.message
    assert not (tmp_path / "run" / "checkpoint.pt").exists()


@pytest.mark.parametrize("option", ["--table", "--predictor"])
def test_measurements_of_another_thread_count_are_refused(
    hwnas: Run, finished: Path, tmp_path: Path, option: str
) -> None:
    name = {"--table": "table.jsonl", "--predictor": "predictor.json"}[option]
    if option == "--table":
        table = read_table(finished / name)
        header = header_line({**table.conditions, "threads": 8}, table.space, table.provenance)
        (tmp_path / name).write_bytes(header + b"".join(line(row) for row in table.rows))
    else:
        (tmp_path / name).write_text((finished / name).read_text().replace('"threads": 1', '"threads": 8', 1))
    outcome = hwnas("search", *TINY, option, tmp_path / name, "--out", tmp_path / "run")
    assert outcome.code == 2
    assert "threads 8 (here 1)" in outcome.message


def test_a_table_without_a_space_s_operators_is_refused(hwnas: Run, finished: Path, tmp_path: Path) -> None:
    options = [*TINY, "--space-option", "channels=8"]
    outcome = hwnas("search", *options, "--table", finished / "table.jsonl", "--out", tmp_path / "run")
    assert "operators are not measured" in outcome.message
    assert not (tmp_path / "run").exists()


def test_a_predictor_of_other_operators_is_refused(hwnas: Run, finished: Path, tmp_path: Path) -> None:
    options = [*TINY, "--space-option", "channels=8", "--predictor", finished / "predictor.json"]
    outcome = hwnas("search", *options, "--out", tmp_path / "run")
    assert "the predictor was fitted to other operators than stem" in outcome.message


def test_a_supernet_that_saw_other_images_is_refused(hwnas: Run, finished: Path, tmp_path: Path) -> None:
    """With another seed, images of this test split were trained on."""
    sources = ["--predictor", finished / "predictor.json", "--supernet", finished]
    outcome = hwnas("search", *TINY, "--seed", "1", *sources, "--out", tmp_path / "run")
    assert "trained on other data than this (--seed 0, here 1)" in outcome.message
    assert not (tmp_path / "run").exists()
    outcome = hwnas("search", *TINY, "--evaluations", "5", *sources, "--out", tmp_path / "run")
    assert outcome.code == 0, outcome.err


def test_data_that_changed_since_the_run_is_noticed(hwnas: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (200, 16, 16, 3), dtype=np.uint8), np.arange(200) % 10
    np.savez(tmp_path / "data.npz", x=images, y=labels)
    options = ["--space", OWN_SPACE, "--space-option", "resolution=16", "--data", f"npz:{tmp_path / 'data.npz'}"]
    assert hwnas("train", *options, "--epochs", "1", "--out", tmp_path / "run").code == 0
    np.savez(tmp_path / "data.npz", x=255 - images, y=labels)
    outcome = hwnas("train", "--resume", "--out", tmp_path / "run")
    assert outcome.code == 2
    assert "has changed since" in outcome.message


def test_a_supernet_is_trained_by_a_recipe_with_an_average_and_a_teacher(hwnas: Run, tmp_path: Path) -> None:
    options = ["--space", OWN_SPACE, "--space-option", "resolution=16", "--data", "digits", "--limit-images", "64"]
    teachers = Path(__file__).parents[1] / "train" / "teachers.py"
    options += ["--epochs", "1", "--recipe", "alternating", "--ema", "0.9", "--out", str(tmp_path / "run"), "--teacher"]
    refused = hwnas("train", *options, f"{teachers}:narrow")
    assert refused.code == 2 and "gives (2, 4) for inputs of shape (2, 3, 16, 16)" in refused.message
    assert not (tmp_path / "run").exists()
    assert hwnas("train", *options, f"{teachers}:build").code == 0
    recipe = json.loads((tmp_path / "run" / "run.json").read_text())["recipe"]
    assert (recipe["ema"], recipe["supernet"]["networks"]) == (0.9, "alternating")
    assert hwnas("train", "--resume", "--out", tmp_path / "run").code == 0
    help_text = hwnas("search", "--help").out
    assert all(option in help_text for option in ("--recipe", "--optimizer", "--ema", "--teacher"))


def test_a_space_of_four_architectures_can_be_searched(hwnas: Run, tmp_path: Path) -> None:
    options = [*TINY, "--space-option", "blocks=1", "--batch", "64", "--latency-budget", "300%"]
    outcome = hwnas("search", *options, "--out", tmp_path / "run", "--json")
    assert outcome.code == 0, outcome.err
    assert 1 <= len(json.loads(outcome.out)["front"]) <= 4


def test_an_int8_search_resumes_and_exports_and_verifies_quantised_models(hwnas: Run, tmp_path: Path) -> None:
    run = tmp_path / "run"
    options = [*TINY, "--space-option", "blocks=1", "--latency-budget", "300%"]
    options += ["--precision", "int8", "--batch", "3", "--runtime-option", "slow_int8=allowed"]
    assert hwnas("search", *options, "--out", run, "--json").code == 0
    assert hwnas("search", *options, "--out", run, "--resume", "--json").code == 0
    assert hwnas("verify", run, "--json").code == 0
    assert hwnas("export", run, "--arch", "best", "--out", tmp_path / "best.onnx").code == 0
    model = onnx.load(tmp_path / "best.onnx")
    assert "QuantizeLinear" in {node.op_type for node in model.graph.node}
    assert {item.key: item.value for item in model.metadata_props}["hwnas.precision"] == "int8"


def test_a_bundle_that_no_board_could_measure_is_refused(hwnas: Run, tmp_path: Path) -> None:
    for wrong, told in (
        (["--precision", "fp16"], "does not compute in fp16"),
        (["--device", "toaster"], "unknown device 'toaster'"),
        (["--runtime-option", "a=b"], "unknown runtime option 'a'"),
    ):
        outcome = hwnas("bundle", "--space", OWN_SPACE, *wrong, "--out", tmp_path / "bundle.zip")
        assert outcome.code == 2 and told in outcome.message


def test_tables_are_merged_by_command(hwnas: Run, finished: Path, tmp_path: Path) -> None:
    table = finished / "table.jsonl"
    facts = json.loads(hwnas("merge", table, table, "--out", tmp_path / "both.jsonl", "--json").out)
    assert facts["rows"] == len(read_table(table).rows) == len(read_table(tmp_path / "both.jsonl").rows)


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--predictor", "nowhere.json", "nowhere.json: cannot be read"),
        ("--table", "nowhere.jsonl", "nowhere.jsonl: cannot be read"),
        ("--supernet", "nowhere", "nowhere: no run there"),
        ("--networks", "1", "is too few to fit a predictor; give at least 8"),
    ],
)
def test_what_cannot_be_used_is_refused_before_a_folder_is_made(
    hwnas: Run, tmp_path: Path, option: str, value: str, told: str
) -> None:
    outcome = hwnas("search", *TINY, option, value, "--out", tmp_path / "run")
    assert outcome.code == 2
    assert told in outcome.message
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["run.json", "predictor.json", "supernet.safetensors", "run.sqlite"])
def test_a_truncated_file_of_a_run_is_named(hwnas: Run, copied: Path, name: str) -> None:
    content = (copied / name).read_bytes()
    (copied / name).write_bytes(content[: len(content) // 2])
    for extra in copied.glob("run.sqlite-*"):
        extra.unlink()
    outcome = hwnas("search", "--resume", "--out", copied)
    assert outcome.code == 2
    assert name in outcome.message


def test_a_truncated_table_is_measured_on(hwnas: Run, finished: Path, tmp_path: Path) -> None:
    table = tmp_path / "table.jsonl"
    content = (finished / "table.jsonl").read_bytes()
    table.write_bytes(content[: len(content) - 100])
    options = ["--space", OWN_SPACE, "--space-option", "resolution=16", "--networks", "10", "--out", table, "--json"]
    facts = json.loads(hwnas("profile", *options).out)
    assert facts["measured"] == 1
    assert table.read_bytes().count(b"\n") >= content.count(b"\n")  # rows that did not converge are measured again


def test_a_space_file_that_changed_since_the_run_is_noticed(hwnas: Run, copied: Path, tmp_path: Path) -> None:
    other = tmp_path / "changed_space.py"
    other.write_text((ROOT / "scripts/examples/own_space.py").read_text().replace("(0, 3, 5, 7)", "(0, 3, 5)"))
    facts = json.loads((copied / "run.json").read_text())
    facts["space"]["reference"] = f"{other}:build"
    (copied / "run.json").write_text(json.dumps(facts))
    assert "is not on your trust list" in hwnas("verify", copied).message
    assert hwnas("trust", other).code == 0
    for arguments in (["search", "--resume", "--out"], ["verify"]):
        outcome = hwnas(*arguments, copied)
        assert outcome.code == 2
        assert "has changed since" in outcome.message


def test_a_loss_that_is_no_number_stops_training(hwnas: Run, finished: Path, tmp_path: Path) -> None:
    options = [*TINY, "--predictor", finished / "predictor.json", "--learning-rate", "1e30"]
    outcome = hwnas("search", *options, "--out", tmp_path / "run")
    assert outcome.code == 2
    assert "is not a number; start again under another --out with a lower --learning-rate" in outcome.message


def test_a_front_of_unknown_architectures_is_refused(hwnas: Run, finished: Path, tmp_path: Path) -> None:
    outcome = hwnas("predict", "--predictor", finished / "predictor.json", "--arch", '{"block1.kernel": 9}')
    assert "architecture 1: 'block1.kernel' cannot be 9; options: (0, 3, 5, 7)" in outcome.message
    assert "evaluated no architecture 'nobody'" in hwnas("export", finished, "--arch", "nobody").message
    assert "unknown plot format" in hwnas("plot", finished, "--out", tmp_path / "front.gif").message


WRITES_A_FILE = [
    ["profile"],
    ["bundle"],
    ["merge", "a", "b"],
    ["fit", "--table", "a"],
    ["export", "a"],
    ["plot", "a"],
    ["report", "a"],
]


@pytest.mark.parametrize("command", WRITES_A_FILE, ids=lambda command: command[0])
def test_a_folder_where_a_file_is_meant_is_refused_before_any_work(
    hwnas: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for out in (".", str(tmp_path)):
        outcome = hwnas(*command, "--out", out)
        assert (outcome.code, outcome.message) == (
            2,
            f"hwnas: --out {out}: is a folder; give the name of a file in it",
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", [*WRITES_A_FILE, ["search"], ["train"]], ids=lambda command: command[0])
def test_a_file_where_a_folder_is_needed_is_refused_before_any_work(
    hwnas: Run, tmp_path: Path, command: list[str]
) -> None:
    file = tmp_path / "file"
    file.write_text("")
    outs = [file / "out", file] if command[0] in ("search", "train") else [file / "out"]
    for out in outs:
        outcome = hwnas(*command, "--out", out)
        assert outcome.code == 2
        assert outcome.message == f"hwnas: --out {out}: {file} is a file, not a folder; give another --out"


def test_standard_output_on_a_full_disk_is_told_in_a_line() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-m", "hwnas", "spaces"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert (
        done.stderr == "hwnas: standard output: No space left on device; free space there, or write to another disk\n"
    )


@pytest.mark.parametrize("command", [["--help"], ["spaces"], ["devices", "--json"], ["plot", "--help"]])
def test_a_closed_pipe_ends_a_command_without_a_word(command: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-m", "hwnas", *command], stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (done.returncode, done.stderr) == (-signal.SIGPIPE, "")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: y"),
    ],
)
def test_memory_that_runs_out_is_told_in_a_line(
    error: Exception, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for command in COMMANDS:
        monkeypatch.setattr(sys, "argv", ["hwnas", command])
        assert _told(error) == 2
        message = capsys.readouterr().err
        assert message.startswith("hwnas: memory ran out; ") and message.count("\n") == 1
        assert ("--resume" in message) == (command in ("search", "train", "profile"))
        parsed = cli.get_command(click.Context(cli), command)
        assert parsed is not None
        known = {flag for param in parsed.params for flag in param.opts}
        for flag in ("--batch", "--limit-images"):
            assert (f"a smaller {flag}" in message) == (flag in known), command


def test_a_batch_that_no_memory_holds_is_told_in_a_line(hwnas: Run, finished: Path, tmp_path: Path) -> None:
    outcome = hwnas("export", finished, "--batch", 10**13, "--out", tmp_path / "a.onnx")
    assert (outcome.code, outcome.message[:24]) == (2, "hwnas: memory ran out; g")
    assert not list(tmp_path.iterdir())


def test_a_gpu_without_memory_left_is_told_in_a_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["hwnas", "search"])
    error = torch.OutOfMemoryError(
        "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 8 GiB"
    )
    assert _told(error) == 2
    message = capsys.readouterr().err
    assert message.startswith("hwnas: CUDA out of memory; free the GPU's memory, or give --train-on cpu; what was")
    assert message.count("\n") == 1
