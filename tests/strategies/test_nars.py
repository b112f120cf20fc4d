"""Laws of NARS: its suite as a strategy that trains networks alone, its predictor, its draws and its rounds."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau

import hwnas
from hwnas.core.space import SearchSpace
from hwnas.data.dataset import load_data
from hwnas.spaces import with_recipe
from hwnas.strategies.alone import alone
from hwnas.strategies.learned import one_hot
from hwnas.strategies.nars import Nars, QuasiRandom
from hwnas.strategies.pretrained import Pretrained
from hwnas.strategies.problem import Strategy
from hwnas.strategies.workshop import Training, Workshop
from hwnas.supernet.network import Supernet
from hwnas.tasks.registry import load_task
from hwnas.testing.notes import Notes
from hwnas.testing.problems import choices_of, steps
from hwnas.testing.strategies import WeightTrainingSuite
from hwnas.train.recipes import BY_OPTIMIZER


@cache
def space() -> SearchSpace:
    plain = hwnas.space("scripts/examples/own_space.py:build", resolution=16, blocks=2)
    return with_recipe(plain, rate=(0.3, 1.0), augmentation=(True, False), epochs=(1, 2))


@cache
def training() -> Training:
    return Training(
        data=load_data("digits", space().input_shape, outputs=10, limit=128),
        task=load_task("classification"),
        recipe=replace(BY_OPTIMIZER["sgd"], epochs=1),
        device=torch.device("cpu"),
        new_supernet=lambda: Supernet(space()),
    )


class TestAlone(WeightTrainingSuite):
    """The suite on networks that are trained one by one; test_conformance_strategies.py has the other one."""

    def strategy(self) -> Strategy:
        return Nars(evaluations=6, per_round=4, predictions=20)

    def training(self) -> Training:
        return training()


def test_every_choice_of_the_recipe_changes_the_weights(tmp_path: Path) -> None:
    evaluator = alone(space(), Workshop(seed=0, folder=tmp_path, training=training()))
    arch = space().decode(np.zeros(len(space().choices), dtype=np.int64))
    of_recipe = {"recipe.rate": 1.0, "recipe.augmentation": False, "recipe.epochs": 2}
    archs = [arch, *(space().arch({**arch, name: option}) for name, option in of_recipe.items())]
    weights = [evaluator.networks.network(each).state_dict() for each in archs]
    name = next(name for name, tensor in weights[0].items() if tensor.dim() > 1)
    different = {weight[name].numpy().tobytes() for weight in weights}
    assert len({each.id for each in archs}) == len(different) == 4


def test_a_recipe_by_which_a_network_diverges_does_not_end_the_search(tmp_path: Path) -> None:
    wild = with_recipe(hwnas.space("scripts/examples/own_space.py:build", resolution=16, blocks=2), rate=(1.0, 1e30))
    reporter = Notes()
    workshop = Workshop(seed=0, folder=tmp_path, training=training(), reporter=reporter)
    archs = [wild.decode([0, 0, option]) for option in (0, 1)]
    evaluator = alone(wild, workshop)
    losses = [metrics["loss"] for metrics in evaluator.evaluate(archs)]
    evaluator.networks.network(archs[1])  # once more, for its weights
    assert np.isfinite(losses).all()
    assert reporter.texts == [f"network {archs[1].id} diverges by its recipe, and is judged untrained"]


def test_a_network_whose_last_step_diverges_is_judged_untrained(tmp_path: Path) -> None:
    """The loss of its one step is a number, that of the validation split is not."""
    wild = with_recipe(hwnas.space("scripts/examples/own_space.py:build", resolution=16, blocks=2), rate=(1.0, 1e30))
    one_step = replace(training(), recipe=replace(training().recipe, epochs=1, batch_size=10_000, warmup_epochs=0))
    evaluator = alone(wild, Workshop(seed=0, folder=tmp_path, training=one_step))
    arch = wild.decode([0, 0, 1])
    (metrics,) = evaluator.evaluate([arch])
    assert evaluator.diverged == {arch.id} and np.isfinite(metrics["loss"])
    assert all(weight.isfinite().all() for weight in evaluator.networks.network(arch).state_dict().values())


def ranked(predictor: Pretrained, over: SearchSpace, metric_T: np.ndarray, count: int) -> float:
    """Returns Kendall's tau on the rows that are not among the first `count`."""
    features_TF = one_hot(over, rows(over))
    predict = predictor(features_TF[:count], metric_T[:count], 0)
    return kendalltau(predict(features_TF[count:]), metric_T[count:]).statistic


