"""The whole chain, from profiling to verified models, for every built-in space at smoke size."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime as ort
import pytest
from scipy.io import wavfile

from hwnas.__main__ import main
from hwnas.pipeline.request import reopen
from hwnas.runs.front import read_front
from hwnas.spaces import SPACES

# Options of the space, and options dropped: fewer operators are profiled sooner.
SMALL: Final[Mapping[str, tuple[list[str], list[str]]]] = {
    "mobilenet": (["resolution=16", "width=0.5"], ["*.kernel=7", "*.expansion=6", "*.depth=3"]),
    "fbnet": (["resolution=16", "width=0.25"], ["*=k5_e1", "*=k5_e3", "*=k5_e6", "*=k3_e3", "*=k3_e1"]),
    "proxyless": (["resolution=16", "width=0.25"], ["*=k7_e3", "*=k7_e6", "*=k5_e3"]),
    "ofa": (["resolutions=[16,24]", "width=0.25"], ["*.kernel=7", "*.expansion=6", "*.depth=4"]),
    "nasbench201": (["resolution=8", "width=8", "cells=1"], []),
    "conv_macro": (["resolution=16", "features=32"], ["*.kernel=7", "conv3.channels=128", "conv4.channels=256"]),
    "series": (
        ["length=400", "width=0.5", "classes=3"],
        ["*.kernel=15", "*.expansion=4", "*.depth=3", "stem.kernel=17"],
    ),
    "vit": (["resolution=16", "preset=small_images"], []),
    "gpt": (["length=16", "embeddings=[32,48]", "layers=[1,2]", "heads=[1,2,3]", "head_size=16"], []),
}
RATE: Final = 2000
VERSE = "From fairest creatures we desire increase, that thereby beauty's rose might never die. "


def tones(folder: Path) -> str:
    """Recordings of 0.2 s: a tone of one of three pitches that fades out, in noise."""
    rng = np.random.default_rng(0)
    for number in range(120):
        pitch = ("low", "middle", "high")[number % 3]
        (folder / pitch).mkdir(exist_ok=True, parents=True)
        time = np.arange(rng.integers(350, 450)) / RATE
        hertz = {"low": 100, "middle": 200, "high": 400}[pitch] * rng.uniform(0.9, 1.1)
        tone = np.sin(2 * np.pi * hertz * time + rng.uniform(0, 6)) * np.exp(-3 * time) + rng.normal(0, 0.3, len(time))
        wavfile.write(folder / pitch / f"{number}.wav", RATE, (tone * 8000).clip(-32768, 32767).astype(np.int16))
    return f"wav:{folder}"


@pytest.mark.slow(reason="profiles, trains, searches and verifies every built-in space for real")
@pytest.mark.parametrize("space", SPACES)
def test_a_space_is_searched_from_profile_to_verified_models(space: str, tmp_path: Path, capsys, monkeypatch) -> None:
    (tmp_path / "verse.txt").write_text(VERSE * 60)
    data = {"gpt": f"text:{tmp_path / 'verse.txt'}", "series": tones(tmp_path / "tones")}.get(space, "digits")
    given, dropped = SMALL[space]
    options = [word for option in given for word in ("--space-option", option)]
    options += [word for option in dropped for word in ("--drop", option)]
    size = ["--epochs", "1", "--limit-images", "128", "--networks", "8", "--final-epochs", "1"]
    run = tmp_path / "run"

    def hwnas(*words: str) -> None:
        monkeypatch.setattr("sys.argv", ["hwnas", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code, capsys.readouterr().err

    hwnas(
        "search",
        "--space",
        space,
        *options,
        "--data",
        data,
        "--latency-budget",
        "120%",
        *size,
        "--evaluations",
        "8",
        "--out",
        str(run),
    )
    front = read_front(run / "front.csv")
    assert all(row.within_budget and row.measured_ms > 0 and np.isfinite(row.loss_val) for row in front)
    searched = reopen(run, {})[-1]
    for row in front:
        arch = searched.arch(json.loads(row.arch))
        assert (row.model_mib, row.peak_mib) == pytest.approx(
            tuple(searched.cost(cost, arch) / 2**20 for cost in ("bytes", "peak"))
        )
    assert (run / "front.png").exists() and (run / "report.html").exists()

    by_gradient = ["--strategy", "gradient", "--predictor", str(run / "predictor.json")]
    by_gradient += ["--steps", "2", "--evaluations", "3"]
    hwnas(
        *(
            "search",
            "--space",
            space,
            *options,
            "--data",
            data,
            "--latency-budget",
            "1s",
            *size[:4],
            *size[6:],
            *by_gradient,
        ),
        *("--out", str(tmp_path / "gradient")),
    )
    (row,) = read_front(tmp_path / "gradient/front.csv")
    assert row.within_budget and np.isfinite(row.loss_val)

    hwnas("export", str(run), "--arch", "best", "--out", str(tmp_path / "best.onnx"))
    (x,) = ort.InferenceSession(tmp_path / "best.onnx", providers=["CPUExecutionProvider"]).get_inputs()
    assert x.type == ("tensor(int64)" if space == "gpt" else "tensor(float)")

    capsys.readouterr()
    hwnas("verify", str(run), "--json")
    verified = json.loads(capsys.readouterr().out)["verified"]
    assert {row["arch_id"] for row in verified} == {row.arch_id for row in front}
