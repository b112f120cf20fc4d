"""Stages between a source of weights and the score: batch-norm statistics, a little more training."""

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import nn

from hwnas.core.arch import Arch
from hwnas.data.dataset import Dataset
from hwnas.evaluate.training import NetworkTraining
from hwnas.supernet.recalibrate import recalibrate
from hwnas.train.devices import placed
from hwnas.train.step import has_batch_norm


@final
class Recalibrate:
    """Replaces batch-norm statistics by those over training examples: a supernet's are a mixture of all its networks'.

    The examples come from the data's stratified order, always the same ones, and stay on the device.
    """

    name: ClassVar[str] = "recalibrate"

    def __init__(
        self, data: Dataset, device: torch.device, *, batch_size: int = 64, calibration_batches: int = 8
    ) -> None:
        self.device = device
        # Whole batches: statistics are averages over batches, and a small last batch would count as much as the others.
        order = data.calibration_order()
        count = min(len(order) // batch_size, calibration_batches) * batch_size or len(order)
        raw = data.train.raw[order[:count]]
        starts = range(0, count, batch_size)
        self._batches = [placed(data.inputs(raw[start : start + batch_size]), device) for start in starts]

    def __call__(self, module: nn.Module, arch: Arch) -> nn.Module:
        """Returns the same module on the device, in eval mode; one without batch-norms is otherwise unchanged."""
        module.to(self.device)
        if has_batch_norm(module):
            recalibrate(module, self._batches)
        return module.eval()


@final
@dataclass(frozen=True, slots=True, eq=False)
class Tune:
    """Trains a network further from the weights of its source."""

    training: NetworkTraining
    name: str = "tune"

    def __call__(self, module: nn.Module, arch: Arch) -> nn.Module:
        """Returns the same module on the training's device, in eval mode. Raises TrainingError, RunError."""
        return self.training.trained(module, arch)
