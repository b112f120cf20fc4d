"""A run that goes on with other options: what it has stays, and what it finds is what those options ask for."""

import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwnas.core.reporter import Silent
from hwnas.core.space import SearchSpace
from hwnas.errors import BudgetError, HwnasError, RunError
from hwnas.pipeline.claims import check_claims
from hwnas.pipeline.search import SearchResult, branch, resume, search
from hwnas.predict.predictor import LatencyPredictor
from hwnas.predict.shipped import predictor_path
from hwnas.runs.database import FINAL, Latencies, RunDatabase
from hwnas.runs.folder import RunFolder, copy_run
from hwnas.runs.front import FrontRow, read_front
from hwnas.runs.objectives import read_goal

QUICK: dict[str, Any] = {
    "device": ("board",),
    "limit_images": 128,
    "epochs": 1,
    "evaluations": 20,
    "strategy": "nsga2",
    "population": 8,
    "final": "none",
}


def found(result: SearchResult) -> list[tuple[str, dict[str, float]]]:
    """Returns what a front says of its networks, but for times that were measured."""
    return [(row.arch_id, {**row.metrics, **row.costs, "predicted_ms": row.predicted_ms}) for row in result.front]


def evaluated(run: RunFolder) -> list[str]:
    with closing(RunDatabase(run.database)) as database:
        return list(database.evaluations())


def reaches(rows: tuple[FrontRow, ...], others: tuple[FrontRow, ...], result: SearchResult) -> bool:
    """True where every one of the other rows is equalled or beaten in all objectives by one of the rows."""
    objectives = read_goal(result.run).objectives
    mine, theirs = (np.array([[o.minimised(row) for o in objectives] for row in each]) for each in (rows, others))
    return bool((mine[:, None] <= theirs[None]).all(axis=2).any(axis=0).all())


@pytest.fixture
def finished(small_space: SearchSpace, board: LatencyPredictor, tmp_path: Path) -> SearchResult:
    return search(small_space, "digits", out=tmp_path / "run", **QUICK)


@pytest.mark.parametrize("strategy", ["nsga2", "random", "surrogate"])
def test_a_search_that_is_extended_is_the_search_that_was_started_with_as_many_evaluations(
    small_space: SearchSpace, board: LatencyPredictor, tmp_path: Path, strategy: str
) -> None:
    options = {name: value for name, value in QUICK.items() if strategy == "nsga2" or name != "population"}
    options["strategy"] = strategy
    short = search(small_space, "digits", out=tmp_path / "run", **options)
    before = evaluated(short.run)
    longer = resume(short.run.path, Silent(), {"evaluations": 44})
    whole = search(small_space, "digits", out=tmp_path / "whole", **options | {"evaluations": 44})
    assert len(before) == 20 and evaluated(longer.run)[:20] == before
    assert evaluated(longer.run) == evaluated(whole.run) and len(evaluated(whole.run)) == 44
    assert found(longer) == found(whole)
    assert resume(short.run.path, Silent(), {}).front == longer.front  # by the new request
    assert all(claim["holds"] for claim in check_claims(short.run.path))


def test_another_budget_uses_what_was_evaluated_and_nothing_is_over_it(
    small_space: SearchSpace, finished: SearchResult, board: LatencyPredictor, tmp_path: Path
) -> None:
    supernet = finished.run.supernet.read_bytes()
    within_ms = float(np.median([row.predicted_ms * board.upper_ratio("median") for row in finished.front]))
    tight = resume(finished.run.path, Silent(), {"latency_budget": f"{within_ms}ms"})
    fresh = search(small_space, "digits", out=tmp_path / "fresh", **QUICK | {"latency_budget": f"{within_ms}ms"})
    assert tight.latency_budget_ms == pytest.approx(within_ms)
    assert tight.front and all(row.within_budget for row in tight.front)
    assert reaches(tight.front, fresh.front, fresh)
    kept = [row for row in finished.front if row.arch_id in {row.arch_id for row in tight.front}]
    assert reaches(tight.front, tuple(kept), fresh)
    assert finished.run.supernet.read_bytes() == supernet
    facts = finished.run.read()
    assert facts["request"]["goal"]["latency_budget"] == f"{within_ms}ms"
    assert facts["earlier_requests"][0]["request"]["goal"]["latency_budget"] is None
    back = resume(finished.run.path, Silent(), {"latency_budget": "100%"})
    assert back.latency_budget_ms is None and reaches(back.front, finished.front, back)


