"""Laws of the one training step, of recipes and of weights on disk."""

import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import hwnas
from hwnas.core.space import SearchSpace
from hwnas.errors import RunError, TrainingError
from hwnas.spaces import load_space
from hwnas.supernet.network import Supernet
from hwnas.tasks.registry import load_task
from hwnas.train.recipes import BY_OPTIMIZER
from hwnas.train.step import set_rate, shuffled_batches, steps_of, student_loss, training_step, usual_optimizer
from hwnas.train.weights import load_supernet, save_supernet


def test_a_step_follows_the_sum_of_the_losses_and_returns_the_first() -> None:
    module = nn.Linear(1, 1, bias=False)
    nn.init.constant_(module.weight, 2.0)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    for _ in range(2):  # gradients of the step before do not count
        before = float(module.weight.detach())
        assert training_step(module, optimizer, (3 * module.weight.sum(), module.weight.sum()), 1e9) == pytest.approx(
            3 * before
        )
        assert float(module.weight.detach()) == pytest.approx(before - 0.1 * 4)


def test_a_step_is_at_most_as_long_as_the_clipped_gradient() -> None:
    module = nn.Linear(2, 1, bias=False)
    before = module.weight.detach().clone()
    training_step(module, torch.optim.SGD(module.parameters(), lr=1.0), [1e6 * module.weight.sum()], 0.5)
    assert float((module.weight - before).detach().norm()) == pytest.approx(0.5, rel=1e-5)


def test_a_step_asks_for_a_loss_when_the_graph_of_the_one_before_is_freed() -> None:
    """So many networks in one step take the memory of one."""
    module, kept = nn.Linear(4, 4), []

    class Marked(torch.autograd.Function):
        @staticmethod
        def forward(ctx, value: Tensor) -> Tensor:
            array = np.zeros(8)
            kept.append(weakref.ref(array))
            ctx.save_for_backward(torch.from_numpy(array))
            return value.clone()

        @staticmethod
        def backward(ctx, gradient: Tensor) -> Tensor:
            return gradient + ctx.saved_tensors[0].sum()

    def losses() -> Iterator[Tensor]:
        for _ in range(3):
            assert all(array() is None for array in kept)
            yield Marked.apply(module(torch.ones(1, 4)).sum())

    training_step(module, torch.optim.SGD(module.parameters(), lr=0.1), losses(), 1.0)
    assert len(kept) == 3


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_student_imitates_by_the_recipes_share(share: float) -> None:
    task, generator = load_task("classification"), torch.Generator().manual_seed(0)
    outputs, teacher = torch.randn(2, 6, 3, generator=generator)
    labels = torch.arange(6) % 3
    recipe = replace(BY_OPTIMIZER["sgd"], distillation=share)
    labelled = task.loss(outputs, labels, smoothing=recipe.label_smoothing)
    expected = (1 - share) * labelled + share * task.imitation(outputs, teacher)
    torch.testing.assert_close(student_loss(task, outputs, labels, task.imitation(outputs, teacher), recipe), expected)


# ---- recipes, rates and batches


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return hwnas.space("mobilenet", resolution=16, width=0.25)


def test_the_usual_optimizer_follows_the_batch_norms(space: SearchSpace) -> None:
    tokens = load_space(f"{Path(__file__).parent / 'token_space.py'}:build")
    assert usual_optimizer(Supernet(space)) == "sgd"
    assert usual_optimizer(Supernet(tokens)) == "adamw"


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"batch_size": 1}, {"learning_rate": 0.0}])
def test_a_recipe_that_cannot_train_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(TrainingError, match="cannot train for"):
        replace(BY_OPTIMIZER["sgd"], **wrong)


def test_the_rate_rises_to_the_recipes_and_falls_to_zero() -> None:
    recipe = replace(BY_OPTIMIZER["sgd"], epochs=8)
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0)
    rates = []
    for epoch in np.linspace(0, 8, 33):
        set_rate(optimizer, float(epoch), recipe)
        rates.append(optimizer.param_groups[0]["lr"])
    peak = int(np.argmax(rates))
    assert rates[peak] == recipe.learning_rate and rates[-1] == pytest.approx(0, abs=1e-12)
    assert all(np.diff(rates[: peak + 1]) > 0) and all(np.diff(rates[peak:]) < 0)


def test_a_constant_ending_is_the_cosine_until_it_falls_to_that_share() -> None:
    recipe = replace(BY_OPTIMIZER["sgd"], epochs=8)
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0)
    for epoch in np.linspace(0, 8, 33):
        set_rate(optimizer, float(epoch), recipe)
        cosine = optimizer.param_groups[0]["lr"]
        set_rate(optimizer, float(epoch), recipe, 0.05)
        warm = epoch < recipe.warmup_epochs
        assert optimizer.param_groups[0]["lr"] == (cosine if warm else max(cosine, 0.05 * recipe.learning_rate))
    assert optimizer.param_groups[0]["lr"] == 0.05 * recipe.learning_rate


@pytest.mark.parametrize("count", [7, 64, 65, 200])
def test_batches_have_one_size_and_no_example_twice(count: int) -> None:
    recipe = BY_OPTIMIZER["sgd"]
    batches = list(shuffled_batches(np.arange(count), recipe, np.random.default_rng(0)))
    assert len(batches) == steps_of(count, recipe)
    assert {len(batch) for batch in batches} == {min(count, recipe.batch_size)}
    examples = np.concatenate(batches)
    assert len(set(examples)) == len(examples)


# ---- weights on disk


def test_weights_survive_a_round_trip_and_no_other_space_takes_them(space: SearchSpace, tmp_path: Path) -> None:
    supernet, other = Supernet(space), Supernet(space)
    save_supernet(supernet, tmp_path / "s")
    load_supernet(other, tmp_path / "s")
    state = other.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in supernet.state_dict().items())
    with pytest.raises(RunError, match="weights of another space"):
        load_supernet(Supernet(hwnas.space("mobilenet", resolution=16, width=0.5)), tmp_path / "s")


@pytest.mark.parametrize(("content", "message"), [(None, "cannot be read"), (b"cut", "damaged")])
def test_weights_that_cannot_be_read_are_named_with_what_makes_them(
    space: SearchSpace, tmp_path: Path, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / "s").write_bytes(content)
    with pytest.raises(RunError, match=rf"s: {message}.*`hwnas train` makes it"):
        load_supernet(Supernet(space), tmp_path / "s")
