"""A search for PyTorch as what runs the winners: profiled, timed, judged and verified by it, exported as ONNX."""

from pathlib import Path

import onnxruntime as ort
import pytest
import torch

import hwnas
from hwnas.core.reporter import Silent
from hwnas.pipeline.winners import verify
from hwnas.profiler.table import read_table

OPTIONS = {"resolution": 16, "features": 32}
DROPPED = ("*.kernel=7", "conv3.channels=128", "conv4.channels=256")


@pytest.mark.slow(reason="runs a whole search per runtime and precision")
@pytest.mark.parametrize(("strategy", "precision"), [("nsga2", "fp32"), ("gradient", "bf16")])
def test_winners_are_timed_by_the_runtime_that_is_asked_for(strategy: str, precision: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    found = hwnas.search(
        "conv_macro",
        "digits",
        out=run,
        space_options=OPTIONS,
        drop=DROPPED,
        runtime="torch",
        precision=precision,
        strategy=strategy,
        latency_budget="300%",
        limit_images=128,
        networks=8,
        epochs=1,
        evaluations=8,
        final_epochs=1,
    )
    table = read_table(run / "table.jsonl")
    assert table.conditions["runtime"] == f"torch {torch.__version__}"
    assert (table.conditions["precision"], table.conditions["provider"]) == (precision, "torch")
    assert found.front and all(row.measured_ms and row.within_budget for row in found.front)
    for row in found.front:
        session = ort.InferenceSession(run / row.onnx, providers=["CPUExecutionProvider"])
        assert session.get_inputs()[0].type == "tensor(float)"
        said = session.get_modelmeta().custom_metadata_map
        assert said["hwnas.measured_by"].startswith(f"torch {torch.__version__}, {precision}, ")
    verified = verify(run, Silent())
    assert [each.row for each in verified] == list(found.front)
