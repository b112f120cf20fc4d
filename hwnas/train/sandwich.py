"""Training a supernet by the sandwich rule."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from hwnas.core.arch import Arch
from hwnas.core.reporter import Reporter
from hwnas.data.dataset import Dataset
from hwnas.supernet.network import Supernet
from hwnas.tasks.task import Task
from hwnas.train.epochs import Epochs, beginning
from hwnas.train.recipes import Recipe
from hwnas.train.step import Batch, student_loss


def train_supernet(
    supernet: Supernet, data: Dataset, task: Task, recipe: Recipe, *, seed: int, checkpoint: Path, reporter: Reporter
) -> None:
    """Trains to the recipe's last epoch, from the checkpoint where there is one.

    The sandwich rule of BigNAS (Yu et al. 2020, section 3): labels teach the largest network, and the largest network
    teaches all others (in-place distillation), together with the labels by the recipe's share. Raises TrainingError where
    the loss stops being a number; the checkpoint is then that of the last good epoch.
    """
    space = supernet.space
    smallest, largest = space.smallest(), space.largest()
    epochs = Epochs(
        module=supernet,
        data=data,
        recipe=recipe,
        begin=beginning(seed, 4),
        checkpoint=checkpoint,
        reporter=reporter,
        words="training",
    )

    def losses(batch: Batch, rng: np.random.Generator) -> Iterator[Tensor]:
        others = [smallest, *(space.sample(rng) for _ in range(recipe.random_subnets))]
        return sandwich_losses(supernet, batch, task, [largest, *others], recipe)

    for epoch, loss in epochs.trained(losses):
        reporter.note(f"epoch {epoch}/{recipe.epochs}: training loss {loss:.3f} (largest network)")


def sandwich_losses(
    supernet: Supernet, batch: Batch, task: Task, archs: Sequence[Arch], recipe: Recipe
) -> Iterator[Tensor]:
    """Yields the loss of the first architecture by labels, then those of the others, which the first one teaches."""
    x, labels = batch
    teacher_arch, *students = archs
    outputs = supernet(x, teacher_arch)
    yield task.loss(outputs, labels, smoothing=recipe.label_smoothing)
    teacher = outputs.detach()
    for arch in students:
        yield student_loss(task, supernet(x, arch), labels, teacher, recipe)
