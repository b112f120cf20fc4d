"""The strategy `gradient`, from budgets to models within them."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch

from hwnas.core.factors import Factor
from hwnas.core.reporter import Silent
from hwnas.core.space import SearchSpace
from hwnas.errors import BudgetError, HwnasError
from hwnas.pipeline.checked import checked_request
from hwnas.pipeline.claims import check_claims
from hwnas.pipeline.request import reopen
from hwnas.pipeline.search import SearchResult, resume, search
from hwnas.pipeline.weights import RunWeights
from hwnas.pipeline.winners import export
from hwnas.predict.predictor import LatencyPredictor
from hwnas.runs.database import RunDatabase
from hwnas.runs.folder import RunFolder
from hwnas.testing.notes import Notes

QUICK: dict[str, Any] = {
    "strategy": "gradient",
    "scheme": "joint",
    "limit_images": 128,
    "warmup_epochs": 1,
    "epochs": 2,
    "final_epochs": 1,
}
UNTRAINED: dict[str, Any] = {"final": "none"}


@pytest.fixture(scope="module")
def space(small_space: SearchSpace) -> SearchSpace:
    return small_space


@pytest.fixture(scope="module")
def predictor(small_predictor: Path) -> Path:
    return small_predictor


def searched(space: SearchSpace, out: Path, predictor: Path, **changes: Any) -> SearchResult:
    options = QUICK | {"predictor": (str(predictor),), "latency_budget": "1s"} | changes
    return search(space, "digits", out=out, **options)


@pytest.fixture(scope="module")
def finished(space: SearchSpace, predictor: Path, tmp_path_factory: pytest.TempPathFactory) -> SearchResult:
    return searched(space, tmp_path_factory.mktemp("runs") / "run", predictor, latency_budget="2s,1s")


def test_every_budget_has_a_network_within_it_and_the_front_is_of_these(finished: SearchResult) -> None:
    facts = finished.run.read()
    assert facts["latency_budgets_ms"] == [1000.0, 2000.0] and finished.latency_budget_ms == 2000.0
    database = RunDatabase.existing(finished.run.database)
    derived = database.evaluations("search")
    database.close()
    assert 1 <= len(derived) <= 2
    assert {row.arch_id for row in finished.front} <= set(derived)
    assert all(row.within_budget and row.measured_median_ms <= row.budget_ms for row in finished.front)


def test_a_search_leaves_its_epochs_a_picture_of_them_and_the_weights_of_what_it_found(finished: SearchResult) -> None:
    curves = [json.loads(path.read_text()) for path in finished.run.searches.glob("*.json")]
    assert sorted(curve["label"] for curve in curves) == ["latency <= 1000 ms", "latency <= 2000 ms"]
    assert all([epoch["epoch"] for epoch in curve["epochs"]] == [2, 3] for curve in curves)
    assert (finished.run.path / "search.png").stat().st_size > 10_000
    for row in finished.front:
        assert finished.run.weights(row.arch_id).exists()


def test_a_model_computes_what_its_trained_network_computes(finished: SearchResult, space: SearchSpace) -> None:
    run, request, _ = reopen(finished.run.path, {})
    weights = RunWeights(run, checked_request(request, space, run), Silent())
    database = RunDatabase.existing(run.database)
    evaluations = database.evaluations("search") | database.evaluations("final")
    database.close()
    x = torch.randn(1, *space.input_shape, generator=torch.Generator().manual_seed(0))
    for row in finished.front:
        session = onnxruntime.InferenceSession(finished.run.path / row.onnx)
        (logits,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        with torch.no_grad():
            expected = weights.networks(evaluations[row.arch_id]).network(evaluations[row.arch_id].arch)(x)
        assert logits == pytest.approx(expected.numpy(), abs=1e-4)


def test_every_claim_of_a_run_holds_when_it_is_checked_from_its_files(finished: SearchResult) -> None:
    assert all(claim["holds"] for claim in check_claims(finished.run.path))


def test_a_finished_run_that_is_resumed_derives_and_measures_nothing_again(finished: SearchResult) -> None:
    models = {row.onnx: (finished.run.path / row.onnx).stat().st_mtime_ns for row in finished.front}
    again = resume(finished.run.path, Silent(), {})
    assert again.front == finished.front
    assert models.keys() == {row.onnx for row in again.front}


def optimistic(path: Path, out: Path, space: SearchSpace) -> tuple[Path, float]:
    """A predictor that says a tenth of what it should, and a budget that the fastest networks alone are within."""
    honest = LatencyPredictor.load(path)
    factors = tuple(Factor(each.name, each.scope, each.values / 10) for each in honest.additive)
    replace(honest, additive=factors, booster=None).save(out)
    largest_ms = float(honest.predict_ms(space.encode([space.largest()]))[0])
    return out, largest_ms


def test_what_is_over_budget_when_measured_is_derived_again_under_a_tighter_bound(
    space: SearchSpace, predictor: Path, tmp_path: Path
) -> None:
    """Or, on a machine that has become too slow for any, given up after as many attempts; each is recorded."""
    path, largest_ms = optimistic(predictor, tmp_path / "p.json", space)
    budget_ms, notes = 0.6 * largest_ms, Notes()
    options = QUICK | UNTRAINED | {"predictor": (str(path),), "latency_budget": f"{budget_ms}ms", "penalty": "none"}
    within = True
    try:
        search(space, "digits", out=tmp_path / "run", reporter=notes, **options)
    except BudgetError:
        within = False
    run = RunFolder(tmp_path / "run")
    tried = [attempt for attempts in run.read().get("tightened", {}).values() for attempt in attempts]
    for before, after in pairwise(tried):
        assert after["bounds_ms"]["latency"] < before["bounds_ms"]["latency"]
    for attempt in tried:
        assert attempt["missed"] and all(miss["judged_ms"] > budget_ms for miss in attempt["missed"])
    assert sum("searching again" in text for text in notes.texts) == len(tried)
    assert within or tried
    if within and tried:  # from its own weights, although it is not on the front
        assert export(run.path, tried[0]["missed"][0]["arch_id"], tmp_path / "first.onnx").exists()


@pytest.mark.parametrize("final", [UNTRAINED, {"final": "scratch"}], ids=["none", "scratch"])
def test_a_derived_network_can_keep_the_supernets_weights_or_begin_afresh(
    space: SearchSpace, predictor: Path, tmp_path: Path, final: dict[str, Any]
) -> None:
    result = searched(space, tmp_path / "run", predictor, **final, sampler="gdas")
    assert len(result.front) == 1
    assert not list(result.run.searches.glob("*-*.pt"))


@pytest.mark.parametrize("sampler", ["uniform", "gates"])
def test_samplers_that_draw_single_options_come_to_a_network_too(
    space: SearchSpace, predictor: Path, tmp_path: Path, sampler: str
) -> None:
    result = searched(space, tmp_path / "run", predictor, sampler=sampler, max_params=20_000, evaluations=5)
    assert [row.params <= 20_000 for row in result.front] == [True]


# ---- frozen weights, the default


FROZEN: dict[str, Any] = {"scheme": "frozen", "warmup_epochs": 5, "steps": 3, "evaluations": 6, "final": "none"}


class Stopping(Notes):
    """Interrupts a search after so many evaluations."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.after = after

    def track(self, items: Sequence[Any], what: str) -> Iterable[Any]:
        for number, item in enumerate(items):
            if what == "evaluating architectures" and number == self.after:
                raise KeyboardInterrupt
            yield item


