"""Searches with three objectives, for two devices at once, and for every task, from data to measured models."""

import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import pytest

from hwnas.core.reporter import Silent
from hwnas.core.space import SearchSpace
from hwnas.errors import BudgetError, HwnasError, UnknownNameError
from hwnas.pipeline.claims import check_claims
from hwnas.pipeline.search import SearchResult, resume, search
from hwnas.predict.predictor import LatencyPredictor
from hwnas.predict.shipped import predictor_path
from hwnas.runs.database import FINAL, RunDatabase
from hwnas.runs.front import read_front
from hwnas.runs.objectives import read_goal
from hwnas.strategies.pareto import non_dominated
from hwnas.terminal import TerminalReporter

QUICK: dict[str, Any] = {"limit_images": 128, "epochs": 1, "evaluations": 16, "final_epochs": 1}


def points(result: SearchResult) -> np.ndarray:
    objectives = read_goal(result.run).objectives
    return np.array([[objective.minimised(row) for objective in objectives] for row in result.front])


def test_a_front_of_three_objectives_is_not_dominated_and_has_their_columns(
    small_space: SearchSpace, small_predictor: Path, tmp_path: Path
) -> None:
    options = QUICK | {"predictor": (str(small_predictor),), "latency_budget": "1s"}
    began = monotonic()
    result = search(small_space, "digits", out=tmp_path / "run", objectives="accuracy,latency,params", **options)
    stages = result.run.read()["stages"]
    assert {"search", "measure"} <= set(stages)
    assert sum(stage["seconds"] for stage in stages.values()) <= monotonic() - began + 0.1  # none is in another
    assert [objective.name for objective in read_goal(result.run).objectives] == ["accuracy", "latency", "params"]
    assert points(result).shape == (len(result.front), 3) and non_dominated(points(result)).all()
    assert all(row.params > 0 and 0 <= row.accuracy_test <= 1 and row.measured_ms > 0 for row in result.front)
    assert (result.run.path / "front.png").stat().st_size > 10_000
    assert resume(result.run.path, Silent(), {}).front == result.front
    assert all(claim["holds"] for claim in check_claims(result.run.path))


def test_without_a_budget_latency_is_an_objective_and_no_limit(
    small_space: SearchSpace, small_predictor: Path, tmp_path: Path
) -> None:
    options = QUICK | {"predictor": (str(small_predictor),), "final": "none"}
    result = search(small_space, "digits", out=tmp_path / "run", **options)
    assert result.latency_budget_ms is None
    assert all(row.budget_ms is None and row.within_budget for row in result.front)
    assert "loss_val_before" not in result.front[0].metrics


SPARE = """
from hwnas.costs.function import FunctionCost


def spare(space, name):
    return FunctionCost(f"spare-{name}", "", lambda rows_NC: 1e9 - space.costs(name, rows_NC))


def params(space):
    return spare(space, "params")


def flops(space):
    return spare(space, "flops")
"""


def test_a_tight_budget_keeps_its_networks_where_latency_is_no_objective(
    small_space: SearchSpace, board: LatencyPredictor, tmp_path: Path
) -> None:
    (tmp_path / "spare.py").write_text(SPARE)  # two objectives in which large networks beat small ones
    objectives = ",".join(f"{tmp_path / 'spare.py'}:{name}" for name in ("params", "flops"))
    rows_NC = small_space.spread_rows(np.random.default_rng(0), 300)
    fastest_ms, slowest_ms = np.quantile(board.upper(rows_NC, "median"), [0, 1])
    bounds_ms = [float(fastest_ms + share * (slowest_ms - fastest_ms)) for share in (0.05, 1.0)]
    options = QUICK | {"device": "board", "final": "none", "latency_budget": ",".join(f"{b}ms" for b in bounds_ms)}
    result = search(small_space, "digits", out=tmp_path / "run", objectives=objectives, **options)
    assert sorted({row.budget_ms for row in result.front}) == pytest.approx(bounds_ms)
    assert not non_dominated(points(result)).all()
    claims = check_claims(result.run.path)
    assert claims[0]["claim"] == "no network is dominated within its budget" and all(claim["holds"] for claim in claims)