def test_what_a_surrogate_search_took_from_earlier_ones_stays_on_the_front(
    small_space: SearchSpace, board: LatencyPredictor, tmp_path: Path
) -> None:
    options = {name: value for name, value in QUICK.items() if name != "population"} | {"strategy": "surrogate"}
    first = search(small_space, "digits", out=tmp_path / "run", **options)
    within_ms = float(np.median([row.predicted_ms * board.upper_ratio("median") for row in first.front]))
    tight = resume(first.run.path, Silent(), {"latency_budget": f"{within_ms}ms", "evaluations": 8})
    kept = [row for row in first.front if row.predicted_ms * board.upper_ratio("median") <= within_ms]
    assert kept and reaches(tight.front, tuple(kept), tight)
    assert resume(first.run.path, Silent(), {}).front == tight.front
    longer = resume(first.run.path, Silent(), {"evaluations": 12})
    assert reaches(longer.front, tight.front, longer)


def test_a_budget_that_cannot_be_met_leaves_the_run_as_it_was(finished: SearchResult) -> None:
    before = finished.run.read()["request"]
    with pytest.raises(BudgetError, match="cannot be met"):
        resume(finished.run.path, Silent(), {"latency_budget": "1ns"})
    assert finished.run.read()["request"] == before and tuple(read_front(finished.run.front)) == finished.front


def test_other_objectives_and_limits_are_searched_for_with_the_weights_there_are(finished: SearchResult) -> None:
    most = sorted(row.params for row in finished.front)[-2]
    result = resume(finished.run.path, Silent(), {"objectives": "accuracy,params", "limit": (f"params<={most:.0f}",)})
    assert [objective.name for objective in read_goal(result.run).objectives] == ["accuracy", "params"]
    assert result.front and all(row.params <= most for row in result.front)
    with closing(RunDatabase(result.run.database)) as database:
        costs = database.costs()
    assert all("params" in costs[arch_id] for arch_id in evaluated(result.run))
    assert all(claim["holds"] for claim in check_claims(result.run.path))


def test_another_device_keeps_what_was_measured_on_the_first_under_its_name(
    small_space: SearchSpace, small_predictor: Path, board: LatencyPredictor, tmp_path: Path
) -> None:
    options = QUICK | {"device": ("cpu",), "predictor": (str(small_predictor),)}
    here = search(small_space, "digits", out=tmp_path / "run", **options)
    predictor, first = here.run.predictor.read_bytes(), {row.arch_id: row.measured_ms for row in here.front}
    there = resume(here.run.path, Silent(), {"device": ("board",)})
    assert all(row.measured_ms is None and row.latencies[0].device == "board" for row in there.front)
    assert here.run.predictor.read_bytes() == predictor and (here.run.path / "predictor-board.json").is_file()
    both = resume(here.run.path, Silent(), {"device": ("board", "cpu")})
    for row in both.front:
        assert [latency.device for latency in row.latencies] == ["board", "cpu"]
        assert row.latencies[1].measured_ms == first.get(row.arch_id, row.latencies[1].measured_ms)
    again = resume(here.run.path, Silent(), {"device": ("cpu",)})
    assert first.items() >= {row.arch_id: row.measured_ms for row in again.front if row.arch_id in first}.items()
    assert all(claim["holds"] for claim in check_claims(here.run.path))


def test_a_first_device_of_another_precision_has_models_of_its_own(
    finished: SearchResult, board: LatencyPredictor, tmp_path: Path
) -> None:
    chip = replace(board, conditions={**board.conditions, "precision": "int8", "hardware": "a chip"})
    path = predictor_path(tmp_path / "devices", "chip", "mobilenet")
    path.parent.mkdir(parents=True)
    chip.save(path)
    result = resume(finished.run.path, Silent(), {"device": ("chip+precision=int8",)})
    before = {row.arch_id: row.metrics["loss_test"] for row in finished.front}
    after = {row.arch_id: row.metrics["loss_test"] for row in result.front}
    both = before.keys() & after.keys()
    assert both and all(before[arch_id] != after[arch_id] for arch_id in both)
    assert all(claim["holds"] for claim in check_claims(result.run.path))


def test_final_training_is_done_anew_where_it_is_asked_for_otherwise(finished: SearchResult) -> None:
    path = finished.run.path
    trained = resume(path, Silent(), {"final": "finetune", "final_epochs": 1})
    assert all("loss_val_before" in row.metrics for row in trained.front)
    longer = resume(path, Silent(), {"final_epochs": 2})
    shared = {row.arch_id: row for row in trained.front}
    assert any(row.metrics != shared[row.arch_id].metrics for row in longer.front if row.arch_id in shared)
    assert found(resume(path, Silent(), {"final": "none"})) == found(finished)
    assert all(claim["holds"] for claim in check_claims(path))