def evaluated(run: RunFolder) -> dict[str, float]:
    database = RunDatabase.existing(run.database)
    try:
        return {key: one.metrics["loss"] for key, one in database.evaluations("search").items()}
    finally:
        database.close()


def test_frozen_weights_give_one_network_per_budget_from_one_supernet(
    space: SearchSpace, predictor: Path, tmp_path: Path
) -> None:
    result = searched(space, tmp_path / "run", predictor, **FROZEN, latency_budget="2s,1s")
    run = result.run
    assert 1 <= len(result.front) <= 2 and all(row.within_budget for row in result.front)
    known = evaluated(run)
    assert {row.arch_id for row in result.front} <= set(known) and 6 <= len(known) <= 12
    assert min(known.values()) <= result.front[0].loss_val <= 1.02 * min(known.values())
    assert run.supernet.exists() and len(list(run.searches.iterdir())) == 1  # the probabilities; no weights
    assert not (run.path / "search.png").exists()
    assert all(claim["holds"] for claim in check_claims(run.path))


def test_a_frozen_search_that_is_interrupted_goes_on_to_what_one_that_was_not_comes_to(
    space: SearchSpace, predictor: Path, tmp_path: Path
) -> None:
    whole = searched(space, tmp_path / "whole", predictor, **FROZEN)
    with pytest.raises(KeyboardInterrupt):
        searched(space, tmp_path / "cut", predictor, **FROZEN, reporter=Stopping(3))
    assert len(evaluated(RunFolder(tmp_path / "cut"))) < len(evaluated(whole.run))
    resumed = resume(tmp_path / "cut", Silent(), {})
    assert evaluated(resumed.run) == evaluated(whole.run)
    assert {row.arch_id for row in resumed.front + whole.front} <= set(evaluated(whole.run))


def test_nsga2_goes_on_as_a_frozen_gradient_search_with_the_same_supernet(
    space: SearchSpace, predictor: Path, tmp_path: Path
) -> None:
    options = {"limit_images": 128, "epochs": 2, "evaluations": 5, "predictor": (str(predictor),), "final": "none"}
    first = search(space, "digits", out=tmp_path / "run", latency_budget="1s", **options)
    trained = first.run.supernet.stat().st_mtime_ns
    again = resume(first.run.path, Silent(), {"strategy": "gradient", "steps": 2, "evaluations": 5})
    assert again.front and first.run.supernet.stat().st_mtime_ns == trained


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"penalty": "lagrange"}, r"unknown penalty 'lagrange'; known: budget, fbnet"),
        ({"selector": "best"}, r"unknown selector 'best'; known: evolution, factors, magnitude"),
    ],
)
def test_names_that_do_not_exist_and_what_does_not_go_together_are_refused_before_a_folder_is_made(
    space: SearchSpace, predictor: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(HwnasError, match=message):
        searched(space, tmp_path / "run", predictor, **changes)
    assert not (tmp_path / "run").exists()


def test_a_budget_that_cannot_be_met_is_refused_before_training(
    space: SearchSpace, predictor: Path, tmp_path: Path
) -> None:
    with pytest.raises(BudgetError, match=r"the budget of 1e-06 ms cannot be met"):
        searched(space, tmp_path / "run", predictor, latency_budget="1s,1ns")
    assert not (tmp_path / "run/searches").exists()
