"""A search of token networks on text, from files alone: what its front, its models and its run folder say."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

import hwnas
from hwnas.core.reporter import Silent
from hwnas.data.dataset import load_data
from hwnas.errors import DataError
from hwnas.pipeline.search import SearchResult, resume
from hwnas.pipeline.winners import export, verify
from hwnas.runs.database import RunDatabase
from hwnas.runs.objectives import read_goal
from hwnas.terminal import front_table

SPACE = f"{Path(__file__).parents[1] / 'train/token_space.py'}:build"


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> SearchResult:
    folder = tmp_path_factory.mktemp("text search")
    (folder / "a.txt").write_text("abcdefg" * 1000)
    return hwnas.search(
        hwnas.space(SPACE),
        f"text:{folder / 'a.txt'}",
        latency_budget_ms=100,
        out=folder / "run",
        epochs=2,
        evaluations=16,
        networks=10,
        limit_images=200,
        batch=3,
        final_epochs=2,
    )


def test_perplexities_are_the_exponentials_of_the_losses_of_the_onnx_files(found: SearchResult) -> None:
    data = load_data(found.run.read()["request"]["data"]["data"], (8,), vocabulary=7, limit=200)
    for row in found.front:
        assert row.perplexity_val == pytest.approx(np.exp(row.loss_val))
        session = ort.InferenceSession((found.run.path / row.onnx).read_bytes(), providers=["CPUExecutionProvider"])
        raw = np.resize(data.test.raw, (17, 3, 8))
        logits = np.concatenate([session.run(None, {"input": ids})[0] for ids in raw])[: len(data.test)]
        logits -= logits.max(2, keepdims=True)
        chances = np.exp(logits) / np.exp(logits).sum(2, keepdims=True)
        nats = -np.log(np.take_along_axis(chances, data.test.labels[..., None], 2)).mean()
        assert row.perplexity_test == pytest.approx(np.exp(nats), rel=1e-5)
        assert row.accuracy_test == pytest.approx((logits.argmax(2) == data.test.labels).mean())


def test_a_model_says_its_tokens_and_takes_their_ids(found: SearchResult, tmp_path: Path) -> None:
    model = onnx.load(found.run.path / found.front[0].onnx)
    properties = {item.key: item.value for item in model.metadata_props}
    assert json.loads(properties["hwnas.tokens"]) == list("abcdefg")
    assert "hwnas.mean" not in properties
    assert model.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.INT64
    database = RunDatabase.existing(found.run.database)
    beaten = sorted(set(database.evaluations("search")) - {row.arch_id for row in found.front})
    database.close()
    onnx.checker.check_model(onnx.load(export(found.run.path, beaten[0], tmp_path / "b.onnx")))


def test_a_run_records_the_recipe_that_was_used(found: SearchResult) -> None:
    recipe = found.run.read()["recipe"]
    assert (recipe["optimizer"], recipe["learning_rate"], recipe["epochs"]) == ("adamw", 1e-3, 2)


def test_a_finished_run_resumes_to_itself_and_can_be_verified(found: SearchResult) -> None:
    assert resume(found.run.path, Silent(), {}).front == found.front
    assert [row.row for row in verify(found.run.path, Silent())] == list(found.front)


def test_text_that_changed_since_the_run_is_noticed(found: SearchResult) -> None:
    path = found.run.path.parent / "a.txt"
    before = path.read_text()
    try:
        path.write_text(before[::-1])
        with pytest.raises(DataError, match="has changed since"):
            resume(found.run.path, Silent(), {})
    finally:
        path.write_text(before)


def test_the_printed_front_shows_perplexities(found: SearchResult) -> None:
    table = front_table(found.front, read_goal(found.run))
    columns = {" ".join(str(column.header).split()): list(column.cells) for column in table.columns}
    (shown,) = (cells for header, cells in columns.items() if "test" in header and "perplexity" in header)
    assert [float(cell.split("→")[-1]) for cell in shown] == pytest.approx(
        [row.perplexity_test for row in found.front], rel=1e-3
    )
    assert not any("balanced" in header for header in columns)
