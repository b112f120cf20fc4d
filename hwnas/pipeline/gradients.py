"""Gradients of a trained network on training examples: the importance of its units to the loss (`--importance FILE`)."""

from inspect import signature
from pathlib import Path
from typing import Final

import torch
from safetensors.torch import save
from torch import Tensor, nn

from hwnas.core.files import replace_file
from hwnas.core.space import SearchSpace
from hwnas.data.dataset import Dataset
from hwnas.elastic.builtin import load_sized
from hwnas.elastic.sources import first_tensor
from hwnas.errors import HwnasError
from hwnas.pipeline.checked import load_for
from hwnas.pipeline.request import SearchRequest
from hwnas.tasks.task import Task

SUFFIX: Final = ".safetensors"
# Examples that the loss is averaged over, and how many of them run at once.
EXAMPLES: Final = 256
AT_ONCE: Final = 32


def write_gradients(request: SearchRequest, space: SearchSpace, out: Path) -> None:
    """Writes the gradients of the loss of a request's `--model` on its data, by the weight's name, as safetensors.

    `space` is that of the request. Raises HwnasError for a name that `--importance` does not take, DataError where the data do
    not fit.
    """
    if out.suffix != SUFFIX:
        raise HwnasError(f"{out}: gradients are written as {SUFFIX}; give --gradients {out.with_suffix(SUFFIX)}")
    data, task = load_for(space, request)
    named = {name: value for name, value in space.options.items() if name in signature(load_sized).parameters}
    replace_file(out, save(gradients(load_sized(**named).module, data, task)))  # type: ignore[arg-type]


def gradients(module: nn.Module, data: Dataset, task: Task) -> dict[str, Tensor]:
    """Returns the gradient of the mean loss over `EXAMPLES` training examples, in eval mode, by the weight's name.

    Frozen weights have gradients, too, because the loss depends on their units alike.
    """
    module.eval().requires_grad_(True)
    order = data.calibration_order()[:EXAMPLES]
    for start in range(0, len(order), AT_ONCE):
        rows = order[start : start + AT_ONCE]
        labels = torch.from_numpy(data.train.labels[rows])
        loss = task.loss(first_tensor(module(data.inputs(data.train.raw[rows]))), labels)
        (loss * len(rows) / len(order)).backward()  # type: ignore[no-untyped-call]
    return {name: one.grad.contiguous() for name, one in module.named_parameters() if one.grad is not None}
