"""Laws of gradient search on frozen weights, with a real supernet.

Shapes: N architectures, C choices.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import hwnas
from hwnas.core.arrays import FloatArray, IntArray
from hwnas.core.space import SearchSpace
from hwnas.costs.cost import Limit
from hwnas.costs.sizes import SizeCost
from hwnas.data.dataset import load_data
from hwnas.errors import HwnasError, SpaceError
from hwnas.evaluate.split import SplitScore
from hwnas.strategies.gradient.frozen import learn
from hwnas.strategies.gradient.relaxation import Relaxation
from hwnas.strategies.gradient.samplers import sampler
from hwnas.strategies.gradient.strategy import GradientSearchStrategy
from hwnas.strategies.gradient.tuning import validation_loss
from hwnas.strategies.problem import Problem
from hwnas.strategies.workshop import Training, Workshop
from hwnas.supernet.network import Supernet
from hwnas.tasks.registry import load_task
from hwnas.train.recipes import BY_OPTIMIZER

QUICK: dict[str, Any] = {"steps": 3, "evaluations": 5}


@cache
def space() -> SearchSpace:
    return hwnas.space("scripts/examples/own_space.py:build", resolution=16, blocks=2)


@cache
def shared() -> Supernet:
    torch.manual_seed(0)
    return Supernet(space())


def training(**changes: Any) -> Training:
    made = Training(
        data=load_data("digits", space().input_shape, outputs=10, limit=128),
        task=load_task("classification"),
        recipe=replace(BY_OPTIMIZER["sgd"], epochs=2),
        device=torch.device("cpu"),
        new_supernet=lambda: Supernet(space()),
        supernet=shared,
    )
    return replace(made, **changes)


class Evaluated:
    """A problem over the parameters' number; its losses follow from the rows alone."""

    def __init__(self) -> None:
        self.probed: list[bytes] = []
        self.evaluated: list[bytes] = []

    def problem(self, share: float = 1.0, **changes: Any) -> Problem:
        params = SizeCost(space(), "params")
        ends = params.values(space().encode([space().smallest(), space().largest()]))
        return Problem(
            space=space(),
            objectives=("accuracy", "params"),
            metrics=load_task("classification").metrics,
            costs={"params": params},
            **{"evaluate": self.into(self.evaluated), "probe": self.into(self.probed)} | changes,
            limits=(Limit(params, float(ends[0] + share * (ends[1] - ends[0]))),),
            start_C=space().encode([space().smallest()])[0],
        )

    def into(self, rows: list[bytes]) -> Callable[[IntArray], Mapping[str, FloatArray]]:
        def evaluate(rows_NC: IntArray) -> Mapping[str, FloatArray]:
            rows.extend(row_C.tobytes() for row_C in rows_NC)
            accuracy_N = rows_NC.sum(axis=1) / 100
            return {"loss": 1 - accuracy_N, "accuracy": accuracy_N}

        return evaluate


def searched(folder: Path, share: float = 1.0, *, training_: Training | None = None, **options: Any) -> Evaluated:
    evaluated = Evaluated()
    folder.mkdir(exist_ok=True)
    workshop = Workshop(seed=0, folder=folder, training=training_ or training())
    GradientSearchStrategy(**QUICK | options).search(evaluated.problem(share), workshop)
    return evaluated


@pytest.mark.parametrize("selector", ["factors", "magnitude", "evolution", "perturbation"])
def test_one_network_within_the_limits_is_evaluated_and_the_weights_stay(tmp_path: Path, selector: str) -> None:
    before = {name: tensor.clone() for name, tensor in shared().state_dict().items()}
    evaluated = searched(tmp_path, 0.5, selector=selector)
    assert len(evaluated.evaluated) == 1
    rows_NC = np.array([np.frombuffer(row, dtype=np.int64) for row in evaluated.probed + evaluated.evaluated])
    assert (evaluated.problem(0.5).violation(rows_NC) <= 0).all()
    assert all(torch.equal(tensor, before[name]) for name, tensor in shared().state_dict().items())


def test_another_budget_learns_nothing_again_and_a_search_that_is_run_again_does_the_same(tmp_path: Path) -> None:
    first = searched(tmp_path / "a", 0.5)
    (path,) = (tmp_path / "a").iterdir()
    written = path.stat().st_mtime_ns
    searched(tmp_path / "a", 0.8)
    again = searched(tmp_path / "a", 0.5)
    assert [path] == list((tmp_path / "a").iterdir()) and path.stat().st_mtime_ns == written
    elsewhere = searched(tmp_path / "b", 0.5)
    assert first.probed == again.probed == elsewhere.probed and first.evaluated == elsewhere.evaluated


def test_other_steps_or_samplers_are_learnt_apart(tmp_path: Path) -> None:
    for options in ({}, {"steps": 4}, {"sampler": "gdas"}):
        searched(tmp_path, **options)
    assert len(list(tmp_path.iterdir())) == 3


def test_networks_are_compared_by_the_first_metric_among_the_objectives(tmp_path: Path) -> None:
    evaluated = searched(tmp_path, evaluations=30, selector="evolution")
    sums = {row: np.frombuffer(row, dtype=np.int64).sum() for row in evaluated.probed}
    assert sums[evaluated.evaluated[0]] == max(sums.values())


def test_without_a_probe_no_network_is_evaluated_twice(tmp_path: Path) -> None:
    evaluated = Evaluated()
    workshop = Workshop(seed=0, folder=tmp_path, training=training())
    GradientSearchStrategy(**QUICK, selector="factors").search(evaluated.problem(probe=None), workshop)
    assert len(evaluated.evaluated) == len(set(evaluated.evaluated)) == 5


def test_uniform_learns_nothing_and_evolution_follows(tmp_path: Path) -> None:
    evaluated = Evaluated()
    workshop = Workshop(seed=0, training=training())  # no folder is needed
    GradientSearchStrategy(sampler="uniform", evaluations=5).search(evaluated.problem(), workshop)
    assert len(evaluated.probed) == 5 and evaluated.evaluated[0] in evaluated.probed


def test_the_loss_of_the_mixture_falls_and_the_weights_stay(tmp_path: Path) -> None:
    supernet, made = Supernet(space()), training()
    relaxation = Relaxation(space(), sampler("darts"), torch.Generator().manual_seed(0))
    before = [weight.clone() for weight in supernet.parameters()]

    def loss() -> float:
        known = {name: p_K.detach() for name, p_K in relaxation.probabilities().items()}
        return validation_loss(supernet, SplitScore(made.data, made.task, made.device), known)

    first = loss()
    learn(supernet, relaxation, made, 30, Workshop(seed=0, training=made))
    assert loss() < first and relaxation.entropy() < 1
    assert all(torch.equal(*pair) for pair in zip(supernet.parameters(), before, strict=True))


def test_a_workshop_without_a_trained_supernet_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(HwnasError, match="give its workshop a Training with one"):
        searched(tmp_path, training_=training(supernet=None))


def test_a_space_whose_operators_do_not_mix_is_searched_without_probabilities_unless_they_were_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise SpaceError("cannot be mixed")

    monkeypatch.setattr("hwnas.strategies.gradient.frozen.require_mixtures", refuse)
    assert len(searched(tmp_path).probed) == 5
    assert not list(tmp_path.iterdir())
    for options in ({"sampler": "darts"}, {"selector": "magnitude"}):
        with pytest.raises(SpaceError, match="cannot be mixed"):
            searched(tmp_path, **options)
