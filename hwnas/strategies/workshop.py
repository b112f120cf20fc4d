"""The workshop of a strategy: a seed, a folder for checkpoints, data to train on. Loads no torch."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from hwnas.core.reporter import Reporter, Silent
from hwnas.errors import HwnasError

if TYPE_CHECKING:
    import torch

    from hwnas.data.dataset import Dataset
    from hwnas.supernet.network import Supernet
    from hwnas.tasks.task import Task
    from hwnas.train.recipes import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """The data, task and recipe of strategies that run supernets themselves.

    `new_supernet` builds fresh weights. `supernet` returns the run's own, trained, which all strategies share; None where
    there is none.
    """

    data: "Dataset"
    task: "Task"
    recipe: "Recipe"
    device: "torch.device"
    new_supernet: "Callable[[], Supernet]"
    supernet: "Callable[[], Supernet] | None" = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """The surroundings of one search. `folder` is for a strategy's checkpoints; None where nothing is to be kept.

    `training` is None where a strategy needs no weights of its own.
    """

    seed: int
    folder: Path | None = None
    reporter: Reporter = field(default_factory=Silent)
    training: Training | None = None

    def weights(self, arch_id: str) -> Path:
        """Returns the file of the weights that a strategy has trained for an architecture. Raises HwnasError without a folder."""
        if self.folder is None:
            raise HwnasError("this strategy keeps weights: give its workshop a folder")
        return self.folder / f"{arch_id}.safetensors"
