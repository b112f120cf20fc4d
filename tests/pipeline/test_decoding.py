"""A search for prefill and decoding: two latencies, each with a table, a predictor, measured winners and files of its own."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import hwnas
from hwnas.core.reporter import Silent
from hwnas.errors import DeviceError, SpaceError
from hwnas.pipeline.claims import check_claims
from hwnas.pipeline.search import SearchResult, resume
from hwnas.pipeline.winners import verify
from hwnas.profiler.table import read_table

DECODE = "cpu+step=decode"
SPACE = {
    "length": 8,
    "vocabulary": 7,
    "embeddings": (16, 24),
    "layers": (1, 2),
    "heads": (2,),
    "head_size": 4,
    "ratios": (2,),
}
QUICK = {"epochs": 1, "evaluations": 6, "networks": 8, "limit_images": 100, "final": "none"}


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("text") / "a.txt"
    path.write_text("abcdefg" * 500)
    return f"text:{path}"


@pytest.fixture(scope="module")
def found(text: str, tmp_path_factory: pytest.TempPathFactory) -> SearchResult:
    return hwnas.search(
        hwnas.space("gpt", **SPACE),
        text,
        device=("cpu", DECODE),
        objectives=f"loss,latency@{DECODE}",
        out=tmp_path_factory.mktemp("decoding") / "run",
        **QUICK,
    )


def test_decoding_is_profiled_and_its_winners_are_timed(found: SearchResult) -> None:
    whole, decoding = (read_table(found.run.table_of(name)) for name in ("cpu", DECODE))
    assert "step" not in whole.conditions and decoding.conditions["step"] == "decode"
    for kind in ("operator", "network"):
        assert whole.keys(kind) == decoding.keys(kind) != set()
    for row in found.front:
        assert [latency.device for latency in row.latencies] == ["cpu", DECODE]
        assert all(latency.measured_ms and latency.within_budget for latency in row.latencies)


def test_a_winner_has_a_file_that_decodes_what_the_other_file_gives(found: SearchResult) -> None:
    row = found.front[-1]
    whole, step = (onnxruntime.InferenceSession(found.run.path / path) for path in (row.onnx, row.further_onnx[DECODE]))
    ids = np.array([[0, 1, 2, 3, 4, 5, 6, 0]])
    (expected,) = whole.run(None, {"input": ids})
    past = {one.name: np.empty([0 if d == "past" else d for d in one.shape], "f4") for one in step.get_inputs()[1:]}
    for position in range(8):
        output, *present = step.run(None, {"input": ids[:, position : position + 1], **past})
        past = dict(zip(past, present, strict=True))
        np.testing.assert_allclose(output[:, 0], expected[:, position], rtol=1e-3, atol=1e-4)


def test_a_run_is_verified_claimed_and_resumed_with_both_steps(found: SearchResult) -> None:
    assert [each.latency.device for each in verify(found.run.path, Silent())] == [
        name for name in ("cpu", DECODE) for _ in found.front
    ]
    assert all(claim["holds"] for claim in check_claims(found.run.path))
    assert resume(found.run.path, Silent(), {}).front == found.front


def test_networks_are_scored_on_whole_inputs_first(text: str, tmp_path: Path) -> None:
    space = hwnas.space("gpt", **SPACE)
    with pytest.raises(DeviceError, match=r"scored on whole inputs; give device cpu"):
        hwnas.search(space, text, device=DECODE, out=tmp_path / "run", **QUICK)


def test_a_space_that_does_not_decode_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match="decoding needs a network of token positions"):
        hwnas.search("nasbench201", "digits", device=("cpu", DECODE), out=tmp_path / "run", **QUICK)
    assert not (tmp_path / "run" / "table.jsonl").exists()