@cache
def rows(over: SearchSpace) -> np.ndarray:
    return over.sample_rows(np.random.default_rng(0), 500)


def test_a_pretrained_predictor_needs_few_samples_of_what_follows_the_size() -> None:
    size_T = np.log(space().costs("params", rows(space())))
    taus = [
        ranked(each, space(), size_T, 10)
        for each in (Pretrained.of(space(), rows(space()), 0), Pretrained.untrained(space(), 0))
    ]
    assert taus[0] > 0.8 and taus[0] > taus[1]


def test_the_recipe_is_predicted_too_though_no_statistic_has_it() -> None:
    column = space().columns["recipe.epochs"]
    size_T = np.log(space().costs("params", rows(space())))
    metric_T = size_T / np.ptp(size_T) + 3 * rows(space())[:, column]
    assert ranked(Pretrained.of(space(), rows(space()), 0), space(), metric_T, 40) > 0.8


def test_a_space_without_costs_has_an_encoder_that_is_not_pretrained() -> None:
    bare = choices_of([4] * 6)
    assert not Pretrained.of(bare, bare.sample_rows(np.random.default_rng(0), 50), 0).is_pretrained


@pytest.mark.parametrize("values", [[2.0], [1.0, 1.0, 1.0], [1e-5, 2e-5], [1e6, 3e6, 2e6]])
def test_few_and_equal_targets_of_any_unit_are_no_error(values: list[float]) -> None:
    bare = choices_of([4] * 6)
    features_NF = one_hot(bare, bare.sample_rows(np.random.default_rng(0), len(values)))
    predicted_N = Pretrained.untrained(bare, 0)(features_NF, np.array(values), 0)(features_NF)
    assert np.abs(predicted_N - values).max() <= 0.5 * max(values)


def test_the_random_state_of_torch_is_neither_used_nor_changed() -> None:
    bare, state = choices_of([4] * 6), torch.random.get_rng_state()
    features_NF = one_hot(bare, bare.sample_rows(np.random.default_rng(0), 20))
    predicted = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.random.get_rng_state()
        predicted.append(Pretrained.untrained(bare, 0)(features_NF, np.arange(20.0), 0)(features_NF))
        assert torch.equal(torch.random.get_rng_state(), before)
    torch.random.set_rng_state(state)
    assert np.array_equal(*predicted)


def test_draws_cover_the_options_evenly() -> None:
    rows_NC = QuasiRandom(choices_of([4, 2]), 0).rows(64)
    _, counts = np.unique(rows_NC, axis=0, return_counts=True)
    assert len(counts) == 8 and (counts == 8).all()


@pytest.mark.parametrize("count", [1, 3, 40, 100])
def test_any_number_of_rows_is_drawn(count: int) -> None:
    draw = QuasiRandom(choices_of([3, 5]), 0)
    assert [len(draw.rows(count)) for _ in range(2)] == [count, count]


def test_later_rounds_are_better_than_the_first_and_bred_ones_best() -> None:
    recorder = steps(choices_of([4] * 12))
    Nars(evaluations=48, per_round=8, predictions=160, weights_from="supernet").search(
        recorder.problem(("loss",)), Workshop(seed=0)
    )
    loss_N = recorder.loss(np.array(recorder.asked))
    first, chosen, bred = np.median(loss_N[:8]), np.median(loss_N[8:32]), np.median(loss_N[32:])
    assert bred < chosen < first and loss_N[32:].min() < loss_N[:32].min()
