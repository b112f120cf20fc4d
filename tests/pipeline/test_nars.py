"""Searches of architectures and training recipes together, from the request to what is handed out."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest

from hwnas.core.reporter import Silent
from hwnas.core.space import SearchSpace
from hwnas.errors import RunError, SpaceError
from hwnas.pipeline.claims import check_claims
from hwnas.pipeline.request import search_request
from hwnas.pipeline.search import resume, search
from hwnas.pipeline.train import train
from hwnas.predict.predictor import LatencyPredictor
from hwnas.runs.database import RunDatabase

Item = TypeVar("Item")

QUICK: dict[str, Any] = {
    "limit_images": 128,
    "epochs": 1,
    "final": "none",
    "strategy": "nars",
    "vary": ("rate=0.3,1", "optimizer=sgd,adamw"),
    "evaluations": 10,
    "per_round": 4,
    "predictions": 40,
}


class Stops:
    """A reporter under which a search is interrupted after seven evaluations."""

    def track(self, items: Sequence[Item], what: str) -> Iterable[Item]:
        for number, item in enumerate(items):
            if number == 7 and what == "evaluating architectures":
                raise KeyboardInterrupt
            yield item

    def note(self, text: str) -> None:
        return None


def evaluations(run: Path) -> list[tuple[str, tuple[str, ...], dict[str, float]]]:
    database = RunDatabase.existing(run / "run.sqlite")
    try:
        found = database.evaluations("search")
        return [(key, evaluation.stages, dict(evaluation.metrics)) for key, evaluation in found.items()]
    finally:
        database.close()


def test_recipes_are_searched_with_the_architecture_and_an_interrupted_search_goes_on(
    small_space: SearchSpace, board: LatencyPredictor, tmp_path: Path
) -> None:
    options = QUICK | {"device": ("board",)}  # what is measured here differs between runs
    whole = search(small_space, "digits", out=tmp_path / "whole", **options)
    with pytest.raises(KeyboardInterrupt):
        search(small_space, "digits", out=tmp_path / "run", reporter=Stops(), **options)
    assert 0 < len(evaluations(tmp_path / "run")) < 10
    again = resume(tmp_path / "run", Silent(), {})
    assert evaluations(tmp_path / "run") == evaluations(tmp_path / "whole")
    assert [row.arch_id for row in again.front] == [row.arch_id for row in whole.front]
    assert all(again.run.weights(row.arch_id).exists() for row in again.front)
    assert {stages for _, stages, _ in evaluations(tmp_path / "whole")} == {("alone", "recalibrate")}


@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        (
            {"strategy": "nsga2"},
            SpaceError,
            "--strategy nsga2 does not train every network by itself; give --strategy nars",
        ),
        ({"weights_from": "supernet"}, SpaceError, "recipe.rate is a choice of how a network is trained"),
        ({"vary": ("optimizer=sgd,lion",)}, SpaceError, "recipe.optimizer cannot be 'lion': unknown optimizer"),
        ({"vary": ("epochs=0,2",)}, SpaceError, "recipe.epochs cannot be 0: cannot train for 0 epochs"),
    ],
)
def test_recipes_that_would_have_no_effect_or_cannot_be_are_refused_before_a_folder_is_made(
    small_space: SearchSpace, tmp_path: Path, changed: dict[str, Any], error: type[Exception], words: str
) -> None:
    options = QUICK | changed
    if options["strategy"] != "nars":
        options = {name: value for name, value in options.items() if name not in ("per_round", "predictions")}
    with pytest.raises(error, match=words):
        search(small_space, "digits", out=tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_a_supernet_has_one_recipe(tmp_path: Path) -> None:
    request = search_request({"space": "conv_macro", "vary": "rate=0.3,1", "data": "digits"})
    with pytest.raises(SpaceError, match="a supernet has one recipe; give a space without"):
        train(request, request.space.load(), tmp_path / "run", Silent())
    assert not (tmp_path / "run").exists()


def test_networks_that_diverge_in_final_training_keep_the_weights_of_the_search(
    small_space: SearchSpace, board: LatencyPredictor, tmp_path: Path
) -> None:
    diverging = {"vary": ("rate=1e30,2e30",), "final": "finetune", "final_epochs": 1, "evaluations": 5}
    result = search(small_space, "digits", out=tmp_path / "run", **QUICK | {"device": ("board",)} | diverging)
    assert result.front and all(row.stages == "alone > recalibrate" for row in result.front)
    assert not list(result.run.final.glob("*.safetensors"))


def test_a_finished_search_goes_on_with_more_evaluations_as_if_they_had_been_asked_for(
    small_space: SearchSpace, board: LatencyPredictor, tmp_path: Path
) -> None:
    options = QUICK | {"device": ("board",), "evaluations": 6}
    short = search(small_space, "digits", out=tmp_path / "run", **options)
    before = evaluations(tmp_path / "run")
    longer = resume(short.run.path, Silent(), {"evaluations": 18})
    whole = search(small_space, "digits", out=tmp_path / "whole", **options | {"evaluations": 18})
    assert len(before) == 6 and evaluations(tmp_path / "run")[:6] == before
    assert evaluations(tmp_path / "run") == evaluations(tmp_path / "whole") and len(evaluations(tmp_path / "run")) == 18
    assert [row.arch_id for row in longer.front] == [row.arch_id for row in whole.front]
    assert all(longer.run.weights(row.arch_id).exists() for row in longer.front)
    assert all(claim["holds"] for claim in check_claims(short.run.path))
    with pytest.raises(RunError, match="was started with --per-round 4, not 5"):
        resume(short.run.path, Silent(), {"per_round": 5})
