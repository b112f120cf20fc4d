"""`hwnas measure` on real files: its table, its JSON, and what it refuses."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from torch import nn

from hwnas.__main__ import main
from hwnas.profiler.export import to_onnx
from hwnas.profiler.protocol import Protocol

MODEL = """
import torch
from torch import nn

def make():
    return nn.Sequential(nn.Linear(8, 24), nn.ReLU(), nn.Linear(24, 3)), torch.zeros(1, 8)

class Depends(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x

def depends():
    return Depends(), torch.zeros(1, 8)
"""
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def measure(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Returns the command in a folder with `net.py`, `a.onnx` and `text.onnx`: exit code, stdout, stderr."""
    (tmp_path / "net.py").write_text(MODEL)
    (tmp_path / "a.onnx").write_bytes(to_onnx(nn.Sequential(nn.Linear(8, 16), nn.ReLU()), (8,)))
    (tmp_path / "text.onnx").write_text("not a model")
    monkeypatch.chdir(tmp_path)
    quick = Protocol(rounds=3, most_rounds=3, burst_ms=0.5, warmup_ms=0.5, unconverged=10.0)
    monkeypatch.setattr("hwnas.pipeline.timing.PROTOCOL", quick)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["hwnas", "measure", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main()
        captured = capsys.readouterr()
        return int(exit_.value.code or 0), captured.out, captured.err

    return run


def test_people_see_a_table_the_noise_and_where_the_time_goes(measure: Run) -> None:
    code, out, _ = measure("net.py:make", "a.onnx", "--blocks")
    lines = out.splitlines()
    assert code == 0
    assert [cell.strip() for cell in lines[1].strip("┃").split("┃")] == [
        "model", "median ms", "p10", "p90", "noise", "ratio", "MiB", "params"
    ]  # fmt: skip
    assert "net.py:make" in lines[3] and "291" in lines[3] and "a.onnx" in lines[4]
    assert any(line.startswith("the first network differs from itself, loaded again, by ") for line in lines)
    assert "noise" in lines[8] and ("within noise: " in out or "all differences are larger than the noise" in out)
    assert "isolated times need not add up to it" in out and "by ONNX Runtime's profiler" in out


def test_programs_get_one_object(measure: Run) -> None:
    code, out, _ = measure("a.onnx", "net.py:make", "--blocks", "--json")
    told = json.loads(out)
    assert code == 0 and [model["model"] for model in told["models"]] == ["a.onnx", "net.py:make"]
    file, module = told["models"]
    assert file["ratio"] == 1 and file["params"] is None and module["params"] == 291
    assert [one["by"] for one in file["breakdowns"]] == ["operation", "name"]
    assert [one["by"] for one in module["breakdowns"]] == ["block"]
    assert 0 < module["p10_ms"] <= module["median_ms"] <= module["p90_ms"] and module["half_width"] >= 0
    assert told["conditions"]["device"] == "cpu" and isinstance(told["within_noise"], list)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["b.onnx"], "b.onnx: no such file; give a file of ONNX, or FILE.py:NAME for a torch module"),
        (["b.py:make"], "b.py: no such file"),
        (["text.onnx"], "text.onnx: is not an ONNX model ("),
        (["resnet50"], "unknown model 'resnet50'; known: FILE.onnx, FILE.py:NAME, hf:NAME, timm:NAME, torchvision:NAME"),
        (["net.py:depends"], "net.py:depends: Depends cannot be traced for an input of shape (2, 8): Could not guard"),
        (["a.onnx", "--batch", "2"], "a.onnx: has a batch of 1, not 2; give --batch 1"),
        (["a.onnx", "--precision", "int8", "--runtime-option", "slow_int8=allowed"], "a.onnx: a file runs in the precision"),
        (["a.onnx", "--runtime", "torch"], "a.onnx: PyTorch runs no .onnx file"),
        (["a.onnx", "--device", "tensorrt"], "device tensorrt: "),
        (["a.onnx", "--device", "amd-epyc"], "device amd-epyc is measured where it is"),
        (["a.onnx", "--device", "cpu", "--device", "cuda"], "--device is one device here"),
        (["a.onnx", "--length", "3"], "--length is for torch modules"),
        (["net.py:make", "--length", "3"], "net.py:make: the model reads images; give resolution=N instead of length"),
        ([], "Missing argument 'MODEL...'"),
    ],
)  # fmt: skip
def test_what_cannot_be_measured_is_refused_in_a_line(measure: Run, arguments: list[str], told: str) -> None:
    code, out, err = measure(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"hwnas: {told}") and err.count("\n") == 1
