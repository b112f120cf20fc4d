"""Tests of the benches: they can be imported, and those of published latencies predict as documented."""

import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import spearmanr

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "scripts" / "bench"
FEW = ["--seeds", "1", "--samples", "10", "45"]


def printed(script: str, data: Path, *arguments: str) -> list[list[str]]:
    """The cells of each line of its tables."""
    command = [sys.executable, str(SCRIPTS / script), *arguments]
    done = subprocess.run(
        command, env=os.environ | {"HWNAS_BENCH_DATA": str(data)}, capture_output=True, text=True, timeout=1800
    )
    assert done.returncode == 0, done.stderr
    return [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")]


def cell(text: str) -> tuple[float, float]:
    mape, spearman = text.split(" / ")
    return float(mape.removesuffix("%")) / 100, float(spearman)


@pytest.mark.parametrize("script", sorted(path.stem for path in SCRIPTS.glob("*.py")))
def test_a_bench_imports_only_names_that_exist(script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    assert callable(getattr(importlib.import_module(script), "conditions_of" if script == "asked" else "main"))


def test_final_training_is_compared_with_the_weights_of_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    bench = importlib.import_module("final_training")
    latency_ms = np.array([1.0, 2.0])
    before, after = (
        bench.Finished({"loss": loss, "accuracy": 1 - loss}, {"accuracy": 0.9 - loss}, latency_ms, 0.0)
        for loss in (np.array([0.5, 0.4]), np.array([0.3, 0.2]))
    )
    assert before.figures(before) == pytest.approx([0.55, 0.6, 0.45, 0.5, 1, 0])
    *_, volume, _ = after.figures(before)
    assert volume > 1


def test_networks_of_every_device_are_predicted_from_few(bench_data: Path) -> None:
    devices = ["1080ti_256", "samsung_a50"]
    first, *lines = printed("published.py", bench_data, *FEW, "--spaces", "nasbench201", "--devices", *devices)
    assert first == ["device", "ours", "additive", "trees", "FLOPs", "normalised", "written", "twins"]
    of_table = ["1080ti_256", "samsung_a50 (whole ms)", "median", "device"]
    assert [line[0] for line in lines] == [*of_table, *of_table[:-1], "networks known", "10", "45"]
    mape, spearman = cell(lines[0][1])
    assert mape < 0.05 and spearman > 0.98
    assert cell(lines[0][1])[0] < cell(lines[0][3])[0] < 1


def test_a_new_device_is_predicted_from_known_ones(bench_data: Path) -> None:
    few = ["--seeds", "1", "--samples", "10", "--spaces", "fbnet", "--devices", "gold_6240"]
    lines = printed("transfer.py", bench_data, *few)
    assert [line[0] for line in lines] == 2 * ["device", "gold_6240", "mean", "median"]
    assert lines[0] == ["device", "10", "10 alone"]
    known, alone = (cell(text) for text in lines[5][1:])
    assert known[0] < alone[0] and known[1] > alone[1]


def test_sums_and_whole_milliseconds_are_marked(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    columns = {f"layer{number}": rng.integers(0, 9, 400) for number in range(22)}
    sum_ms = 10.0 + sum(columns.values()) / 7
    made = {"chip": sum_ms, "phone": sum_ms.round(), "gpu": sum_ms * rng.uniform(0.99, 1.01, 400)}
    latencies = {f"latency_ms_{device}": latency_ms for device, latency_ms in made.items()}
    pq.write_table(pa.table(columns | latencies), tmp_path / "fbnet_latency.parquet")
    lines = printed("published.py", tmp_path, "--seeds", "1", "--samples", "10", "--spaces", "fbnet")
    assert [line[0] for line in lines[1:4]] == ["chip (sum)", "phone (whole ms)", "gpu"]


@pytest.mark.parametrize("script", ["published.py", "transfer.py"])
def test_a_device_that_no_table_has_is_named(tmp_path: Path, script: str) -> None:
    columns = {f"layer{number}": [0, 1] for number in range(22)} | {"latency_ms_chip": [1.0, 2.0]}
    pq.write_table(pa.table(columns), tmp_path / "fbnet_latency.parquet")
    command = [
        sys.executable,
        str(SCRIPTS / script),
        "--data",
        str(tmp_path),
        "--spaces",
        "fbnet",
        "--devices",
        "toaster",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 2 and done.stderr.endswith("no table has toaster; they have chip\n")


def test_the_documented_transfer_runs(bench_data: Path) -> None:
    page = (ROOT / "docs" / "predicting.md").read_text()
    code = page.split("```python\n")[1].split("```")[0]
    found: dict[str, Any] = {}
    exec(code.replace('Path("DIR")', f"Path({str(bench_data)!r})"), found)
    measured_ms = found["table"].latency_ms["gold_6240"]
    assert spearmanr(found["latency_ms"], measured_ms).statistic > 0.9
