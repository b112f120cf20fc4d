"""Two things that selectors ask of a trained supernet: its validation loss under probabilities, and a little more training."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np
import torch
from torch import Tensor

from hwnas.data.dataset import Dataset
from hwnas.evaluate.split import SplitScore
from hwnas.supernet.mixture import Drawn
from hwnas.supernet.network import Supernet
from hwnas.tasks.task import Task
from hwnas.train.recipes import Recipe
from hwnas.train.step import device_of, has_batch_norm, optimizer_of, training_batches, training_step

# The share of the rate that trained the supernet (DARTS-PT, Wang et al. 2021, section 5).
TUNING: Final = 0.1


def validation_loss(supernet: Supernet, validation: SplitScore, probabilities: Mapping[str, Tensor | Drawn]) -> float:
    """Returns the task's first metric of a mixture on the validation split, with the sign that makes lower better.

    Batch-norms are in train mode, as in DARTS-PT: the running statistics of a supernet belong to no mixture.
    """
    supernet.train(has_batch_norm(supernet))
    first = validation.task.metrics[0]
    return first.minimised(validation.score(lambda x: supernet(x, probabilities))[first.name])


def tuned(
    supernet: Supernet, data: Dataset, task: Task, recipe: Recipe, probabilities: Mapping[str, Tensor], seed: int
) -> None:
    """Trains the weights for an epoch under fixed probabilities, at a tenth of the recipe's rate."""
    gentle = replace(recipe, learning_rate=TUNING * recipe.learning_rate)
    optimizer, rng = optimizer_of(supernet, gentle), np.random.default_rng((seed, 4))
    torch.manual_seed(seed)  # dropout
    supernet.train()
    for x, labels in training_batches(data, gentle, rng, device_of(supernet)):
        loss = task.loss(supernet(x, probabilities), labels, smoothing=gentle.label_smoothing)
        training_step(supernet, optimizer, [loss], gentle.clip_norm)
