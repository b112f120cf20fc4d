"""The epochs of a training on all training examples: random states, batches, rates, checkpoints. Knows no loss.

Every epoch's randomness comes from the seed and the epoch's number alone, so a training that was stopped after any epoch
resumes exactly.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
import torch
from torch import Tensor, nn

from hwnas.core.reporter import Reporter
from hwnas.data.dataset import Dataset
from hwnas.train.checkpoint import require_number, restored, save_checkpoint
from hwnas.train.recipes import Recipe
from hwnas.train.step import (
    Batch,
    device_of,
    optimizer_of,
    set_rate,
    steps_of,
    training_batches,
    training_step,
)

# The losses of one step, from its batch and the epoch's generator; the first one is reported.
Losses = Callable[[Batch, np.random.Generator], Iterable[Tensor]]


def torch_seed(*numbers: int) -> int:
    """Returns a seed for torch that follows from a run's seed, an epoch and a purpose."""
    return int(np.random.default_rng(numbers).integers(2**62))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Epochs:
    """The epochs of one module's training, from its checkpoint where there is one.

    `begin` seeds torch for an epoch (dropout) and returns the generator of its batches. `words` name the training to the
    person who waits.
    """

    module: nn.Module
    data: Dataset
    recipe: Recipe
    begin: Callable[[int], np.random.Generator]
    checkpoint: Path
    reporter: Reporter
    words: str

    def trained(self, losses: Losses) -> Iterator[tuple[int, float]]:
        """Trains to the recipe's last epoch; yields each epoch's number, from 1, and mean loss once its checkpoint is saved.

        Raises TrainingError where the loss stops being a number; the checkpoint is then that of the last good epoch.
        """
        module, recipe = self.module, self.recipe
        optimizer, device = optimizer_of(module, recipe), device_of(module)
        parts = {"weights": module, "optimizer": optimizer}
        epochs = range(restored(self.checkpoint, parts)["epoch"], recipe.epochs)
        steps = steps_of(len(self.data.train), recipe)
        ticks = iter(self.reporter.track(range(len(epochs) * steps), self.words))
        module.train()
        for epoch in epochs:
            rng, values = self.begin(epoch), []
            for number, batch in enumerate(training_batches(self.data, recipe, rng, device)):
                set_rate(optimizer, epoch + number / steps, recipe)
                values.append(training_step(module, optimizer, losses(batch, rng), recipe.clip_norm))
                next(ticks, None)
            mean = float(np.mean(values))
            require_number(mean, epoch + 1, recipe, self.checkpoint)
            save_checkpoint(self.checkpoint, epoch + 1, parts)
            yield epoch + 1, mean


def beginning(seed: int, purpose: int, *batches: int) -> Callable[[int], np.random.Generator]:
    """Returns the `begin` of a training with random states of its own for every epoch.

    `purpose` distinguishes the torch seeds of different trainings of a run; `batches` do so for their generators.
    """

    def begin(epoch: int) -> np.random.Generator:
        torch.manual_seed(torch_seed(seed, epoch, purpose))
        return np.random.default_rng((seed, epoch, *batches))

    return begin