def test_a_share_is_of_the_largest_network_as_it_was_profiled_where_the_device_is_busy_now(
    small_space: SearchSpace, small_predictor: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predictor = LatencyPredictor.load(small_predictor)
    profiled_ms = predictor.report["reference_ms"] / 10  # now it takes ten times as long
    replace(predictor, report={**predictor.report, "reference_ms": profiled_ms}).save(tmp_path / "p.json")
    options = QUICK | {"predictor": (str(tmp_path / "p.json"),), "latency_budget": "90%"}
    budget_ms = 0.9 * profiled_ms * predictor.statistics["median"]
    with pytest.raises(BudgetError, match=f"the budget of {budget_ms:.4g} ms cannot be met"):
        search(small_space, "digits", out=tmp_path / "run", reporter=TerminalReporter(), **options)
    said = " ".join(capsys.readouterr().err.split())
    assert "when the device was profiled: is the device busy? Budgets are shares of the latter" in said


def test_any_cost_can_be_limited(small_space: SearchSpace, small_predictor: Path, tmp_path: Path) -> None:
    bound = small_space.costs("flops", small_space.spread_rows(np.random.default_rng(0), 200)).mean()
    options = QUICK | {"predictor": (str(small_predictor),), "final": "none", "limit": (f"flops<={bound}",)}
    result = search(small_space, "digits", out=tmp_path / "run", **options)
    assert all(row.flops <= bound for row in result.front)
    with pytest.raises(BudgetError, match="no architecture of mobilenet has at most 1 FLOPs; the least is"):
        search(small_space, "digits", out=tmp_path / "none", **options | {"limit": ("flops<=1",)})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"objectives": "loss,speed"},
            "unknown objective or cost 'speed'; known: FILE.py:NAME, accuracy, balanced_accuracy, energy",
        ),
        ({"limit": ("beauty<=1",)}, "unknown cost 'beauty'"),
        ({"device": ("cpu", "cpu")}, "give each device once"),
        ({"device": ("cpu+colour=2",)}, "'colour=2' is not one of threads=..."),
        ({"latency_budget": "gpu:1ms"}, "unknown device of --latency-budget 'gpu'"),
    ],
)
def test_goals_that_cannot_be_are_refused_before_a_folder_is_made(
    small_space: SearchSpace, small_predictor: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(HwnasError, match=message):
        search(small_space, "digits", out=tmp_path / "run", **QUICK | {"predictor": (str(small_predictor),)} | options)
    assert not (tmp_path / "run").exists()


# ---- two devices


def test_one_device_is_measured_and_the_other_predicted_each_with_a_budget_of_its_own(
    small_space: SearchSpace, small_predictor: Path, board: LatencyPredictor, tmp_path: Path
) -> None:
    fastest, slowest = np.quantile(
        board.upper(small_space.spread_rows(np.random.default_rng(0), 300), "median"), [0, 1]
    )
    bound_ms = float(fastest + 0.5 * (slowest - fastest))
    options = QUICK | {"device": ("cpu", "board"), "predictor": (str(small_predictor),), "final": "none"}
    result = search(small_space, "digits", out=tmp_path / "run", latency_budget=f"cpu:1s,board:{bound_ms}ms", **options)
    assert [objective.name for objective in read_goal(result.run).objectives] == ["loss", "latency", "latency@board"]
    for row in result.front:
        here, there = row.latencies
        assert (here.device, there.device) == ("cpu", "board")
        assert here.measured_ms and here.budget_ms == 1000.0 and here.within_budget
        assert there.measured_ms is None and there.within_budget
        arch = small_space.encode([small_space.arch(json.loads(row.arch))])
        assert board.for_space(small_space).upper(arch, "median")[0] <= bound_ms
        assert there.predicted_ms == pytest.approx(float(board.for_space(small_space).predict_ms(arch)[0]))
    assert tuple(read_front(result.run.front)) == result.front
    assert resume(result.run.path, Silent(), {}).front == result.front


def test_a_device_of_another_precision_has_models_and_test_metrics_of_its_own(
    small_space: SearchSpace, board: LatencyPredictor, tmp_path: Path
) -> None:
    chip = replace(board, conditions={**board.conditions, "precision": "int8", "hardware": "a chip"})
    path = predictor_path(tmp_path / "devices", "chip", "mobilenet")
    path.parent.mkdir(parents=True)
    chip.save(path)
    name = "chip+precision=int8"
    result = search(small_space, "digits", out=tmp_path / "run", device=("board", name), **QUICK)
    for row in result.front:
        models = {row.onnx, row.further_onnx[name]}
        assert len(models) == 2 and all((result.run.path / model).is_file() for model in models)
        assert 0 <= row.metrics[f"accuracy_test@{name}"] <= 1
    columns = [f"loss_test{end}" for end in ("", f"@{name}")]
    exact, rounded = (np.array([row.metrics[column] for row in result.front]) for column in columns)
    assert not np.array_equal(exact, rounded) and np.allclose(exact, rounded, rtol=0.2)
    assert tuple(read_front(result.run.front)) == result.front
    claims = check_claims(result.run.path)
    assert any(name in claim["claim"] for claim in claims) and all(claim["holds"] for claim in claims)


def test_budgets_that_no_network_meets_on_both_devices_are_refused(
    small_space: SearchSpace, small_predictor: Path, board: LatencyPredictor, tmp_path: Path
) -> None:
    options = QUICK | {"device": ("cpu", "board"), "predictor": (str(small_predictor),)}
    with pytest.raises(BudgetError, match="cannot be met on board: the fastest architecture of mobilenet takes up to"):
        search(small_space, "digits", out=tmp_path / "run", latency_budget="cpu:1s,board:1ns", **options)


def test_a_file_that_serves_no_device_is_refused(
    small_space: SearchSpace, small_predictor: Path, board: LatencyPredictor, tmp_path: Path
) -> None:
    board.save(tmp_path / "board.json")
    with pytest.raises(HwnasError, match="fitted under other conditions: hardware a board"):
        search(small_space, "digits", out=tmp_path / "run", predictor=(str(tmp_path / "board.json"),), **QUICK)


# ---- final training


@pytest.mark.parametrize("final", ["finetune", "scratch"])
@pytest.mark.parametrize("teacher", ["none", "largest"])
def test_networks_keep_what_final_training_made_and_it_is_told(
    small_space: SearchSpace, small_predictor: Path, tmp_path: Path, final: str, teacher: str
) -> None:
    options = QUICK | {"predictor": (str(small_predictor),), "latency_budget": "1s", "evaluations": 6}
    options |= {"final": final, "final_teacher": teacher, "final_epochs": 2}
    result = search(small_space, "digits", out=tmp_path / "run", **options)
    for row in result.front:
        assert row.loss_val != row.loss_val_before and final in row.stages.split(" > ")
        assert result.run.final_weights(row.arch_id).exists()
    assert all(claim["holds"] for claim in check_claims(result.run.path))


# ---- tasks, each in one command

TASKS = {
    "regression": ({"classes": 1}, "digits-angle", ("loss", "r2", "rmse")),
    "segmentation": ({"classes": 11, "head": "dense"}, "digits-canvas", ("loss", "miou", "accuracy")),
}


@pytest.mark.slow(reason="profiles a space and searches it, for each task")
@pytest.mark.parametrize("task", TASKS)
def test_a_task_is_searched_from_data_to_measured_models(task: str, tmp_path: Path) -> None:
    space_options, data, metrics = TASKS[task]
    options = QUICK | {"networks": 8, "latency_budget": "300%", "drop": ("*.kernel=7", "*.expansion=6", "*.depth=3")}
    options |= {"space_options": {"resolution": 32, "width": 0.25, **space_options}, "evaluations": 8}
    result = search("mobilenet", data, out=tmp_path / "run", **options)
    for row in result.front:
        assert row.measured_ms > 0 and row.within_budget
        assert all(np.isfinite(getattr(row, f"{metric}_{split}")) for metric in metrics for split in ("val", "test"))
    assert all(claim["holds"] for claim in check_claims(result.run.path))


def test_a_task_that_the_networks_cannot_solve_is_refused(
    small_space: SearchSpace, small_predictor: Path, tmp_path: Path
) -> None:
    options = QUICK | {"predictor": (str(small_predictor),)}
    for task in ("segmentation", "regression"):
        with pytest.raises(HwnasError, match=task):
            search(small_space, "digits", out=tmp_path / "run", task=task, **options)
    with pytest.raises(UnknownNameError, match="unknown task 'guessing'"):
        search(small_space, "digits", out=tmp_path / "run", task="guessing", **options)
    assert not (tmp_path / "run").exists()


def test_final_training_takes_few_networks_spread_over_the_front_and_goes_on_with_more(
    small_space: SearchSpace, board: LatencyPredictor, tmp_path: Path
) -> None:
    (tmp_path / "spare.py").write_text(SPARE)  # no network beats another that has other parameters
    options = QUICK | {"device": "board", "objectives": f"params,{tmp_path / 'spare.py'}:params"}
    everything = search(small_space, "digits", out=tmp_path / "all", **options | {"final": "none"})
    few = search(small_space, "digits", out=tmp_path / "few", **options | {"final_networks": 3})
    with closing(RunDatabase.existing(few.run.database)) as database:
        assert len(database.evaluations(FINAL)) == 3 < len(everything.front)
    ends = points(everything)[[points(everything)[:, 0].argmin(), points(everything)[:, 1].argmin()]]
    assert all((points(few) == end).all(axis=1).any() for end in ends)  # the smallest and the largest are among them
    trained = {path: path.stat().st_mtime_ns for path in few.run.final.glob("*.safetensors")}
    more = resume(few.run.path, Silent(), {"final_networks": 4})
    assert trained and {path: path.stat().st_mtime_ns for path in trained} == trained  # none is trained again
    assert {row.arch_id for row in few.front} < {row.arch_id for row in more.front}
    assert all(claim["holds"] for claim in check_claims(more.run.path))
