"""The supernet of a space: one elastic layer per layer, run as any architecture."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from hwnas.core.arch import Arch
from hwnas.core.layer import Layer
from hwnas.core.space import SearchSpace
from hwnas.ops.assemble import module_name, network, sum_of
from hwnas.supernet.elastic import ElasticLayer


@final
class Supernet(nn.Module):
    """All architectures of a space in one set of entangled weights."""

    def __init__(self, space: SearchSpace) -> None:
        super().__init__()
        self.space = space
        self.layers = nn.ModuleDict()
        for layer in space.layers:
            operators = [operator for _, operator in layer.cells(space.by_name) if operator is not None]
            self.layers[module_name(layer.name)] = ElasticLayer(layer.name, operators, entangled=layer.entangled)

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        """The output of one architecture. Input (N, *space.input_shape)."""
        return self.space.wiring.run(x, _Slices(self, arch))

    @torch.no_grad()
    def extract(self, arch: Arch) -> nn.Module:
        """The plain network of one architecture with a copy of its weights; same output as `supernet(x, arch)`."""
        plain = network(self.space, arch)
        plain.train(self.training)
        for layer in self.space.layers:
            operator = layer.operator(arch)
            if operator is None:
                continue
            module = plain.get_submodule(module_name(layer.name))
            targets = dict(module.named_parameters()) | dict(module.named_buffers())
            for tensor_name, tensor in self.elastic(layer).slices(operator).items():
                targets[tensor_name].data = tensor.clone()  # not copy_: keeps the supernet's dtype and device
        return plain

    def elastic(self, layer: Layer) -> ElasticLayer:
        """The entangled weights of a layer."""
        elastic = self.layers[module_name(layer.name)]
        assert isinstance(elastic, ElasticLayer)
        return elastic


@final
@dataclass(frozen=True, slots=True)
class _Slices:
    """The flow of tensors through the supernet fixed at one architecture."""

    supernet: Supernet
    arch: Arch

    def layer(self, layer: Layer, value: Tensor) -> Tensor | None:
        operator = layer.operator(self.arch)
        return None if operator is None else self.supernet.elastic(layer)(value, operator)

    def total(self, graph: str, source: Tensor, terms: Sequence[Tensor]) -> Tensor:
        return sum_of(source, terms)
