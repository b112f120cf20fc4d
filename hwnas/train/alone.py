"""Training one plain network by labels alone."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from hwnas.core.reporter import Reporter
from hwnas.data.dataset import Dataset
from hwnas.train.recipes import Recipe
from hwnas.train.step import (
    device_of,
    optimizer_of,
    require_number,
    restored,
    save_checkpoint,
    set_rate,
    shuffled_batches,
    steps_of,
    task_loss,
    torch_seed,
)


def train_network(
    module: nn.Module, data: Dataset, recipe: Recipe, *, seed: int, checkpoint: Path, reporter: Reporter, what: str
) -> None:
    """Trains to the recipe's last epoch, from the checkpoint where there is one; `what` names it to who waits.

    Raises TrainingError where the loss stops being a number; the checkpoint is then that of the last good epoch.
    """
    optimizer, device = optimizer_of(module, recipe), device_of(module)
    parts = {"weights": module, "optimizer": optimizer}
    epochs = range(restored(checkpoint, parts)["epoch"], recipe.epochs)
    steps = steps_of(len(data.train), recipe)
    ticks = iter(reporter.track(range(len(epochs) * steps), what))
    module.train()
    for epoch in epochs:
        torch.manual_seed(torch_seed(seed, epoch, 2))  # dropout
        rng = np.random.default_rng((seed, epoch, 3))
        losses = []
        for number, indices in enumerate(shuffled_batches(np.arange(len(data.train)), recipe, rng)):
            set_rate(optimizer, epoch + number / steps, recipe)
            x, labels = data.training_batch(indices, rng)
            optimizer.zero_grad()
            loss = task_loss(module(x.to(device)), labels.to(device), recipe.label_smoothing)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(module.parameters(), recipe.clip_norm)
            optimizer.step()
            losses.append(float(loss.detach()))
            next(ticks, None)
        require_number(float(np.mean(losses)), epoch + 1, recipe, checkpoint)
        save_checkpoint(checkpoint, epoch + 1, parts)
