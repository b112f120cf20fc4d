"""Builds plain networks from a space's wiring."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import final

import torch
from torch import Tensor, fx, nn

from hwnas.core.choice import Option
from hwnas.core.layer import Layer
from hwnas.core.operator import Operator
from hwnas.core.space import SearchSpace
from hwnas.core.wiring import Flow
from hwnas.modules.build import build
from hwnas.modules.declared import require_declared


def network(space: SearchSpace, arch: Mapping[str, Option]) -> fx.GraphModule:
    """Returns the plain network of an architecture, freshly initialised, for export, measurement and deployment.

    Input (N, *space.input_shape). Submodules are named after the layers, with underscores for dots; `.code` shows how the
    submodules are joined. Raises SpaceError where an operator's module does not do what the operator declares.
    """
    require_declared(_operators(space, arch).items())
    return assembled(space, arch)


def assembled(space: SearchSpace, arch: Mapping[str, Option]) -> fx.GraphModule:
    """Returns the same network without a comparison of what its operators declare, for checks of the whole."""
    nodes = _Nodes(fx.Graph(), arch)
    nodes.graph.output(space.wiring.run(nodes.graph.placeholder("input"), nodes))
    modules = {module_name(name): build(operator) for name, operator in _operators(space, arch).items()}
    return fx.GraphModule(modules, nodes.graph)


def _operators(space: SearchSpace, arch: Mapping[str, Option]) -> dict[str, Operator]:
    """Returns the operators of an architecture by layer, without empty layers."""
    operators = ((layer.name, layer.operator(arch)) for layer in space.layers)
    return {name: operator for name, operator in operators if operator is not None}


def module_name(layer: str) -> str:
    """Returns the name of a layer's module in a network; torch forbids dots and names of methods of a module."""
    name = layer.replace(".", "_")
    return f"{name}_" if hasattr(nn.ModuleDict, name) or hasattr(fx.GraphModule, name) else name


def sum_of(source: Tensor, terms: Sequence[Tensor]) -> Tensor:
    """Returns the sum of the terms; zeros like `source` without terms."""
    return reduce(add, terms) if terms else torch.zeros_like(source)


@final
@dataclass(frozen=True, slots=True)
class _Nodes(Flow[fx.Node]):
    """The flow of graph nodes through one architecture."""

    graph: fx.Graph
    arch: Mapping[str, Option]

    def layer(self, layer: Layer, value: fx.Node) -> fx.Node | None:
        if layer.operator(self.arch) is None:
            return None
        return self.graph.call_module(module_name(layer.name), (value,))

    def total(self, graph: str, source: fx.Node, terms: Sequence[fx.Node]) -> fx.Node:
        if not terms:
            return self.graph.call_function(torch.zeros_like, (source,))
        return reduce(lambda left, right: self.graph.call_function(add, (left, right)), terms)