def test_other_objectives_keep_what_final_training_has_made(
    small_space: SearchSpace, board: LatencyPredictor, tmp_path: Path
) -> None:
    options = QUICK | {"final": "finetune", "final_epochs": 1}
    run = search(small_space, "digits", out=tmp_path / "run", **options).run
    with closing(RunDatabase(run.database)) as database:
        trained = database.evaluations(FINAL)
    weights = {path: path.read_bytes() for path in run.final.glob("*.safetensors")}
    altered = resume(run.path, Silent(), {"objectives": "accuracy,latency"})
    fresh = search(small_space, "digits", out=tmp_path / "fresh", **options | {"objectives": "accuracy,latency"})
    with closing(RunDatabase(run.database)) as database:
        assert trained and database.evaluations(FINAL).items() >= trained.items()
    assert all(path.read_bytes() == content for path, content in weights.items())
    after = dict(found(altered))
    assert all(after[arch_id] == facts for arch_id, facts in found(fresh) if arch_id in after)


@pytest.mark.slow(reason="goes on with a copy of a run for every moment at which it may be killed")
@pytest.mark.parametrize("altered", ["budget", "device"])
def test_a_run_that_is_killed_at_any_write_of_its_facts_comes_to_the_same_result(
    finished: SearchResult,
    board: LatencyPredictor,
    small_predictor: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    altered: str,
) -> None:
    within_ms = float(np.median([row.predicted_ms * board.upper_ratio("median") for row in finished.front]))
    options: dict[str, Any] = {
        "budget": {"latency_budget": f"{within_ms}ms"},
        "device": {"device": ("board", "cpu"), "predictor": (str(small_predictor),)},
    }[altered]
    whole = branch(finished.run.path, tmp_path / "whole", Silent(), options).run
    written, write = 0, RunFolder.write

    def killed(run: RunFolder, facts: Any) -> None:
        nonlocal written
        written += 1
        if written > allowed:
            raise KeyboardInterrupt
        write(run, facts)

    copies, allowed = 0, 0
    while True:
        copy, written = copy_run(finished.run, tmp_path / f"copy{allowed}").path, 0
        monkeypatch.setattr(RunFolder, "write", killed)
        try:
            resume(copy, Silent(), options)
        except KeyboardInterrupt:
            copies += 1
        else:
            break
        finally:
            monkeypatch.undo()
        resume(copy, Silent(), options)
        assert evaluated(RunFolder(copy)) == evaluated(whole)
        assert RunFolder(copy).read()["goal"] == whole.read()["goal"]
        allowed += 1
    assert copies > 4


def test_the_request_before_comes_back(finished: SearchResult) -> None:
    path = finished.run.path
    with pytest.raises(RunError, match="had no other request before; leave out --back"):
        resume(path, Silent(), {}, back=True)
    resume(path, Silent(), {"max_params": 40_000.0, "objectives": "accuracy,params"})
    back = resume(path, Silent(), {}, back=True)
    assert reaches(back.front, finished.front, back) and back.run.read()["request"]["goal"]["max_params"] is None
    with pytest.raises(RunError, match="--back goes on as before, without other options; leave out --evaluations"):
        resume(path, Silent(), {"evaluations": 30}, back=True)


def test_files_that_a_run_was_given_are_not_needed_again(
    small_space: SearchSpace, small_predictor: Path, small_table: Path, board: LatencyPredictor, tmp_path: Path
) -> None:
    for name, source in (("predictor", small_predictor), ("table", small_table)):
        given = tmp_path / f"given{source.suffix}"
        given.write_bytes(source.read_bytes())
        options = QUICK | {"device": ("cpu",), name: (str(given),)}
        run = search(small_space, "digits", out=tmp_path / name, **options).run
        given.unlink()
        resume(run.path, Silent(), {})
        assert len(evaluated(resume(run.path, Silent(), {"evaluations": 24}).run)) == 24
        assert len(resume(run.path, Silent(), {"device": ("cpu", "board")}).front[0].latencies) == 2


def test_a_predictor_of_a_new_device_may_be_given_again_where_the_request_failed(
    finished: SearchResult, small_predictor: Path, tmp_path: Path
) -> None:
    options = {"device": ("board", "cpu"), "predictor": (str(small_predictor),)}
    with pytest.raises(BudgetError):
        resume(finished.run.path, Silent(), options | {"latency_budget": "cpu:1ns"})
    slower = LatencyPredictor.load(small_predictor)
    factors = tuple(replace(factor, values=3 * factor.values) for factor in slower.additive)
    replace(slower, additive=factors, booster=None).save(tmp_path / "other.json")
    result = resume(finished.run.path, Silent(), options | {"predictor": (str(tmp_path / "other.json"),)})
    other = LatencyPredictor.load(tmp_path / "other.json")
    assert LatencyPredictor.load(finished.run.predictor_of("latency", "cpu")).additive[0].values == pytest.approx(
        other.additive[0].values
    )
    assert all(row.latencies[1].device == "cpu" for row in result.front)


