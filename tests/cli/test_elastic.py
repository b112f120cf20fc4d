"""A trained network made smaller, from the command line to files that need no hwnas."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file, save_file

from hwnas.__main__ import main
from hwnas.data.dataset import load_data
from hwnas.elastic.builtin import load_sized
from hwnas.elastic.sources import load_model
from hwnas.runs.folder import RunFolder
from hwnas.runs.front import read_front
from hwnas.spaces.request import SpaceRequest

NET = """
from torch import nn

class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 16, 1))

    def forward(self, x):
        return x + self.body(x)

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU())
        self.blocks = nn.Sequential(Block(), Block())
        self.fc = nn.Linear(16, 7)

    def forward(self, x):
        return self.fc(self.blocks(self.stem(x)).mean((2, 3)))

def make():
    return Net()
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("net")
    (folder / "net.py").write_text(NET)
    torch.manual_seed(3)
    save_file(load_model(f"{folder / 'net.py'}:make").module.state_dict(), folder / "net.safetensors")
    return folder / "net.py"


def hwnas(arguments: list[str]) -> int:
    """Runs a command; returns its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["hwnas", *arguments])
        with pytest.raises(SystemExit) as exit_:
            main()
    return int(exit_.value.code or 0)


def model_of(file: Path) -> list[str]:
    options = ("resolution=16", "channels=1", "classes=10")
    given = ["--weights", str(file.with_suffix(".safetensors"))]
    return given + [word for option in options for word in ("--space-option", option)]


@pytest.fixture(scope="module")
def run(file: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    out = tmp_path_factory.mktemp("runs") / "run"
    few = ["--limit-images", "128", "--epochs", "1", "--networks", "8", "--evaluations", "6", "--final", "none"]
    model = ["--model", f"{file}:make", *model_of(file)]
    assert hwnas(["search", *model, "--data", "digits", *few, "--strategy", "random", "--out", str(out)]) == 0
    return RunFolder(out)


def test_what_can_be_made_smaller_is_shown_with_what_stays(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert hwnas(["elasticize", f"{file}:make", *model_of(file), "--json"]) == 0
    shown = capsys.readouterr()
    rows = {row["part"]: row for row in json.loads(shown.out)["parts"]}
    assert rows["blocks.0"]["elastic"] == "width 8, 16, 24, 32" and "16: blocks share it" in rows["blocks.0"]["stays"]
    assert rows["blocks.1"]["elastic"] == "stage1.depth 1, 2; width 8, 16, 24, 32"
    assert "the layer 'fc' of 7 outputs is replaced by a new one of 10; it has to be trained" in shown.err


def test_it_shows_the_space_that_a_search_with_the_same_options_has(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--freeze", "blocks.0.*", "--precisions", "int8,fp32", "--fix", "blocks.1.precision=fp32"]
    assert hwnas(["elasticize", f"{file}:make", *model_of(file), *options, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    rows = {row["part"]: row for row in shown["parts"]}
    frozen, free = rows["blocks.0"]["parameters"], rows["blocks.1"]["parameters"]
    assert frozen.endswith(" frozen)") and "frozen" not in free and frozen.startswith(free)
    assert rows["blocks.0"]["elastic"].endswith("; precision int8, fp32")
    assert rows["blocks.1"]["elastic"].endswith("; precision fp32")
    options = {"resolution": 16, "channels": 1, "classes": 10}
    space = SpaceRequest(
        model=f"{file}:make",
        weights=str(file.with_suffix(".safetensors")),
        space_options=options,
        precisions="int8,fp32",
        fix=("blocks.1.precision=fp32",),
    ).load()
    assert shown["space"][0]["networks"] == space.size and shown["space"][0]["choices"] == len(space.choices)


def test_the_gradients_of_the_loss_are_written_and_order_the_units(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "gradients.safetensors"
    data = ["--data", "digits", "--limit-images", "40"]
    assert hwnas(["elasticize", f"{file}:make", *model_of(file), *data, "--gradients", str(out)]) == 0
    model = load_sized(f"{file}:make", str(file.with_suffix(".safetensors")), resolution=16, channels=1, classes=10)
    digits = load_data("digits", (1, 16, 16), limit=40)
    x, labels = digits.inputs(digits.train.raw), torch.from_numpy(digits.train.labels)
    torch.nn.functional.cross_entropy(model.module(x), labels).backward()
    written = load_file(out)
    assert written.keys() == dict(model.module.named_parameters()).keys()
    for name, one in model.module.named_parameters():
        torch.testing.assert_close(written[name], one.grad, rtol=1e-3, atol=1e-5)
    assert hwnas(["elasticize", f"{file}:make", *model_of(file), "--importance", str(out)]) == 0
    capsys.readouterr()


def test_a_search_cuts_networks_from_the_trained_one(run: RunFolder) -> None:
    rows = read_front(run.front)
    assert rows and all((run.path / row.onnx).is_file() for row in rows)
    assert run.read("request")["request"]["space"]["model"].endswith("net.py:make")


def test_a_killed_or_finished_run_knows_its_model(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert hwnas(["search", "--resume", "--out", str(run.path)]) == 0
    assert hwnas(["verify", str(run.path), "--claims"]) == 0
    capsys.readouterr()


def test_what_is_exported_as_source_needs_torch_alone(run: RunFolder, tmp_path: Path) -> None:
    assert hwnas(["export", str(run.path), "--arch", "fastest", "--out", str(tmp_path / "small.py")]) == 0
    assert (
        hwnas(["export", str(run.path), "--arch", "fastest", "--dynamic-batch", "--out", str(tmp_path / "small.onnx")])
        == 0
    )
    x = np.random.default_rng(0).normal(size=(3, 1, 16, 16)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    code = (
        "import sys, numpy, torch; from safetensors.torch import load_file; sys.path.insert(0, '.'); import small\n"
        "network = small.Network(); network.load_state_dict(load_file('small.safetensors'))\n"
        "network(torch.randn(4, 1, 16, 16)).sum().backward()\n"
        "assert all(p.grad is not None for p in network.parameters())\n"
        "network.load_state_dict(load_file('small.safetensors')); network.eval()\n"
        "numpy.save('y.npy', network(torch.from_numpy(numpy.load('x.npy'))).detach().numpy())\n"
        "assert not any(name.startswith('hwnas') for name in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
    session = onnxruntime.InferenceSession(tmp_path / "small.onnx")
    (y,) = session.run(None, {session.get_inputs()[0].name: x})
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), y, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["search", "--epochs", "0"], "--epochs 0 keeps the weights that --model brings; add --model"),
        (["search", "--weights", "net.pth"], "--weights are those of a --model; add it"),
        (["elasticize", "timm"], "unknown model 'timm'"),
        (["elasticize", "timm", "--task", "language"], "--task is for the data of --gradients; add --gradients FILE"),
    ],
)
def test_requests_that_cannot_be_are_refused_in_one_line(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path / "run")] if arguments[0] == "search" else []
    assert hwnas([*arguments, *out]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_source_with_options_of_onnx_is_refused(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert hwnas(["export", str(run.path), "--batch", "2", "--out", str(tmp_path / "small.py")]) == 2
    assert "Python source takes any batch size and no preprocessing" in capsys.readouterr().err
