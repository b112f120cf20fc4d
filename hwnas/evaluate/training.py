"""Training of single networks as a part of an evaluation: from their weights on, with a checkpoint each."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import final

import torch
from torch import nn

from hwnas.core.arch import Arch
from hwnas.core.reporter import Reporter, Silent
from hwnas.data.dataset import Dataset
from hwnas.tasks.task import Task
from hwnas.train.alone import train_network
from hwnas.train.recipes import Recipe, recipe_of_arch
from hwnas.train.teacher import Teacher


@final
@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class NetworkTraining:
    """Trains networks on a device, each by the `recipe` with what its architecture's choices of the recipe say.

    `epochs` are those of every network, whatever its choices say; None leaves the number to the recipe.
    `folder` keeps a checkpoint per architecture.
    A network that was stopped resumes, and a network whose training is done is not trained again. So a folder belongs to one
    source of weights. `teacher` gives outputs to imitate. `words` name the training to the person who waits.
    """

    data: Dataset
    task: Task
    recipe: Recipe
    seed: int
    device: torch.device
    folder: Path
    epochs: int | None = None
    teacher: Teacher | None = None
    reporter: Reporter = field(default_factory=Silent)
    words: str = "training"

    def trained(self, module: nn.Module, arch: Arch) -> nn.Module:
        """Returns the network after training, on the device, in eval mode. Raises TrainingError, RunError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        recipe = recipe_of_arch(self.recipe, arch)
        train_network(
            module.to(self.device),
            self.data,
            self.task,
            recipe if self.epochs is None else replace(recipe, epochs=self.epochs),
            seed=self.seed,
            checkpoint=self.folder / f"{arch.id}.pt",
            reporter=self.reporter,
            what=f"{self.words} {arch.id}",
            teacher=self.teacher,
        )
        return module.eval()
