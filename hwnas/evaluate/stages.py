"""Stages between a source of weights and the score: batch-norm statistics, a little more training, the precisions of blocks."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import ClassVar, Final, final

import numpy as np
import torch
from torch import Tensor, nn

from hwnas.core.arch import Arch
from hwnas.data.dataset import Dataset
from hwnas.evaluate.training import NetworkTraining
from hwnas.modules.precise import precisions_of
from hwnas.profiler.export import DYNAMIC, deployed_onnx
from hwnas.profiler.runtime import InputArray, RuntimeOptions
from hwnas.profiler.runtime_onnx import OnnxModel
from hwnas.supernet.recalibrate import recalibrate
from hwnas.train.devices import placed
from hwnas.train.step import has_batch_norm

# Training examples that give a quantised network the ranges of its activations.
CALIBRATED: Final = 128
# Examples that a file is calibrated on at once: all activations of a network are in memory for each.
AT_ONCE: Final = 16


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


@final
@dataclass(frozen=True, slots=True, eq=False)
class Quantise:
    """Computes what a network's model file computes, where the network has blocks in other precisions than float32.

    The file is calibrated on training examples, as the one that is handed out, and runs by ONNX Runtime on the CPU.
    """

    data: Dataset

    def __call__(self, module: nn.Module) -> Callable[[Tensor], Tensor]:
        """Returns a function from inputs (N, ...) to outputs; the module itself where all of it is float32."""
        if not precisions_of(module):
            return module
        examples = calibration_inputs(self.data, AT_ONCE)
        vocabulary = None if examples[0].dtype.kind == "f" else int(examples[0].max()) + 1
        content = deployed_onnx(
            deepcopy(module).cpu(), examples[0].shape[1:], examples, batch=DYNAMIC, vocabulary=vocabulary
        )
        model = OnnxModel(content, RuntimeOptions(threads=torch.get_num_threads()))
        return lambda x: torch.from_numpy(model.run(np.ascontiguousarray(x.cpu().numpy()))).to(x.device)


def calibration_inputs(data: Dataset, batch: int) -> list[InputArray]:
    """Returns inputs (batch, *input_shape) from the training split; the last ones are filled up by repetition."""
    raw = data.train.raw[data.calibration_order()[:CALIBRATED]]
    batches = (raw[i : i + batch] for i in range(0, len(raw), batch))
    return [data.inputs(np.resize(part, (batch, *part.shape[1:]))).numpy() for part in batches]
