"""Runs a module on tensors that are not its own."""

from collections.abc import Mapping
from typing import Any, final

import torch
from torch import Tensor, nn


@final
class Template:
    """A module without storage that runs on tensors given by name.

    Does the same as `torch.func.functional_call`, which walks the module in every call: with it, a sandwich step of a small
    `mobilenet` takes an eighth longer (docs/log.md, "One training step").
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module.train()  # a part may have been made in eval mode
        for inner in module.modules():
            if isinstance(inner, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)) and inner.momentum is not None:
                inner.num_batches_tracked = None  # read only without a momentum; counting is slow
        # All parameters and buffers, with every place where they stand: tied parameters stand in several.
        self._own: dict[str, Tensor] = dict(module.named_parameters()) | dict(module.named_buffers())
        self._places: dict[str, list[tuple[dict[str, Any], str]]] = {
            name: [
                (store, leaf)
                for inner in module.modules()
                for store in (inner._parameters, inner._buffers)
                for leaf, tensor in store.items()
                if tensor is own
            ]
            for name, own in self._own.items()
        }
        floating = [name for name, tensor in self._own.items() if tensor.is_floating_point()]
        self.shapes: Mapping[str, torch.Size] = {name: self._own[name].shape for name in floating}

    def __call__(self, tensors: Mapping[str, Tensor], x: Tensor, *, training: bool) -> Tensor:
        """Returns the module's output (N, ...) on `tensors`, of `shapes`, in train or eval mode."""
        if self.module.training != training:
            self.module.train(training)
        try:
            self._place(tensors)
            return self.module(x)  # type: ignore[no-any-return]
        finally:
            self._place(self._own)

    def _place(self, tensors: Mapping[str, Tensor]) -> None:
        for name, tensor in tensors.items():
            for store, leaf in self._places[name]:
                store[leaf] = tensor
