"""The decoding step of a network of tokens: one new position, with the keys and values of earlier positions as a cache.

A network is traced at its full length, and its operations run again on one position. Only causal attention may join
positions. What is made of sizes and weights alone, such as masks and rotary angles, is computed once, and read at the position.

Shapes: N batch, T positions of the full length, P earlier positions, H heads of keys, D head size.
"""

import operator
from dataclasses import replace
from typing import Any, Final, final

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from hwnas.core.operator import Shape
from hwnas.elastic.analysis import whole_program
from hwnas.elastic.axes import leaves
from hwnas.elastic.blocks import modules_of
from hwnas.elastic.modules import GeneratedModule, GraphMaker
from hwnas.elastic.operator import Traced
from hwnas.elastic.rules import argument, name_of, sizes_of
from hwnas.elastic.trace import ATTENTION, Trace, evaluating, traced_at
from hwnas.errors import SpaceError, is_out_of_memory
from hwnas.profiler.export import example_input
from hwnas.profiler.step import Decoder

CACHED: Final = ("key", "value")
# Operations that repeat the keys of a group for each of its queries.
REPEATS: Final = frozenset(
    {"expand", "unsqueeze", "slice", "view", "_unsafe_view", "reshape", "flatten", "clone", "contiguous"}
)
# A number that is added to a score below this leaves the position out.
LEFT_OUT: Final = -1e4
# The first positions whose outputs are compared with the network's, and by how much they may differ, as a share of the largest.
COMPARED: Final = 3
TOLERANCE: Final = 1e-3
WHY: Final = "decoding needs a network of token positions that causal attention alone joins"


def decoder(network: nn.Module, input_shape: Shape, vocabulary: int | None, batch: int) -> Decoder:
    """Returns the step that decodes the last position of an input, with a cache of all earlier ones.

    Input (N, 1) of ids or (N, 1, ...). Raises SpaceError for a network that has no such step.
    """
    step = DecodingModule(network, input_shape, vocabulary, batch)
    return Decoder(step, step._cached, batch=batch, past=input_shape[0] - 1)


