"""The supernet of a space: one elastic layer per layer, run as any architecture."""

from typing import final

import torch
from torch import Tensor, nn

from hwnas.core.arch import Arch
from hwnas.core.space import SearchSpace
from hwnas.ops.assemble import module_name, network
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
            self.layers[module_name(layer.name)] = ElasticLayer(layer.name, operators)

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        """The output of one architecture. Input (N, *space.input_shape)."""
        for layer in self.space.layers:
            operator = layer.operator(arch)
            if operator is not None:
                x = self.layers[module_name(layer.name)](x, operator)
        return x

    @torch.no_grad()
    def extract(self, arch: Arch) -> nn.Sequential:
        """The plain network of one architecture with a copy of its weights; same output as `supernet(x, arch)`."""
        plain = network(self.space, arch)
        plain.train(self.training)
        for layer in self.space.layers:
            operator = layer.operator(arch)
            if operator is None:
                continue
            name = module_name(layer.name)
            elastic = self.layers[name]
            assert isinstance(elastic, ElasticLayer)
            module = plain.get_submodule(name)
            targets = dict(module.named_parameters()) | dict(module.named_buffers())
            for tensor_name, tensor in elastic.slices(operator).items():
                targets[tensor_name].data = tensor.clone()  # not copy_: keeps the supernet's dtype and device
        return plain
