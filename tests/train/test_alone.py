"""Laws of training one network: by labels, by a teacher, and on after a stop."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import hwnas
from hwnas.core.reporter import Reporter, Silent
from hwnas.core.space import SearchSpace
from hwnas.data.dataset import load_data
from hwnas.data.images import ImageData
from hwnas.modules.assemble import network
from hwnas.tasks.registry import load_task
from hwnas.train.alone import train_network
from hwnas.train.recipes import BY_OPTIMIZER
from hwnas.train.teacher import Teacher

TASK = load_task("classification")
RECIPE = replace(BY_OPTIMIZER["sgd"], epochs=3, batch_size=32, learning_rate=0.05)


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return hwnas.space("conv_macro", resolution=16, features=16)  # with dropout


@pytest.fixture(scope="module")
def data(space: SearchSpace) -> ImageData:
    return load_data("digits", space.input_shape, limit=96)


class KilledError(Exception):
    """Stands for a process that is gone."""


class KillAfter:
    """A reporter that stops in the middle of an epoch."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def track(self, items: Sequence[Any], what: str) -> Iterable[Any]:
        for number, item in enumerate(items):
            if number == self.steps:
                raise KilledError
            yield item

    def note(self, text: str) -> None:
        return None


def trained(
    space: SearchSpace,
    data: ImageData,
    checkpoint: Path,
    *,
    share: float = 0.0,
    teacher: Teacher | None = None,
    reporter: Reporter | None = None,
) -> nn.Module:
    torch.manual_seed(0)
    module = network(space, space.smallest())
    recipe = replace(RECIPE, distillation=share)
    train_network(
        module,
        data,
        TASK,
        recipe,
        seed=0,
        checkpoint=checkpoint,
        reporter=reporter or Silent(),
        what="training",
        teacher=teacher,
    )
    return module


def equal(one: nn.Module, other: nn.Module) -> bool:
    state = other.state_dict()
    return all(torch.equal(tensor, state[name]) for name, tensor in one.state_dict().items())


@pytest.mark.parametrize("taught", [False, True])
def test_training_killed_in_any_epoch_resumes_exactly(
    space: SearchSpace, data: ImageData, tmp_path: Path, taught: bool
) -> None:
    teacher = network(space, space.largest()).eval() if taught else None
    whole = trained(space, data, tmp_path / "whole.pt", share=0.5, teacher=teacher)
    for steps in (1, 4, 2):
        with pytest.raises(KilledError):
            trained(space, data, tmp_path / "killed.pt", share=0.5, teacher=teacher, reporter=KillAfter(steps))
        torch.rand(1)  # another process has drawn from its random state
    assert equal(trained(space, data, tmp_path / "killed.pt", share=0.5, teacher=teacher), whole)


def test_a_training_that_is_done_is_not_repeated(space: SearchSpace, data: ImageData, tmp_path: Path) -> None:
    whole = trained(space, data, tmp_path / "c.pt")
    kept = (tmp_path / "c.pt").read_bytes()
    assert equal(trained(space, data, tmp_path / "c.pt", reporter=KillAfter(0)), whole)
    assert (tmp_path / "c.pt").read_bytes() == kept


def test_without_a_share_of_distillation_a_teacher_makes_no_difference(
    space: SearchSpace, data: ImageData, tmp_path: Path
) -> None:
    alone = trained(space, data, tmp_path / "alone.pt")
    teacher = network(space, space.largest()).eval()
    assert equal(trained(space, data, tmp_path / "taught.pt", share=0.0, teacher=teacher), alone)


def test_a_student_comes_nearer_to_its_teacher_than_labels_alone_bring_it(
    space: SearchSpace, data: ImageData, tmp_path: Path
) -> None:
    """The teacher confuses classes, so that labels lead elsewhere."""

    def teacher(x: Tensor) -> Tensor:
        assert not torch.is_grad_enabled()
        return 5.0 * torch.nn.functional.one_hot((x.flatten(1).mean(1) > x.mean()).long(), 10)

    x, distances = data.inputs(data.train.raw), []
    for share in (0.0, 1.0):
        module = trained(space, data, tmp_path / f"{share}.pt", share=share, teacher=teacher).eval()
        with torch.no_grad():
            distances.append(float(TASK.imitation(module(x), teacher(x))))
    alone, taught = distances
    assert taught < 0.9 * alone


def test_only_the_student_is_trained(space: SearchSpace, data: ImageData, tmp_path: Path) -> None:
    torch.manual_seed(1)
    teacher = network(space, space.largest()).eval()
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    trained(space, data, tmp_path / "c.pt", share=0.5, teacher=teacher)
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())
    assert all(parameter.grad is None for parameter in teacher.parameters())
