"""Recipes of training, as values. Imports no torch, so that requests can check names against them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from hwnas.errors import TrainingError


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """An optimiser, its rate, and the length of a training.

    A step of sandwich training trains the largest, the smallest and `random_subnets` random networks on one batch.
    `distillation` is the share of a student's loss that imitates its teacher; the labels' loss has the rest. `weight_decay`
    applies to matrices, kernels and embedding tables, not to norms and biases.
    """

    optimizer: str
    learning_rate: float
    weight_decay: float
    label_smoothing: float
    distillation: float
    clip_norm: float
    epochs: int = 30
    batch_size: int = 64
    warmup_epochs: int = 2
    random_subnets: int = 2

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 2 or self.learning_rate <= 0:
            raise TrainingError(
                f"cannot train for {self.epochs} epochs, batch {self.batch_size}, rate {self.learning_rate}"
            )


RECIPES: Final[Mapping[str, Recipe]] = {
    "sgd": Recipe(
        optimizer="sgd",
        learning_rate=0.2,
        weight_decay=1e-4,
        label_smoothing=0.1,
        distillation=1.0,
        clip_norm=5.0,
    ),
    "adamw": Recipe(
        optimizer="adamw",
        learning_rate=1e-3,
        weight_decay=0.05,
        label_smoothing=0.0,  # a language model's metric is the loss itself, and smoothing moves its minimum
        # With distillation alone, all networks of a GPT stay at bigrams: 2.7 nats on Shakespeare's characters after 320
        # steps, and more at higher rates; with half of the labels' loss they reach 2.4.
        distillation=0.5,
        clip_norm=1.0,
    ),
}