def test_a_budget_that_nothing_meets_when_measured_keeps_what_earlier_requests_measured(
    small_space: SearchSpace, small_predictor: Path, tmp_path: Path
) -> None:
    options = QUICK | {"device": ("cpu",), "predictor": (str(small_predictor),)}
    result = search(small_space, "digits", out=tmp_path / "run", **options)
    with closing(RunDatabase(result.run.database)) as database:
        before = database.measurements()
        last = database.last_measurement()
        database.add_measurements({("new", "cpu"): Latencies(1.0, 1.0, 1.0)})
        database.forget_measurements([*(arch_id for arch_id, _ in before), "new"], after=last)
        assert database.measurements() == before and before


def test_another_strategy_keeps_the_number_of_evaluations(finished: SearchResult) -> None:
    result = resume(finished.run.path, Silent(), {"strategy": "random"})
    assert result.run.read()["request"]["strategy"] == {"name": "random", "options": {"evaluations": 20}}


def test_a_copy_goes_on_and_the_run_stays_as_it_is(
    finished: SearchResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {
        path: path.read_bytes() for path in finished.run.path.rglob("*") if path.suffix in (".csv", ".onnx", ".json")
    }
    result = branch(finished.run.path, tmp_path / "more" / "copy", Silent(), {"evaluations": 30})
    assert result.run.path == tmp_path / "more" / "copy" and len(evaluated(result.run)) == 30
    assert {path: path.read_bytes() for path in before} == before
    assert [path.name for path in (tmp_path / "more").iterdir()] == ["copy"]
    again = branch(
        finished.run.path, tmp_path / "more" / "copy", Silent(), {"evaluations": 32}
    )  # goes on with the copy
    assert len(evaluated(again.run)) == 32
    for out, message in (
        (finished.run.path / "models" / "x", "is in the run that is to be copied; give another --out"),
        (finished.run.path, "holds a run already"),
    ):
        with pytest.raises(RunError, match=message):
            branch(finished.run.path, out, Silent(), {})
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert branch(finished.run.path, Path("."), Silent(), {}).front
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"epochs": 2}, RunError, "was started with --epochs 1, not 2; leave it out, or start anew"),
        ({"seed": 7}, RunError, "was started with --seed 0, not 7"),
        (
            {"threads": 2},
            RunError,
            r"was started with --threads 1, not 2; give it with the device, --device cpu\+threads=2",
        ),
        (
            {"strategy": "gradient", "scheme": "joint"},
            RunError,
            "was started with --strategy nsga2, not gradient",
        ),
        ({"sampler": "gdas"}, HwnasError, "--sampler only applies to --strategy gradient"),
        (
            {"networks": 90},
            RunError,
            "--networks 90: .* has predictors of all that it needs; leave it out, or start anew with --supernet .*run",
        ),
        ({"predictor": ("amd-epyc/mobilenet",)}, RunError, "has predictors of all that it needs"),
    ],
)
def test_what_weights_or_evaluations_depend_on_is_refused_and_so_is_what_has_no_effect(
    finished: SearchResult, options: dict[str, Any], error: type[HwnasError], message: str
) -> None:
    before = finished.run.json.read_bytes()
    with pytest.raises(error, match=message):
        resume(finished.run.path, Silent(), options)
    assert finished.run.json.read_bytes() == before


def test_a_gradient_search_goes_on_with_another_budget_and_keeps_its_device(
    small_space: SearchSpace, board: LatencyPredictor, tmp_path: Path
) -> None:
    bound_ms = float(np.quantile(board.upper(small_space.spread_rows(np.random.default_rng(0), 300), "median"), 0.7))
    options: dict[str, Any] = {"device": "board", "limit_images": 128, "epochs": 2, "final": "none"}
    options |= {"strategy": "gradient", "scheme": "joint", "warmup_epochs": 1}
    options |= {"latency_budget": f"{bound_ms}ms"}
    first = search(small_space, "digits", out=tmp_path / "run", **options)
    second = resume(first.run.path, Silent(), {"latency_budget": f"{0.8 * bound_ms}ms"})
    assert all(row.latencies[0].budget_ms == pytest.approx(0.8 * bound_ms) for row in second.front)
    assert len(list(first.run.searches.glob("*.json"))) == 2  # one per budget
    with pytest.raises(RunError, match="give --device board first"):
        resume(first.run.path, Silent(), {"device": ("cpu",)})
    with pytest.raises(RunError, match="was started with --budget-on median, not p90"):
        resume(first.run.path, Silent(), {"budget_on": "p90"})
    with pytest.raises(RunError, match="was started with --warmup-epochs 1, not 2"):
        resume(first.run.path, Silent(), {"warmup_epochs": 2})
    assert json.loads(first.run.json.read_text())["request"]["strategy"]["options"]["warmup_epochs"] == 1
