"""Builds the plain module of an operator."""

import importlib

from torch import nn

from hwnas.core.operator import Operator


def build(operator: Operator) -> nn.Module:
    """Returns the plain module of an operator, freshly initialised."""
    module, _, name = operator.module.partition(":")
    return getattr(importlib.import_module(module), name)(operator)  # type: ignore[no-any-return]
