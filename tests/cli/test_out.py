"""Laws of --out: it is never a file that the same call reads, a file of a run's own, or anything but a regular file."""

import os
import shutil
from pathlib import Path

import pytest

from hwnas.cli import cli
from hwnas.core.files import replace_file
from hwnas.errors import HwnasError
from hwnas.pipeline.request import search_request
from hwnas.profiler.table import header_line
from hwnas.runs.folder import create_run
from hwnas.spaces import load_space

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
    before = (run / "run.json").read_bytes()
    for command in ("export", "plot"):
        assert f"--out {run / name}: is a file of the run in {run}; give another --out" in refusal(
            command, run, "--out", run / name
        )
    assert (run / "run.json").read_bytes() == before


@pytest.mark.parametrize("name", ["front.svg", "models/b.onnx", "knee.onnx"])
def test_pictures_and_new_models_may_be_written_into_a_run(run: Path, name: str) -> None:
    assert "no front there yet" in refusal("export", run, "--out", run / name)


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
