"""The score of a split: its batches stay on a device, so that scoring many networks moves no data."""

from collections.abc import Callable, Iterator, Mapping
from typing import final

import torch
from torch import Tensor, nn

from hwnas.data.dataset import Dataset, Split
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
        self._batches = list(_batches(data, data.validation if split is None else split, batch_size, device))

    def score(self, run: Callable[[Tensor], Tensor]) -> Mapping[str, float]:
        """Returns the task's metrics of `run`, which maps inputs to outputs. The caller sets train or eval mode."""
        if isinstance(run, nn.Module):
            run = self._quantise(run)
        with torch.inference_mode():
            return self.task.score((run(x), labels) for x, labels in self._batches)


def _batches(data: Dataset, split: Split, size: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    raw, labels = split.raw, split.labels
    for start in range(0, len(split), size):
        rows = slice(start, start + size)
        yield placed(data.inputs(raw[rows]), device), torch.from_numpy(labels[rows]).to(device)