@final
class DecodingModule(GeneratedModule):
    """Runs a network at one position, for inputs of N = `batch` samples.

    Takes an input (N, 1, ...), then for every attention the keys and the values of P earlier positions, each (N, H, P, D), with P
    below T. Returns the output (N, 1, ...), then the keys and values of all P + 1 positions. An operator without attention runs
    at the last position. Raises SpaceError for a network whose positions are joined by other operations than causal attention.
    """

    def __init__(self, network: nn.Module, input_shape: Shape, vocabulary: int | None, batch: int) -> None:
        super().__init__()
        if len(input_shape) != (2 if vocabulary is None else 1) or input_shape[0] < 2:
            raise SpaceError(f"{WHY}, and an input of shape {tuple(input_shape)} has none; leave out step=decode")
        example = example_input(input_shape, batch, vocabulary)
        trace = traced_at(network, example)
        program = whole_program(trace, "network")
        tokens = leaves(program.known.axes(trace.input)[1])
        if len(tokens) != 1:
            raise SpaceError(f"{WHY}, and it groups its positions; leave out step=decode")
        at_one = Traced(input_shape=input_shape, program=replace(program, atoms=tuple(tokens)), units=(1,))
        maker = _DecodingMaker(self, at_one, trace, example)
        self._generate(maker.graph())
        self._cached = maker.cached
        self._require_equal(network, example)

    def forward(self, x: Tensor, *past: Tensor) -> tuple[Tensor, ...]:
        return self._run(self, x, *past)  # type: ignore[no-any-return]

    def _ran(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Returns the outputs in eval mode. Raises SpaceError where an operation does not run on one position."""
        try:
            return self.eval()(*inputs)  # type: ignore[no-any-return]
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            first = str(error).strip().splitlines()[0]
            raise SpaceError(f"{WHY}, and an operation does not run on one ({first}); leave out step=decode") from error

    @torch.no_grad()
    def _require_equal(self, network: nn.Module, x: Tensor) -> None:
        """Raises SpaceError where decoding one position after the other does not give the network's outputs."""
        with evaluating(network):
            expected = network(x)
        past = [x.new_empty((len(x), heads, 0, size), dtype=torch.float32) for heads, size in self._cached]
        last = x.shape[1] - 1
        for position in range(min(COMPARED, last + 1)) if past else (last,):
            output, *past = self._ran(x[:, position : position + 1], *past)
            furthest = float((output - expected[:, position : position + 1]).abs().max())
            if not furthest <= TOLERANCE * max(1e-6, float(expected.abs().max())):
                raise SpaceError(f"{WHY}, and decoding gives other outputs than the network; leave out step=decode")


class _DecodingMaker(GraphMaker):
    """Makes the graph of a network at one position, whose number is that of the cached ones, or the last without a cache.

    `traced` has one elastic atom, the positions, at one unit.
    """

    def __init__(self, root: nn.Module, traced: Traced, trace: Trace, example: Tensor) -> None:
        super().__init__(root, traced)
        (self.token,) = traced.program.atoms
        self.tensors = {node: tensor for node, (_, tensor) in trace.tensors.items()} | {trace.input: example}
        self.operations = set(trace.operations)
        self.attentions = [node for node in trace.operations if name_of(node) == ATTENTION]
        self.chains = {(node, name): self._chain(argument(node, name)) for node in self.attentions for name in CACHED}
        self.present: list[fx.Node] = []

    @property
    def cached(self) -> list[tuple[int, int]]:
        """The heads and the head size of each tensor of the cache."""
        axes = (self.program.known.axes(chain[-1]) for chain in self.chains.values())
        return [(self.program.size(heads, {}), self.program.size(size, {})) for _, heads, _, size in axes]

    def graph(self) -> fx.Graph:
        """Returns the graph from the input and the cache to the output and the longer cache."""
        part = self.program.part
        self.made[part.input] = self.target.placeholder("x")
        self.past = {key: self.target.placeholder(f"past_{number}") for number, key in enumerate(self.chains)}
        first = next(iter(self.past.values()), None)
        last = self.token.size - 1 if self.token.size else 0
        self.position = last if first is None else self.target.call_method("size", (first, 2))
        repeated = {node for chain in self.chains.values() for node in chain[:-1]}
        for node in part.operations:
            if node not in repeated:
                self.value(node)
        self.target.output((self.made[part.output], *self.present))
        return self.target

    def _made(self, node: fx.Node) -> Any:
        if node not in self.operations:
            return self._read(node) if self._positions(node) else super()._made(node)
        if node in self.attentions:
            return self._attention(node)
        if any(map(self._positions, node.all_input_nodes)) and self._positions(node) != 1:
            raise self._refusal(node, f"{name_of(node)} joins its positions")
        return super()._made(node)

    def _positions(self, node: fx.Node) -> int:
        """Returns how many axes of a node's output, or of the first of its outputs, are the positions."""
        return sum(self.token in leaves(one) for one in self.program.known.axes(node))

    def _refusal(self, node: fx.Node, reason: str) -> SpaceError:
        path = modules_of([node])[-1][0] or "the network"
        return SpaceError(f"{WHY}, and in {path} {reason}; leave out step=decode")

    # ---- attention

    def _chain(self, node: fx.Node) -> list[fx.Node]:
        """Returns an attention's keys or values, down to the tensor that is cached: what is repeated for a group of queries."""
        chain = [node]
        while name_of(chain[-1]) in REPEATS:
            chain.append(chain[-1].args[0])  # type: ignore[arg-type]
        expanded = max((number for number, one in enumerate(chain) if name_of(one) == "expand"), default=-1)
        cached = next((n for n, one in enumerate(chain) if n > expanded and len(sizes_of(one)) == 4), 0)
        axes = self.program.known.axes(chain[cached])
        if len(axes) != 4 or leaves(axes[2]) != [self.token]:
            raise self._refusal(node, "attention has no keys of shape (N, heads, positions, size)")
        return chain[: cached + 1]

    def _attention(self, node: fx.Node) -> fx.Node:
        """Returns attention of the new position to the cached ones and itself, and adds the longer cache to the outputs."""
        queries, keys = argument(node, "query"), self.chains[node, "key"][-1]
        for name in CACHED:
            new = self.value(self.chains[node, name][-1])
            self.present.append(self.target.call_function(torch.cat, ([self.past[node, name], new], 2)))
        query, (key, value) = self.value(queries), self.present[-2:]
        (batch, heads, _, size), (_, groups, *_), (*_, value_size) = map(sizes_of, (queries, keys, node))
        is_grouped = heads != groups
        if is_grouped:  # a group's queries take the place of positions: the sums are the same, and no key is repeated
            query = self.target.call_method("reshape", (query, batch, groups, -1, size))
        options = {"attn_mask": self._mask(node), "scale": argument(node, "scale")}
        mixed = self.target.call_function(F.scaled_dot_product_attention, (query, key, value), options)
        return self.target.call_method("reshape", (mixed, batch, heads, 1, value_size)) if is_grouped else mixed

    def _mask(self, node: fx.Node) -> fx.Node | None:
        """Returns the mask's row of the new position; None where the position attends to all so far."""
        mask = argument(node, "attn_mask")
        if mask is None and argument(node, "is_causal"):
            return None
        if mask is None or mask in self.operations:
            raise self._refusal(node, "attention is not causal" if mask is None else "a mask depends on the input")
        whole = self._value_of(mask)
        if whole.shape[-2:] != (self.token.size, self.token.size) or (whole.dim() > 3 and whole.shape[-3] > 1):
            raise self._refusal(node, "a mask is not one of positions x positions for all heads")
        kept = whole if whole.dtype == torch.bool else whole > LEFT_OUT
        if bool(kept.triu(1).any()):
            raise self._refusal(node, "attention is not causal")
        adds_nothing = whole.dtype == torch.bool or not bool(whole[kept].any())
        if adds_nothing and bool((kept == torch.ones_like(kept).tril()).all()):
            return None
        rows = self.target.call_function(torch.narrow, (self._constant(whole), -2, self.position, 1))
        so_far = self.target.call_function(operator.add, (self.position, 1))
        return self.target.call_function(torch.narrow, (rows, -1, 0, so_far))

    # ---- constants

    @torch.no_grad()
    def _value_of(self, node: fx.Node) -> Tensor:
        """Returns the value of what is made of sizes and weights alone."""
        if node not in self.tensors:
            arguments = fx.map_arg((node.args, dict(node.kwargs)), self._value_of)
            self.tensors[node] = node.target(*arguments[0], **arguments[1])  # type: ignore[operator]
        return self.tensors[node]

    def _read(self, node: fx.Node) -> fx.Node:
        """Returns a constant at the new position."""
        read = self._constant(self._value_of(node))
        for number, one in enumerate(self.program.known.axes(node)):
            if leaves(one) == [self.token]:
                read = self.target.call_function(torch.narrow, (read, number, self.position, 1))
        return read

    def _constant(self, value: Tensor) -> fx.Node:
        """Returns the node of a constant, which becomes a buffer of the module."""
        name = f"_constant_{len(dict(self.root.named_buffers(recurse=False)))}"
        self.root.register_buffer(name, value.clone())
        return self.target.get_attr(name)
