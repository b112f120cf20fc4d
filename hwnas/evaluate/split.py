"""The score of a split: its batches stay on a device, so that scoring many networks moves no data; streamed ones do not."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor, nn

from hwnas.data.dataset import Dataset, Split
from hwnas.data.streamed import ahead, is_streamed
from hwnas.evaluate.stages import Quantise
from hwnas.tasks.task import Task
from hwnas.train.devices import placed


@final
class SplitScore:
    """Scores functions from inputs to outputs on a split, the validation split unless another is given.

    A network with blocks in other precisions than float32 is scored as its model file (`stages.Quantise`).

    The same function always gets the same score, on a GPU to rounding.
    """

    def __init__(
        self, data: Dataset, task: Task, device: torch.device, *, split: Split | None = None, batch_size: int = 64
    ) -> None:
        self.task = task
        self.device = device
        self._quantise = Quantise(data)
        batches = _Batches(data, data.validation if split is None else split, batch_size, device)
        self._batches = batches if is_streamed(batches.split.raw) else list(batches)

    def score(self, run: Callable[[Tensor], Tensor]) -> Mapping[str, float]:
        """Returns the task's metrics of `run`, which maps inputs to outputs. The caller sets train or eval mode."""
        if isinstance(run, nn.Module):
            run = self._quantise(run)
        with torch.inference_mode():
            return self.task.score((run(x), labels) for x, labels in self._batches)


@final
@dataclass(frozen=True, slots=True)
class _Batches:
    """Inputs and labels of a split, batch by batch, on a device; made anew by every iteration."""

    data: Dataset
    split: Split
    size: int
    device: torch.device

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        raw, labels = self.split.raw, self.split.labels
        batches = np.split(np.arange(len(self.split)), range(self.size, len(self.split), self.size))
        ahead(raw, batches)
        for rows in batches:
            yield placed(self.data.inputs(raw[rows]), self.device), torch.from_numpy(labels[rows]).to(self.device)
