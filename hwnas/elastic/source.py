"""Writes a network as Python source and weights that need nothing but torch, so that work on the network can go on elsewhere."""

import re
from inspect import getsource
from textwrap import indent
from typing import Final

from torch import Tensor, fx, nn

from hwnas.elastic.analysis import whole_program
from hwnas.elastic.modules import Attention, TracedModule
from hwnas.elastic.operator import Traced
from hwnas.elastic.trace import traced

HEADER: Final = '''"""{title}

Written by hwnas; needs torch alone. The weights are in {weights}:

    from safetensors.torch import load_file
    network = Network()
    network.load_state_dict(load_file("{weights}"))

Input {input}; call `eval()` for the outputs of the ONNX file.
"""

import math
import operator
from typing import Any, final

import torch
from torch import Tensor, device, inf, nan, nn
from torch.nn import functional as F
{classes}

def _put(root: nn.Module, path: str, value: object, trained: bool = True) -> None:
    """Adds a layer, a parameter or a buffer at a path, through empty modules."""
    *parents, name = path.split(".")
    for parent in parents:
        if not hasattr(root, parent):
            root.add_module(parent, nn.Module())
        root = getattr(root, parent)
    if isinstance(value, nn.Module):
        root.add_module(name, value)
    elif trained:
        root.register_parameter(name, nn.Parameter(value))
    else:
        root.register_buffer(name, value)


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
'''


class _Tracer(fx.Tracer):
    """Keeps attentions, whose operations differ in train mode, as modules of their own."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, Attention) or super().is_leaf_module(m, module_qualified_name)


def source_of(network: nn.Module, example: Tensor, title: str, weights: str) -> tuple[str, dict[str, Tensor]]:
    """Returns the source of a network, of torch's own layers and operations, and its weights by name.

    `example` is an input (N, ...). `title` is the source's first line, `weights` the name of the file that will hold the weights.
    Raises SpaceError for a network that cannot be traced.
    """
    program = whole_program(traced(network, example), "network")
    operator = Traced(input_shape=tuple(example.shape[1:]), program=program)
    module = TracedModule(operator).eval()
    graph = _Tracer().trace(module)  # not a GraphModule, which has no room for layers called `code` or `graph`
    lines, inside = list[str](), list[str]()
    for path, layer in module.named_modules():
        if path and type(layer) is not nn.Module:
            made = re.sub(r"padding=(same|valid)\b", r"padding='\1'", repr(layer))  # torch writes these without quotes
            where = "" if isinstance(layer, Attention) else "nn."
            lines.append(f"        _put(self, {path!r}, {where}{made})")
            inside.append(f"{path}.")
    state, trained = module.state_dict(), dict(module.named_parameters())
    for name, tensor in state.items():
        if not name.startswith(tuple(inside)):
            made = f"torch.empty({tuple(tensor.shape)}, dtype={tensor.dtype})"
            lines.append(f"        _put(self, {name!r}, {made}, {name in trained})")
    body = indent(graph.python_code("self").src.strip(), "    ")
    shape = f"({', '.join(['N', *map(str, example.shape[1:])])})"
    classes = f"\n\n{getsource(Attention)}" if any(isinstance(layer, Attention) for layer in module.modules()) else ""
    header = HEADER.format(title=title, weights=weights, input=shape, classes=classes)
    separator = "\n"
    return f"{header}{separator.join(lines)}\n\n{body}\n", {name: one.contiguous() for name, one in state.items()}
