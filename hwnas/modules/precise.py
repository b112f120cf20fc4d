"""Modules whose model files compute in another precision than float32: marked, and otherwise those of float32."""

from collections.abc import Mapping
from typing import Final

from torch import nn

from hwnas.core.precise import Precise
from hwnas.modules.build import build

MARK: Final = "hwnas_precision"


def marked(operator: Precise) -> nn.Module:
    """Returns the module of the operator in float32, freshly initialised, with a mark of its precision."""
    module = build(operator.inner)
    setattr(module, MARK, operator.precision)
    return module


def precisions_of(module: nn.Module) -> Mapping[str, str]:
    """Returns the precision of every marked submodule by its path in `module`; the path of `module` itself is empty."""
    return {name: getattr(part, MARK) for name, part in module.named_modules() if hasattr(part, MARK)}
