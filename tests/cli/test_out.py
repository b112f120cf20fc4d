"""Laws of --out: it is never a file that the same call reads, a file of a run's own, or anything but a regular file."""

import os
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from hwnas.cli import cli
from hwnas.core.files import replace_file
from hwnas.errors import HwnasError, RunError
from hwnas.pipeline.request import search_request
from hwnas.pipeline.winners import export
from hwnas.profiler.table import header_line
from hwnas.runs.folder import RunFolder, create_run
from hwnas.runs.front import DeviceLatency, FrontRow, write_front
from hwnas.spaces import load_space
from hwnas.tasks.registry import load_task

OWN_SPACE = Path(__file__).parents[2] / "scripts/examples/own_space.py"


def refusal(*arguments: object) -> str:
    with pytest.raises(HwnasError) as caught:
        cli([str(argument) for argument in arguments], standalone_mode=False)
    return str(caught.value)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder with nothing but a description and a model."""
    request = search_request({"space": f"{OWN_SPACE}:build"})
    path = create_run(tmp_path / "run", request.describe(), load_space(f"{OWN_SPACE}:build").describe()).path
    for folder in ("models", "final"):
        (path / folder).mkdir()
    (path / "models" / "a.onnx").write_bytes(b"model")
    return path


def write_front_of(run: Path) -> None:
    """A finished run whose front has one model, models/a.onnx."""
    folder = RunFolder(run)
    goal = {"metrics": [asdict(metric) for metric in load_task("classification").metrics], "budget_on": "median"}
    devices = [{"name": "cpu", "conditions": {"batch": 1}}]
    folder.write(folder.read() | {"goal": goal | {"objectives": ["loss", "latency"]}, "devices": devices})
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
    row = FrontRow(
        arch_id="a",
        arch="{}",
        stages="supernet",
        metrics={"loss_val": 0.5},
        latencies=(latency,),
        costs={},
        onnx="models/a.onnx",
    )
    write_front(run / "front.csv", [row])


@pytest.mark.parametrize(
    "command",
    [
        ["fit", "--out", "{}", "--table", "{}"],
        ["fit", "--table", "link", "--out", "{}"],
        ["fit", "--table", "{}", "--from", "a.json", "--from", "./b.json", "--out", "b.json"],
        ["fit", "--table", "{}", "--out", "p.png", "--plot", "p.png"],
        ["fit", "--table", "{}", "--space", "space.py:build", "--out", "space.py"],
        ["bundle", "--space", "space.py:build", "--out", "space.py"],
        ["merge", "{}", "b.json", "--out", "{}"],
    ],
)
def test_a_file_that_the_same_call_names_is_never_its_output(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    table = tmp_path / "t.jsonl"
    table.write_bytes(header_line({}, {}, {}))
    Path("b.json").write_text("{}")
    Path("link").symlink_to(table)
    shutil.copy(OWN_SPACE, "space.py")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert "the same call names that file as " in refusal(*(word.format(table) for word in command))
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    "name",
    [
        "run.json",
        "front.csv",
        "run.sqlite",
        "table-cuda.jsonl",
        "predictor.json",
        "final/a.safetensors",
        "models/a.onnx",
    ],
)
def test_a_file_of_a_runs_own_is_never_an_output(run: Path, name: str) -> None:
    (run / name).touch()
    before = (run / name).read_bytes()
    is_resumed = name.startswith(("predictor", "table"))
    reason = ", and a resumed search reads it" if is_resumed else ""
    for command in ("export", "plot"):
        assert refusal(command, run, "--out", run / name) == (
            f"--out {run / name}: is a file of the run in {run}{reason}; give another --out"
        )
    assert (run / name).read_bytes() == before


@pytest.mark.parametrize(
    ("name", "exists"),
    [
        ("front.svg", True),
        ("models/b.onnx", False),
        ("knee.onnx", True),
        ("predictor-mine.json", False),
        ("predictor.json", False),
        ("tables/new.jsonl", True),
        ("notes/a.pt", True),
    ],
)
def test_pictures_new_files_and_files_that_no_run_writes_may_be_written_into_a_run(
    run: Path, name: str, exists: bool
) -> None:
    if exists:
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).touch()
    assert "no front there yet" in refusal("export", run, "--out", run / name)


@pytest.mark.parametrize("name", ["q.pt", "q", "q.ONNX.zip"])
def test_export_writes_no_other_formats(name: str, run: Path, tmp_path: Path) -> None:
    write_front_of(run)
    message = refusal("export", run, "--arch", "a", "--out", tmp_path / name)
    assert "export writes ONNX (.onnx) or Python source (.py); give --out" in message
    assert not (tmp_path / name).exists()
    export(run, "a", tmp_path / "q.ONNX")
    assert (tmp_path / "q.ONNX").read_bytes() == b"model"


def test_models_of_the_front_are_a_runs_own_and_others_beside_them_are_not(run: Path) -> None:
    write_front_of(run)
    export(run, "a", run / "models" / "b.onnx")
    export(run, "a", run / "models" / "b.onnx")
    with pytest.raises(RunError, match="is a file of the run in"):
        export(run, "a", run / "models" / "a.onnx")


def test_the_file_that_export_writes_by_default_is_never_a_runs_own(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_front_of(run)
    monkeypatch.chdir(run / "models")
    assert refusal("export", "..") == f"a.onnx: is a file of the run in {run}; give another --out"
    assert Path("a.onnx").read_bytes() == b"model"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["bundle", "--space", "mobilenett", "--out", "mobilenett"], "unknown space 'mobilenett'"),
        (["export", "run", "--arch", "knee", "--out", "knee"], "no front there yet"),
    ],
)
def test_a_word_that_is_no_file_may_be_the_name_of_the_output(
    run: Path, command: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run.parent)
    assert message in refusal(*command)


def test_a_shell_completes_a_line_whose_output_would_be_refused(run: Path) -> None:
    completion = ShellComplete(cli, {}, "hwnas", "_HWNAS_COMPLETE")
    for line in (["export", str(run), "--out", str(run / "run.json")], ["plot", "run.csv", "--out", "run.csv"]):
        assert "--json" in [item.value for item in completion.get_completions(line, "--")]


@pytest.mark.parametrize("command", [["profile"], ["bundle"], ["fit", "--table", "t"], ["merge", "a"], ["export", "r"]])
def test_whatever_is_no_regular_file_is_no_output(command: list[str], tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert refusal(*command, "--out", pipe) == f"--out {pipe}: is not a regular file; give another --out"
    with pytest.raises(HwnasError, match="is not a regular file"):
        replace_file(pipe, "new")
    assert pipe.is_fifo() and list(tmp_path.iterdir()) == [pipe]


@pytest.mark.parametrize("command", ["search", "train"])
def test_a_folder_with_something_in_it_is_refused_before_data_are_read(command: str, tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("")
    arguments = ["--space", f"{OWN_SPACE}:build", "--data", f"npz:{tmp_path}/no-such.npz"]
    assert "exists and is not empty; give another --out" in refusal(command, *arguments, "--out", tmp_path)
