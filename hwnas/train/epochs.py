"""The epochs of a training on all training examples: random states, batches, rates, checkpoints. Knows no loss.

Every epoch's randomness comes from the seed and the epoch's number alone, so a training that was stopped after any epoch
resumes exactly.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import final

import numpy as np
import torch
from torch import Tensor, nn

from hwnas.core.reporter import Reporter, record
from hwnas.data.dataset import Dataset
from hwnas.train.average import averaged
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

# The losses of one step, from its batch, the epoch's generator, and the step's number in the training; the first one is reported.
Losses = Callable[[Batch, np.random.Generator, int], Iterable[Tensor]]


def torch_seed(*numbers: int) -> int:
    """Returns a seed for torch that follows from a run's seed, an epoch and a purpose."""
    return int(np.random.default_rng(numbers).integers(2**62))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Epochs:
    """The epochs of one module's training, from its checkpoint where there is one.

    `begin` seeds torch for an epoch (dropout) and returns the generator of its batches. `words` name the training to the
    person who waits, `name` its recorded losses. `ending` is the share of the highest rate below which the rate does not
    fall. `passes` is the number of passes over the training examples that make one epoch.
    """

    module: nn.Module
    data: Dataset
    recipe: Recipe
    begin: Callable[[int], np.random.Generator]
    checkpoint: Path
    reporter: Reporter
    words: str
    name: str = "training"
    ending: float = 0.0
    passes: int = 1

    def trained(self, losses: Losses) -> Iterator[tuple[int, float]]:
        """Trains to the recipe's last epoch; yields each epoch's number, from 1, and mean loss once its checkpoint is saved.

        With the recipe's `ema`, the module ends with the averages of its weights and statistics; until then it has its own.
        Raises TrainingError where the loss stops being a number; the checkpoint is then that of the last good epoch.
        """
        module, recipe = self.module, self.recipe
        optimizer, device = optimizer_of(module, recipe), device_of(module)
        average = averaged(module, recipe.ema) if recipe.ema else None
        parts = {"weights": module, "optimizer": optimizer} | ({"average": average} if average is not None else {})
        epochs = range(restored(self.checkpoint, parts)["epoch"], recipe.epochs)
        steps = self.passes * steps_of(len(self.data.train), recipe)
        ticks = iter(self.reporter.track(range(len(epochs) * steps), self.words))
        module.train()
        for epoch in epochs:
            rng, values = self.begin(epoch), []
            of_passes = (training_batches(self.data, recipe, rng, device) for _ in range(self.passes))
            for number, batch in enumerate(chain.from_iterable(of_passes)):
                set_rate(optimizer, epoch + number / steps, recipe, self.ending)
                values.append(
                    training_step(module, optimizer, losses(batch, rng, epoch * steps + number), recipe.clip_norm)
                )
                if average is not None:
                    average.update_parameters(module)
                next(ticks, None)
            mean = float(np.mean(values))
            require_number(mean, epoch + 1, recipe, self.checkpoint)
            save_checkpoint(self.checkpoint, epoch + 1, parts)
            record(self.reporter, epoch + 1, {f"{self.name}/loss": mean})
            yield epoch + 1, mean
        if average is not None:
            module.load_state_dict(average.module.state_dict())


def beginning(seed: int, purpose: int, *batches: int) -> Callable[[int], np.random.Generator]:
    """Returns the `begin` of a training with random states of its own for every epoch.

    `purpose` distinguishes the torch seeds of different trainings of a run; `batches` do so for their generators.
    """

    def begin(epoch: int) -> np.random.Generator:
        torch.manual_seed(torch_seed(seed, epoch, purpose))
        return np.random.default_rng((seed, epoch, *batches))

    return begin
