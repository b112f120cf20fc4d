"""The one builder: operators to plain modules, and a space's wiring to a plain network."""

import importlib
from collections import OrderedDict
from collections.abc import Mapping

from torch import nn

from hwnas.core.choice import Option
from hwnas.core.operator import Operator
from hwnas.core.space import SearchSpace


def build(operator: Operator) -> nn.Module:
    """The plain module of an operator, freshly initialised."""
    module, _, name = operator.module.partition(":")
    return getattr(importlib.import_module(module), name)(operator)  # type: ignore[no-any-return]


def network(space: SearchSpace, arch: Mapping[str, Option]) -> nn.Sequential:
    """The plain network of an architecture, freshly initialised: what is exported, measured and deployed.

    Input (N, *space.input_shape). Submodules are named after the layers, dots written as underscores.
    """
    operators = ((layer.name, layer.operator(arch)) for layer in space.layers)
    modules = ((module_name(name), build(operator)) for name, operator in operators if operator is not None)
    return nn.Sequential(OrderedDict(modules))


def module_name(layer: str) -> str:
    """The name of a layer's module in a network: torch allows no dots."""
    return layer.replace(".", "_")
