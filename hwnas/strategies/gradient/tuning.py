"""What selectors ask of a trained supernet: its loss under probabilities, and a little more training under them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from hwnas.data.dataset import Dataset
from hwnas.supernet.mixture import Drawn
from hwnas.supernet.network import Supernet
from hwnas.train.loop import NetworkJudge
from hwnas.train.recipes import Recipe
from hwnas.train.step import device_of, has_batch_norm, optimizer_of, shuffled_batches, task_loss

# Of the rate that trained the supernet (DARTS-PT, Wang et al. 2021, section 5).
TUNING: Final = 0.1


def validation_loss(supernet: Supernet, judge: NetworkJudge, probabilities: Mapping[str, Tensor | Drawn]) -> float:
    """In nats per prediction. Batch-norms are in train mode, as in DARTS-PT: the statistics of a supernet are no mixture's."""
    supernet.train(has_batch_norm(supernet))
    return judge.validation(lambda x: supernet(x, probabilities)).loss


def tuned(supernet: Supernet, data: Dataset, recipe: Recipe, probabilities: Mapping[str, Tensor], seed: int) -> None:
    """Trains the weights for an epoch under fixed probabilities, at a tenth of the recipe's rate."""
    gentle = replace(recipe, learning_rate=TUNING * recipe.learning_rate)
    optimizer, rng, device = optimizer_of(supernet, gentle), np.random.default_rng((seed, 4)), device_of(supernet)
    torch.manual_seed(seed)  # dropout
    supernet.train()
    for indices in shuffled_batches(np.arange(len(data.train)), gentle, rng):
        x, labels = data.training_batch(indices, rng)
        optimizer.zero_grad()
        task_loss(supernet(x.to(device), probabilities), labels.to(device), gentle.label_smoothing).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(supernet.parameters(), gentle.clip_norm)
        optimizer.step()
