"""Training a supernet: its networks share the steps as the recipe says."""

from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from hwnas.core.arch import Arch
from hwnas.core.reporter import Reporter
from hwnas.data.dataset import Dataset
from hwnas.supernet.identity import start_as_identity
from hwnas.supernet.network import Supernet
from hwnas.tasks.task import Task
from hwnas.train.draws import DRAWS
from hwnas.train.epochs import Epochs, beginning
from hwnas.train.imitation import imitation_of
from hwnas.train.recipes import Recipe
from hwnas.train.step import Batch, steps_of, student_loss
from hwnas.train.teacher import Teacher, taught

DROPOUTS: Final = frozenset(
    {F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout, torch.dropout}
)
ATTENTION_ARGUMENTS: Final = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")


def train_supernet(
    supernet: Supernet,
    data: Dataset,
    task: Task,
    recipe: Recipe,
    *,
    seed: int,
    checkpoint: Path,
    reporter: Reporter,
    teacher: Teacher | None = None,
) -> None:
    """Trains to the recipe's last epoch, from the checkpoint where there is one.

    `recipe.supernet` says which networks a step trains, and how. With an external `teacher`, all of them learn from it by the
    recipe's share of distillation, until the recipe sends it away. Raises TrainingError where the loss stops being a number; the
    checkpoint is then that of the last good epoch.
    """
    shared = recipe.supernet
    if shared.zero_init and not supernet.space.is_trained:
        start_as_identity(supernet)
    draw = DRAWS[shared.networks](supernet.space, shared.random_subnets)
    largest = supernet.space.largest()
    steps = recipe.epochs * shared.passes * steps_of(len(data.train), recipe)
    epochs = Epochs(
        module=supernet,
        data=data,
        recipe=recipe,
        begin=beginning(seed, 4),
        checkpoint=checkpoint,
        reporter=reporter,
        words="training",
        ending=shared.ending,
        passes=shared.passes,
    )

    def losses(batch: Batch, rng: np.random.Generator, step: int) -> Iterator[Tensor]:
        archs = draw(rng, step, steps)
        present = teacher if step < shared.taught_until * steps else None
        return supernet_losses(supernet, batch, task, archs, recipe, largest=largest, teacher=present)

    for epoch, loss in epochs.trained(losses):
        reporter.note(f"epoch {epoch}/{recipe.epochs}: training loss {loss:.3f} (first network of every step)")


def supernet_losses(
    supernet: Supernet,
    batch: Batch,
    task: Task,
    archs: Iterable[Arch],
    recipe: Recipe,
    *,
    largest: Arch,
    teacher: Teacher | None = None,
) -> Iterator[Tensor]:
    """Yields the losses of the networks of one step.

    Without an external teacher, labels teach the first network, and the first network teaches all others (in-place
    distillation). `largest` is the network that is regularised where the recipe regularises one alone.
    """
    x, labels = batch
    shared = recipe.supernet
    imitation = imitation_of(shared)
    imitated = None if teacher is None else imitation.run(partial(taught, teacher), x)[1]
    regularised = recipe if shared.distillation is None else replace(recipe, distillation=shared.distillation)
    plain = replace(regularised, label_smoothing=0.0)
    for arch in archs:
        is_regularised = shared.regularised == "all" or arch == largest
        own = regularised if is_regularised else plain
        with nullcontext() if is_regularised else _WithoutDropout():
            y, seen = imitation.run(partial(supernet, arch=arch), x)
        if imitated is None:
            yield task.loss(y, labels, smoothing=own.label_smoothing)
            imitated = tuple(one.detach() for one in seen)
        else:
            yield student_loss(task, y, labels, imitation.distance(task, seen, imitated), own)


class _WithoutDropout(TorchFunctionMode):
    """Passes inputs of dropout on, and leaves it out of attention, so that batch-norms of the same network stay in train mode."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = kwargs or {}
        if func in DROPOUTS:
            return args[0] if args else named["input"]
        if func is F.scaled_dot_product_attention:
            named = dict(zip(ATTENTION_ARGUMENTS, args, strict=False)) | named | {"dropout_p": 0.0}
            return func(**named)
        return func(*args, **named)
