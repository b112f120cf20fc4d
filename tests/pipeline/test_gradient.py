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

import hwnas
from hwnas.core.factors import Factor
from hwnas.core.reporter import Silent
from hwnas.core.space import SearchSpace
from hwnas.data.dataset import load_data
from hwnas.errors import BudgetError, HwnasError
from hwnas.pipeline.config import SearchConfig
from hwnas.pipeline.predict import fit_table
from hwnas.pipeline.search import SearchResult, resume, search
from hwnas.pipeline.winners import _networks, export
from hwnas.predict.predictor import LatencyPredictor
from hwnas.profiler.device import conditions_here
from hwnas.profiler.profile import profile
from hwnas.runs.folder import RunFolder

QUICK: dict[str, Any] = {
    "strategy": "gradient",
    "limit_images": 128,
    "warmup_epochs": 1,
    "epochs": 2,
    "final_epochs": 1,
}
UNTRAINED: dict[str, Any] = {"final": "none", "final_epochs": SearchConfig().final_epochs}


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return hwnas.space("mobilenet", resolution=16, width=0.25)


@pytest.fixture(scope="module")
def predictor(space: SearchSpace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("predictor")
    profile(space, conditions_here("cpu"), folder / "table.jsonl", networks=10)
    fit_table(folder / "table.jsonl", space, allow_unconverged=True).save(folder / "predictor.json")
    return folder / "predictor.json"


def searched(space: SearchSpace, out: Path, predictor: Path, **changes: Any) -> SearchResult:
    config = SearchConfig(**QUICK | {"predictor": str(predictor), "latency_budget": "1s"} | changes)
    return search(space, "digits", out=out, config=config)


@pytest.fixture(scope="module")
def finished(space: SearchSpace, predictor: Path, tmp_path_factory: pytest.TempPathFactory) -> SearchResult:
    return searched(space, tmp_path_factory.mktemp("runs") / "run", predictor, latency_budget="2s,1s")


def test_every_budget_has_a_network_within_it_and_the_front_is_of_these(finished: SearchResult) -> None:
    facts = finished.run.read()
    assert facts["latency_budgets_ms"] == [2000.0, 1000.0] and finished.latency_budget_ms == 2000.0
    for budget_ms, tried in zip((1000.0, 2000.0), facts["derived"].values(), strict=True):
        assert tried[-1]["measured_ms"] <= budget_ms
    chosen = {tried[-1]["arch_id"] for tried in facts["derived"].values()}
    assert {row.arch_id for row in finished.front} <= chosen
    assert all(row.within_budget and row.measured_median_ms <= row.budget_ms for row in finished.front)


def test_a_search_leaves_its_epochs_a_picture_of_them_and_the_weights_of_what_it_found(finished: SearchResult) -> None:
    for name in ("1000ms", "2000ms"):
        facts = json.loads((finished.run.searches / f"{name}.json").read_text())
        assert [epoch["epoch"] for epoch in facts["epochs"]] == [2, 3]
    assert (finished.run.path / "search.png").stat().st_size > 10_000
    for row in finished.front:
        assert finished.run.weights(row.arch_id).exists()


def test_a_model_computes_what_its_trained_network_computes(
    finished: SearchResult, space: SearchSpace, predictor: Path
) -> None:
    networks = _networks(finished.run, SearchConfig(**QUICK), space, load_data("digits", space.input_shape, limit=128))
    x = torch.randn(1, *space.input_shape, generator=torch.Generator().manual_seed(0))
    for row in finished.front:
        session = onnxruntime.InferenceSession(finished.run.path / row.onnx)
        (logits,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        with torch.no_grad():
            expected = networks.extract(space.arch(json.loads(row.arch)))(x)
        assert logits == pytest.approx(expected.numpy(), abs=1e-4)


def test_a_finished_run_that_is_resumed_derives_and_measures_nothing_again(finished: SearchResult) -> None:
    models = {row.onnx: (finished.run.path / row.onnx).stat().st_mtime_ns for row in finished.front}
    again = resume(finished.run.path, Silent(), {})
    assert again.front == finished.front
    assert models.keys() == {row.onnx for row in again.front}


class Notes:
    def __init__(self) -> None:
        self.texts: list[str] = []

    def track(self, items: Sequence[Any], what: str) -> Iterable[Any]:
        return items

    def note(self, text: str) -> None:
        self.texts.append(text)


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
    given = QUICK | UNTRAINED | {"predictor": str(path), "latency_budget": f"{budget_ms}ms", "penalty": "none"}
    config = SearchConfig(**given)
    within = True
    try:
        search(space, "digits", out=tmp_path / "run", config=config, reporter=notes)
    except BudgetError:
        within = False
    run = RunFolder(tmp_path / "run")
    (tried,) = run.read()["derived"].values()
    for before, after in pairwise(tried):
        assert before["measured_ms"] > budget_ms
        assert after["upper_ms"] <= before["upper_ms"] * budget_ms / before["measured_ms"] * (1 + 1e-9)
    assert (tried[-1]["measured_ms"] <= budget_ms) == within
    assert sum("deriving again" in text for text in notes.texts) == len(tried) - within
    if within:  # from its own weights, where it is not the one of the front
        assert export(run.path, tried[0]["arch_id"], tmp_path / "first.onnx").exists()


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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sampler": "drna"}, r"unknown sampler 'drna'; known: darts, drnas, gates, gdas, sparsemax, uniform"),
        ({"penalty": "lagrange"}, r"unknown penalty 'lagrange'; known: budget, fbnet"),
        ({"sampler": "uniform", "progressive": True}, r"--sampler uniform trains no probabilities"),
        ({"partial_channels": 2, "epochs": 1}, r"--partial-channels needs 2 --epochs"),
        ({"penalty": "none", "penalty_weight": 2.0}, r"--penalty none has no weight"),
        ({"final": "none", "final_epochs": 3}, r"--final none trains nothing further"),
        ({"selector": "best"}, r"unknown selector 'best'; known: evolution, magnitude"),
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


def test_several_budgets_and_options_of_gradient_search_need_that_strategy() -> None:
    with pytest.raises(HwnasError, match=r"--strategy nsga2 takes one --latency-budget, not 1ms,2ms"):
        SearchConfig(latency_budget="1ms,2ms")
    with pytest.raises(HwnasError, match=r"--sampler is of --strategy gradient, not of nsga2"):
        SearchConfig(sampler="gdas")
    with pytest.raises(HwnasError, match=r"--penalty-weight must be positive, not -1"):
        SearchConfig(strategy="gradient", penalty_weight=-1)
