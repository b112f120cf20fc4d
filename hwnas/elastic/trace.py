"""Traces a torch module into one flat graph of torch operations, by `torch.export`."""

import logging
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, suppress
from dataclasses import dataclass
from inspect import signature
from io import StringIO
from typing import Any, Final, final

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _NormBase
from torch.overrides import TorchFunctionMode

from hwnas.elastic.rules import name_of, tensors_in
from hwnas.elastic.sources import first_tensor
from hwnas.errors import SpaceError

# Operations that read a tensor's sizes, type or device, and not its numbers.
READ_SIZES: Final = frozenset({"sym_size", "new_ones", "new_zeros", "new_full", "ones_like", "zeros_like", "full_like"})
# Operations whose output shares the memory of their input.
VIEWS: Final = frozenset(
    {
        *("view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "expand", "select", "slice", "permute"),
        *("transpose", "t", "split", "chunk", "split_with_sizes", "unbind", "getitem", "detach", "alias"),
    }
)
# Torch's attention, the place of its dropout among the arguments, and what a forward raises where its input lacks something.
ATTENTION: Final = "scaled_dot_product_attention"
DROPOUT: Final = 4
OF_A_FORWARD: Final = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
MULTIHEAD: Final = signature(F.multi_head_attention_forward)
# The example's batch; sizes of 0 and 1 would be taken for constants.
BATCH: Final = 2


@final
@dataclass(frozen=True, eq=False)
class Trace:
    """The graph of a module from one input to one output.

    `operations` are the nodes that depend on the numbers of the input, in order; all other nodes are made from weights and
    sizes alone. `tensors` holds the name and the value of every node that is a weight, a buffer or a constant. `parameters` are
    the names of those that are trained, and of the `frozen` ones among them.
    """

    input: fx.Node
    output: fx.Node
    nodes: tuple[fx.Node, ...]
    operations: tuple[fx.Node, ...]
    tensors: Mapping[fx.Node, tuple[str, Tensor]]
    parameters: frozenset[str]
    frozen: frozenset[str]


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
    _require_traceable(model, example)
    batch = example if len(example) > 1 else torch.cat([example] * BATCH)
    trace = _traced(model, batch, {"x": {0: torch.export.Dim("batch")}})
    if any(name_of(node) == ATTENTION for node in trace.nodes):
        _with_dropout(trace, _dropouts(model, batch))
    return trace


def traced_at(model: nn.Module, example: Tensor) -> Trace:
    """Returns the graph for inputs of the example's own shape (N, ...), without dropout of attention: faster than `traced`."""
    _require_traceable(model, example)
    return _traced(model, example, None)


def _traced(model: nn.Module, batch: Tensor, open_axes: dict[str, Any] | None) -> Trace:
    try:
        with _quiet(), evaluating(model):
            program = torch.export.export(_FirstTensor(model).eval(), (batch,), dynamic_shapes=open_axes, strict=False)
    except Exception as error:  # torch.export raises errors of many kinds, its own and those of the model's code
        message = f"{type(model).__name__} cannot be traced for an input of shape {tuple(batch.shape)}"
        if "Constraints violated" in str(error):
            raise SpaceError(
                f"{message}: its forward makes the batch size a constant; write x.shape[0] for len(x), and -1 for a batch size "
                "that is written as a number"
            ) from error
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        depends = "data-dependent" in str(error) or "data dependent" in str(error)
        advice = "its forward must run the same operations for every input" if depends else "give inputs that it takes"
        raise SpaceError(f"{message}: {first}; {advice}") from error
    _add_dropouts(program.graph, model)
    return _trace_of(program, batch, frozen_names(model))


def _add_dropouts(graph: fx.Graph, model: nn.Module) -> None:
    """Writes the dropout of every `nn.MultiheadAttention` that gives its weights: that is traced written out, and without."""
    modules = dict(model.named_modules(remove_duplicate=False))
    for node in list(graph.nodes):
        if node.op != "call_function" or name_of(node) != "softmax":
            continue
        path, _ = next(reversed(node.meta.get("nn_module_stack", {}).values()), ("", None))
        module = modules.get(path.partition("@")[0].removeprefix("model").removeprefix("."))
        if not isinstance(module, nn.MultiheadAttention) or not module.dropout:
            continue
        with graph.inserting_after(node):
            dropped = graph.call_function(torch.ops.aten.dropout.default, (node, module.dropout, False))
        dropped.meta = dict(node.meta)
        node.replace_all_uses_with(dropped, delete_user_cb=lambda user, dropped=dropped: user is not dropped)


def _with_dropout(trace: Trace, shares: Sequence[float]) -> None:
    """Writes the dropouts of training into the attentions, which are traced without; into none where others run in training."""
    attentions = [node for node in trace.nodes if node.op == "call_function" and name_of(node) == ATTENTION]
    for node, share in zip(attentions, shares if len(shares) == len(attentions) else (), strict=False):
        if len(node.args) > DROPOUT:
            node.update_arg(DROPOUT, share)
        elif share:
            node.update_kwarg("dropout_p", share)


@torch.no_grad()
def _dropouts(model: nn.Module, batch: Tensor) -> tuple[float, ...]:
    """Returns the dropout of every attention that a model runs in train mode; norms stay in eval mode, and so as they are."""
    with evaluating(model), torch.random.fork_rng(devices=[]), _Dropouts() as seen:
        for module in model.modules():
            module.training = not isinstance(module, _NormBase)
        with suppress(*OF_A_FORWARD):  # a model of others that runs without labels in eval mode alone
            model(batch)
        return tuple(seen.shares)


class _Dropouts(TorchFunctionMode):
    """Notes the dropout of every attention that runs, that inside `nn.MultiheadAttention`, which the mode cannot see, too."""

    def __init__(self) -> None:
        super().__init__()
        self.shares: list[float] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = kwargs or {}
        if getattr(func, "__name__", "") == ATTENTION:
            self.shares.append(args[DROPOUT] if len(args) > DROPOUT else named.get("dropout_p", 0.0))
        elif func is F.multi_head_attention_forward:
            given = MULTIHEAD.bind(*args, **named).arguments
            if not given.get("need_weights", True):  # else it is written out, without the function
                self.shares.append(given["dropout_p"] if given.get("training", True) else 0.0)
        return func(*args, **named)


def frozen_names(model: nn.Module) -> frozenset[str]:
    """Returns the names of parameters that need no gradient; none where no parameter does, as in a model loaded for inference."""
    named = list(model.named_parameters(remove_duplicate=False))  # a tied weight has several names, and becomes copies
    frozen = frozenset(name for name, parameter in named if not parameter.requires_grad)
    return frozen if len(frozen) < len(named) else frozenset()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[nn.Module]:
    """Holds a model in eval mode, and then gives every module the mode that it had."""
    modes = {module: module.training for module in model.modules()}
    try:
        yield model.eval()
    finally:
        for module, training in modes.items():
            module.training = training


def _require_traceable(model: object, example: object) -> None:
    if not isinstance(model, nn.Module) or not isinstance(example, Tensor):
        raise SpaceError("only a torch module with one tensor, a batch of inputs, as its example can be made elastic")
    for name, parameter in model.named_parameters():
        if parameter.is_floating_point() and parameter.dtype != torch.float32:
            raise SpaceError(
                f"the weight {name!r} is {parameter.dtype}, and hwnas trains float32; call model.float() first"
            )


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences `torch.export`, which writes the graph and warnings to stderr before it raises."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with redirect_stderr(StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _trace_of(program: torch.export.ExportedProgram, batch: Tensor, frozen: frozenset[str]) -> Trace:
    signature, graph = program.graph_signature, program.graph
    names = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    values: Mapping[str, Any] = {**program.constants, **program.state_dict}
    tensors = {
        node: (names[node.name].removeprefix("model."), values[names[node.name]].detach())
        for node in graph.nodes
        if node.op == "placeholder" and node.name in names
    }
    (entry,) = (node for node in graph.nodes if node.op == "placeholder" and node.name in signature.user_inputs)
    (result,) = tensors_in(next(node for node in graph.nodes if node.op == "output").args)
    parameters = frozenset(name.removeprefix("model.") for name in signature.inputs_to_parameters.values())
    operations = set(_operations(graph, entry))
    trained = {node for node, (name, _) in tensors.items() if name in parameters}
    tensors |= _folded(program, {entry, *operations, *trained}, tensors, batch)
    _without_writes(graph, operations)
    needed = _needed(result)
    ordered = tuple(node for node in graph.nodes if node in operations and node in needed)
    return Trace(entry, result, tuple(graph.nodes), ordered, tensors, parameters, frozen)


def _needed(result: fx.Node) -> set[fx.Node]:
    """Returns all nodes that a node is made from, itself included."""
    needed, waiting = set[fx.Node](), [result]
    while waiting:
        node = waiting.pop()
        if node not in needed:
            needed.add(node)
            waiting += node.all_input_nodes
    return needed


def _operations(graph: fx.Graph, entry: fx.Node) -> Iterator[fx.Node]:
    """Yields the nodes that depend on the numbers of the input."""
    dependent = {entry}
    for node in graph.nodes:
        if node.op != "call_function" or name_of(node) in READ_SIZES or node.meta.get("val") is None:
            continue
        if any(one in dependent for one in node.all_input_nodes):
            dependent.add(node)
            yield node


def _folded(
    program: torch.export.ExportedProgram,
    known_to_vary: Collection[fx.Node],
    tensors: Mapping[fx.Node, tuple[str, Tensor]],
    batch: Tensor,
) -> dict[fx.Node, tuple[str, Tensor]]:
    """Replaces what is made from sizes and constants alone by its value, where tensors are written for it; returns the values.

    The masks of shifted windows are such. What depends on the batch size, or on trained weights, stays; so does all of a network
    that writes no such tensors, because exporters fold constants by themselves.
    """
    graph, varying = program.graph, set(known_to_vary)
    for node in graph.nodes:
        value = node.meta.get("val")
        is_whole = isinstance(value, Tensor) and all(isinstance(size, int) for size in value.shape)
        reads = [] if name_of(node) in READ_SIZES else node.all_input_nodes
        if node.op == "call_function" and (not is_whole or any(one in varying for one in reads)):
            varying.add(node)
    wanted = [
        node
        for node in graph.nodes
        if node.op == "call_function" and node not in varying and any(user in varying for user in node.users)
    ]
    writes = any(_writes(node) and node not in varying for node in graph.nodes)
    made = _values(program, wanted, tensors, batch) if writes else {}
    folded = {}
    for number, (node, value) in enumerate(made.items()):
        with graph.inserting_before(next(iter(graph.nodes))):
            constant = graph.placeholder(f"constant_{number}")
        constant.meta["val"] = value
        node.replace_all_uses_with(constant, delete_user_cb=lambda user: user in varying)
        folded[constant] = (f"constants.constant_{number}", value)
    return folded


def _values(
    program: torch.export.ExportedProgram,
    nodes: Sequence[fx.Node],
    tensors: Mapping[fx.Node, tuple[str, Tensor]],
    batch: Tensor,
) -> dict[fx.Node, Tensor]:
    """Returns the values of nodes after a run of the whole network, so that what is written into a tensor later is in it."""
    interpreter = fx.Interpreter(program.graph_module, garbage_collect_values=False)
    inputs = [
        tensors[node][1] if node in tensors else batch for node in program.graph.nodes if node.op == "placeholder"
    ]
    with torch.no_grad():
        interpreter.run(*inputs)
    return {node: interpreter.env[node].detach().clone() for node in nodes}


def _writes(node: fx.Node) -> bool:
    """Returns True for an operation that writes its first argument: `relu_`."""
    name = name_of(node) if node.op == "call_function" else ""
    return name.endswith("_") and not name.endswith("__")


def _viewed(node: fx.Node) -> Iterator[fx.Node]:
    """Yields the tensors whose memory a view shares."""
    while name_of(node) in VIEWS and node.all_input_nodes:
        node = node.all_input_nodes[0]
        yield node


def _without_writes(graph: fx.Graph, operations: Collection[fx.Node]) -> None:
    """Lets what reads a tensor after an operation has written into it read the operation's result, which is a new tensor.

    Raises SpaceError where a part of a tensor is written that is read later.
    """
    order = {node: number for number, node in enumerate(graph.nodes)}
    for node in sorted(operations, key=order.__getitem__):
        if not _writes(node):
            continue
        name, written = name_of(node), node.args[0]
        assert isinstance(written, fx.Node)
        if any(order[user] > order[node] for base in _viewed(written) for user in base.users):
            raise SpaceError(
                f"the model writes into a part of a tensor by {name}, and reads the tensor afterwards; write it without "
                "writing into a tensor, such as by torch.where or torch.cat"
            )
        written.replace_all_uses_with(node, delete_user_cb=lambda user, node=node: order[user] > order[node])  # type: ignore[misc]
