"""Searches of architectures together with the precisions of their blocks, from the request to the files."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import onnx
import pytest
import torch

from hwnas.core.operations import keep, precision_choices
from hwnas.core.reporter import Silent
from hwnas.core.space import SearchSpace
from hwnas.costs.predicted import PredictedCost
from hwnas.data.dataset import load_data
from hwnas.errors import DeviceError
from hwnas.pipeline.claims import check_claims
from hwnas.pipeline.precisions import saved_ms, slower_words
from hwnas.pipeline.predict import fit_table
from hwnas.pipeline.search import resume, search
from hwnas.predict.predictor import LatencyPredictor
from hwnas.profiler.device import conditions_here
from hwnas.profiler.profile import ProfileSummary, Profiling, profile
from hwnas.profiler.protocol import Protocol
from hwnas.profiler.runtime import RuntimeOptions
from hwnas.profiler.runtime_onnx import OnnxModel
from hwnas.runs.database import RunDatabase
from hwnas.runs.front import options_of
from hwnas.spaces import with_precisions
from hwnas.tasks.registry import load_task

Item = TypeVar("Item")

QUICK: Final[dict[str, Any]] = {
    "limit_images": 200,
    "epochs": 2,
    "final": "finetune",
    "final_epochs": 1,
    "strategy": "random",
    "evaluations": 6,
    "objectives": "loss,model",
}


class Stops:
    """A reporter under which a search is interrupted after three evaluations."""

    def track(self, items: Sequence[Item], what: str) -> Iterable[Item]:
        for number, item in enumerate(items):
            if number == 3 and what == "evaluating architectures":
                raise KeyboardInterrupt
            yield item

    def note(self, text: str) -> None:
        return None


class Notes(Silent):
    """A reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)


@pytest.fixture(scope="module")
def space(small_space: SearchSpace) -> SearchSpace:
    return with_precisions(keep(small_space, "stage[34].depth", (1,)), ("fp32", "int8"))


@pytest.fixture(scope="module")
def table(space: SearchSpace, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ProfileSummary]:
    path = tmp_path_factory.mktemp("mixed") / "table.jsonl"
    protocol = Protocol(rounds=4, most_rounds=4, patience_s=0)
    profiling = Profiling(space=space, conditions=conditions_here("cpu"), path=path, protocol=protocol)
    return path, profile(profiling, networks=10)


@pytest.fixture(scope="module")
def predictor(space: SearchSpace, table: tuple[Path, ProfileSummary], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mixed") / "predictor.json"
    fit_table(table[0], space, allow_unconverged=True).save(path)
    return path


def evaluations(run: Path, phase: str) -> dict[str, dict[str, float]]:
    database = RunDatabase.existing(run / "run.sqlite")
    try:
        return {key: dict(evaluation.metrics) for key, evaluation in database.evaluations(phase).items()}
    finally:
        database.close()


def test_an_interrupted_search_goes_on_and_its_scores_are_those_of_the_files(
    space: SearchSpace, predictor: Path, tmp_path: Path
) -> None:
    options = QUICK | {"predictor": (str(predictor),)}
    search(space, "digits", out=tmp_path / "whole", **options)
    with pytest.raises(KeyboardInterrupt):
        search(space, "digits", out=tmp_path / "run", reporter=Stops(), **options)
    assert 0 < len(evaluations(tmp_path / "run", "search")) < 6
    result = resume(tmp_path / "run", Silent(), {})
    assert evaluations(tmp_path / "run", "search") == evaluations(tmp_path / "whole", "search")
    check_claims(tmp_path / "run")

    data, task = load_data("digits", space.input_shape, limit=200), load_task("classification")
    final, mixed = evaluations(tmp_path / "run", "final"), 0
    for row in result.front:
        file = tmp_path / "run" / row.onnx
        model = OnnxModel(file.read_bytes(), RuntimeOptions())
        inputs = data.inputs(data.validation.raw).numpy()
        outputs = torch.from_numpy(np.concatenate([model.run(x[None]) for x in inputs]))
        assert task.score([(outputs, torch.from_numpy(data.validation.labels))]) == pytest.approx(final[row.arch_id])
        arch = space.arch(options_of(row, tmp_path))
        operators = [layer.operator(arch) for layer in space.layers]
        is_mixed = any(one is not None and one.in_float32 is not one for one in operators)
        mixed += is_mixed
        facts = {item.key: item.value for item in onnx.load(file).metadata_props}
        assert facts["hwnas.precision"] == ("int8" if is_mixed else "fp32")
    assert mixed


def test_blocks_that_are_slower_are_told(
    space: SearchSpace, predictor: Path, table: tuple[Path, ProfileSummary]
) -> None:
    cost = PredictedCost(LatencyPredictor.load(predictor), "p10", "latency")
    saved = saved_ms(space, cost)["int8"]
    assert saved.keys() == precision_choices(space).keys() - {"stage3.block2", "stage4.block2"}  # which never stand
    rows_NC = space.encode([{**space.largest(), "head.precision": option} for option in ("fp32", "int8")])
    float_ms, int8_ms = cost.values(rows_NC)
    assert saved["head"] == pytest.approx(float_ms - int8_ms, abs=0.5 * abs(float_ms))
    words = slower_words("int8", {"stem": -0.25, "body": 0.5, "head": -0.125}, "here")
    assert words.startswith(
        "int8 is predicted to be slower than fp32 here for 2 of 3 blocks: stem (+0.25 ms), head (+0.12"
    )
    assert slower_words("int8", {"stem": 0.25}, "here") == ""
    summary = table[1]
    assert len(summary.slowest_quantised) == min(5, summary.slower_quantised)
    assert all(text.startswith("int8(") for text in summary.slowest_quantised)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"precision": "int8", "runtime_options": {"slow_int8": "allowed"}}, "--precisions are those of each block"),
        ({"runtime": "torch"}, "runtime torch on cpu does not compute blocks in int8; leave out --precisions"),
    ],
)
def test_devices_that_cannot_have_precisions_of_blocks_are_refused(
    space: SearchSpace, tmp_path: Path, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(DeviceError, match=words):
        search(space, "digits", out=tmp_path / "run", **QUICK, **options)
    assert not (tmp_path / "run").exists()
