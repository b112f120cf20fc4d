"""Cuts a trace into blocks: the parts of a network between the tensors that all later operations pass through."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Any, Final, final

import torch
from torch import fx

from hwnas.elastic.rules import name_of, sizes_of
from hwnas.elastic.trace import Trace

RESHAPES: Final = frozenset({"view", "reshape", "flatten", "unflatten", "_unsafe_view"})
# Operations with weights, each of which may begin a part of its own outside blocks.
WEIGHED: Final = frozenset({"conv1d", "conv2d", "conv3d", "linear", "addmm"})


@final
@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Operations from one tensor, `input`, to one other, the output of the last operation.

    `block` is the path of the module that the part belongs to, where that is a block: an instance of a class that holds a
    residual connection. It is empty for the rest, such as a stem. `is_residual` is True where the input is added to what was
    made of it.
    """

    input: fx.Node
    operations: tuple[fx.Node, ...]
    block: str = ""
    is_residual: bool = False

    @property
    def output(self) -> fx.Node:
        return self.operations[-1]

    @property
    def keeps_shape(self) -> bool:
        """True where input and output have one shape."""
        return sizes_of(self.input) == sizes_of(self.output)

    @property
    def path(self) -> str:
        """The path of the innermost module that holds all operations, but for the whole network."""
        return modules_of(self.operations)[-1][0]

    @property
    def layer(self) -> str:
        """The path of the first layer with weights; empty without one."""
        weighed = (node for node in self.operations if name_of(node) in WEIGHED)
        return next((modules_of([node])[-1][0] for node in weighed), "")


def parts_of(trace: Trace) -> list[Part]:
    """Returns the parts of a network in order: the parts of blocks, and what stands before, between and behind blocks."""
    pieces = list(_pieces(trace))
    classes = _block_classes(trace, pieces)
    placed = [Part(piece.input, piece.operations, _block_of(piece, classes), piece.is_residual) for piece in pieces]
    return [part for block, run in groupby(placed, key=attrgetter("block")) for part in _joined(list(run), block)]


def _block_classes(trace: Trace, pieces: Sequence[Part]) -> set[str]:
    """Returns the classes of modules that hold one residual connection, or the few of one block; no class of whole stages."""
    classes = {modules_of(piece.operations)[-1][1] for piece in pieces if piece.is_residual and piece.keeps_shape}
    instances: dict[str, set[str]] = {kind: set() for kind in classes}
    for node in trace.operations:
        for path, kind in modules_of([node]):
            if kind in classes:
                instances[kind].add(path)
    return {kind for kind in classes if not any(_is_stage(path, instances) for path in instances[kind])}


def _is_stage(path: str, instances: Mapping[str, set[str]]) -> bool:
    """Returns True where a module holds several modules of one class of blocks; so does the whole network."""
    prefix = f"{path}." if path else ""
    return any(sum(other.startswith(prefix) and other != path for other in paths) > 1 for paths in instances.values())


def _pieces(trace: Trace) -> Iterator[Part]:
    """Yields the shortest parts: no operation within reads or makes a tensor that the outside reads, but for its ends."""
    last = {trace.input: 0}
    for number, node in enumerate(trace.operations):
        last |= {one: number for one in node.all_input_nodes if one in last}
        last[node] = number
    last[trace.output] = len(trace.operations)
    entry, run, alive = trace.input, list[fx.Node](), {trace.input}
    for number, node in enumerate(trace.operations):
        run.append(node)
        alive = {one for one in {*alive, node} if last[one] > number}
        if alive == {node} and _has_batch(node, trace.input):
            yield Part(entry, tuple(run), is_residual=_adds(run, entry))
            entry, run = node, []
    if run:
        yield Part(entry, tuple(run))


def _has_batch(node: fx.Node, entry: fx.Node) -> bool:
    """Returns True where the first axis of a tensor is the batch alone, not (batch x tokens)."""
    value = node.meta["val"]
    return (
        isinstance(value, torch.Tensor) and bool(value.shape) and str(value.shape[0]) == str(entry.meta["val"].shape[0])
    )


def _adds(run: Sequence[fx.Node], entry: fx.Node) -> bool:
    """Returns True where the last operation adds the input of the run, in whatever shape."""
    last = _unshaped(run[-1], entry)
    adds = len(run) > 1 and name_of(last).rstrip("_") == "add"
    return adds and any(_unshaped(value, entry) is entry for value in last.args)


def _unshaped(value: Any, entry: fx.Node) -> Any:
    """Returns the tensor that was reshaped to another, from `entry` on; any other value as it is."""
    while isinstance(value, fx.Node) and value is not entry and name_of(value) in RESHAPES:
        value = value.args[0]
    return value


def modules_of(nodes: Iterable[fx.Node]) -> list[tuple[str, str]]:
    """Returns path and class of every module that holds all nodes, the outermost first."""
    stacks = [
        [
            (path.removeprefix("model").removeprefix("."), _name(kind))
            for path, kind in node.meta.get("nn_module_stack", {}).values()
        ]
        for node in nodes
    ]
    common = list[tuple[str, str]]()
    for level in zip(*stacks, strict=False):
        if len(set(level)) > 1:
            break
        common.append(level[0])
    return common or [("", "")]


def _name(kind: object) -> str:
    return kind if isinstance(kind, str) else f"{getattr(kind, '__module__', '')}.{getattr(kind, '__qualname__', kind)}"


def _block_of(piece: Part, classes: set[str]) -> str:
    """Returns the path of the outermost block that holds a piece; empty where none does."""
    return next((path for path, kind in modules_of(piece.operations) if kind in classes), "")


def _joined(pieces: list[Part], block: str) -> Iterator[Part]:
    """Yields the parts of one block, or of a run outside blocks.

    In a block, each residual connection makes a part, with what follows it up to the next. Outside, each operation with
    weights makes one where there are more than two.
    """
    weighed = sum(_has_weights(piece) for piece in pieces)
    group = list[Part]()
    for piece in pieces:
        full = any(one.is_residual for one in group) if block else any(map(_has_weights, group))
        begins = len(piece.operations) > 1 if block else weighed > 2 and _has_weights(piece)
        if group and full and begins:
            yield _merged(group, block)
            group = []
        group.append(piece)
    yield _merged(group, block)


def _has_weights(piece: Part) -> bool:
    return any(name_of(node) in WEIGHED for node in piece.operations)


def _merged(group: list[Part], block: str) -> Part:
    operations = tuple(node for piece in group for node in piece.operations)
    return Part(group[0].input, operations, block, any(piece.is_residual for piece in group))
