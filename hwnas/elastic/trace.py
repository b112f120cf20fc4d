"""Traces a torch module into one flat graph of torch operations, by `torch.export`."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from io import StringIO
from typing import Any, Final, final

import torch
from torch import Tensor, fx, nn

from hwnas.elastic.rules import name_of, tensors_in
from hwnas.elastic.sources import first_tensor
from hwnas.errors import SpaceError

# Operations that read a tensor's sizes, type or device, and not its numbers.
READ_SIZES: Final = frozenset({"sym_size", "new_ones", "new_zeros", "new_full", "ones_like", "zeros_like", "full_like"})
# The example's batch; sizes of 0 and 1 would be taken for constants.
BATCH: Final = 2


@final
@dataclass(frozen=True, eq=False)
class Trace:
    """The graph of a module from one input to one output.

    `operations` are the nodes that depend on the numbers of the input, in order; all other nodes are made from weights and
    sizes alone. `tensors` holds the name and the value of every node that is a weight, a buffer or a constant. `parameters` are
    the names of those that are trained.
    """

    input: fx.Node
    output: fx.Node
    nodes: tuple[fx.Node, ...]
    operations: tuple[fx.Node, ...]
    tensors: Mapping[fx.Node, tuple[str, Tensor]]
    parameters: frozenset[str]


class _FirstTensor(nn.Module):
    """Gives one tensor where a model gives an output object: its logits, or its first tensor."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return first_tensor(self.model(x))


def traced(model: nn.Module, example: Tensor) -> Trace:
    """Returns the graph of a model in eval mode, for inputs like `example` (N, ...) of any batch size.

    The model takes one tensor. It gives a tensor, or an object whose logits, or first tensor, are meant. Raises SpaceError for a
    model that `torch.export` cannot trace: one whose operations depend on the numbers of its input.
    """
    training = model.training
    batch = example if len(example) > 1 else torch.cat([example] * BATCH)
    try:
        with _quiet():
            program = torch.export.export(
                _FirstTensor(model).eval(), (batch,), dynamic_shapes={"x": {0: torch.export.Dim("batch")}}, strict=False
            )
    except Exception as error:
        asks = f"{type(model).__name__} cannot be traced for an input of shape {tuple(batch.shape)}"
        if "Constraints violated" in str(error):
            raise SpaceError(
                f"{asks}: its forward makes the batch size a constant; write x.shape[0] for len(x), and -1 for a batch size that "
                "is written as a number"
            ) from error
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise SpaceError(f"{asks}: {first}; its forward must run the same operations for every input") from error
    finally:
        model.train(training)
    return _trace_of(program)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences `torch.export`, which writes the graph and warnings to stderr before it raises."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with redirect_stderr(StringIO()):
            yield
    finally:
        logging.disable(before)


def _trace_of(program: torch.export.ExportedProgram) -> Trace:
    signature = program.graph_signature
    names = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    values: Mapping[str, Any] = {**program.constants, **program.state_dict}
    nodes = tuple(program.graph.nodes)
    tensors = {
        node: (names[node.name].removeprefix("model."), values[names[node.name]].detach())
        for node in nodes
        if node.op == "placeholder" and node.name in names
    }
    (entry,) = (node for node in nodes if node.op == "placeholder" and node.name in signature.user_inputs)
    (result,) = tensors_in(next(node for node in nodes if node.op == "output").args)
    parameters = frozenset(name.removeprefix("model.") for name in signature.inputs_to_parameters.values())
    return Trace(entry, result, nodes, tuple(_operations(nodes, entry)), tensors, parameters)


def _operations(nodes: tuple[fx.Node, ...], entry: fx.Node) -> Iterator[fx.Node]:
    dependent = {entry}
    for node in nodes:
        if node.op != "call_function" or name_of(node) in READ_SIZES or node.meta.get("val") is None:
            continue
        if any(one in dependent for one in node.all_input_nodes):
            dependent.add(node)
            yield node
