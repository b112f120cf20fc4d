"""Training one plain network, by labels alone or by a teacher, too."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from hwnas.core.reporter import Reporter
from hwnas.data.dataset import Dataset
from hwnas.tasks.task import Task
from hwnas.train.epochs import Epochs, beginning
from hwnas.train.recipes import Recipe
from hwnas.train.step import Batch, student_loss
from hwnas.train.teacher import Teacher, taught


def train_network(
    module: nn.Module,
    data: Dataset,
    task: Task,
    recipe: Recipe,
    *,
    seed: int,
    checkpoint: Path,
    reporter: Reporter,
    what: str,
    teacher: Teacher | None = None,
) -> None:
    """Trains to the recipe's last epoch, from the checkpoint where there is one; leaves the module in train mode.

    `what` names the training to the person who waits. With a `teacher`, the module learns its outputs by the recipe's share
    of distillation, and the labels by the rest; the teacher gives its outputs without a gradient. With the recipe's `ema`, the
    module ends with the averaged weights and averaged statistics of batch-norms. Raises TrainingError where the loss stops
    being a number; the checkpoint is then that of the last good epoch.
    """
    epochs = Epochs(
        module=module,
        data=data,
        recipe=recipe,
        begin=beginning(seed, 2, 3),
        checkpoint=checkpoint,
        reporter=reporter,
        words=what,
        name=f"networks/{checkpoint.stem}",
    )

    def losses(batch: Batch, rng: np.random.Generator, step: int) -> Iterator[Tensor]:
        x, labels = batch
        if teacher is None:
            yield task.loss(module(x), labels, smoothing=recipe.label_smoothing)
            return
        y = module(x)
        yield student_loss(task, y, labels, task.imitation(y, taught(teacher, x)), recipe)

    for _ in epochs.trained(losses):
        pass
