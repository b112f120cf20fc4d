"""The program of a part of a traced network, which runs at any sizes of its elastic atoms.

Shapes: all sizes are those of one sample; the batch is the first axis of every tensor.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any, Final, final

from torch import fx

from hwnas.core.operator import OperatorCost, Shape
from hwnas.elastic.axes import Atom, Axis, leaves
from hwnas.elastic.blocks import Part
from hwnas.elastic.rules import RULES, SEVERAL, Known, argument, name_of, sizes_of
from hwnas.elastic.weights import Stored

# How many units of each elastic atom are kept.
Units = Mapping[Atom, int]
# The size of each kernel that is not the traced one, by the convolution.
Kernels = Mapping[fx.Node, int]


@final
@dataclass(frozen=True, eq=False)
class Program:
    """The operations of a part, what they are made from, and the axes of all values.

    `atoms` are the elastic atoms that the part has, in order; `kernels` are the convolutions whose kernels are elastic. `normed`
    is True where an elastic atom is normalised over: then a narrower version is no masked wider one. `vocabulary` is the number
    that all token ids are below, for a part that reads them. Keys show the `digest`, and programs of one digest are equal,
    whatever their weights: they are measured once.
    """

    name: str
    part: Part
    known: Known
    stored: Mapping[fx.Node, Stored] = field(default_factory=dict)
    atoms: tuple[Atom, ...] = ()
    kernels: tuple[fx.Node, ...] = ()
    normed: bool = False
    vocabulary: int | None = None

    def __str__(self) -> str:
        return self.digest

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Program) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __deepcopy__(self, memo: Mapping[int, Any]) -> "Program":
        """Returns the program itself, which nothing changes: the tensors without storage in its graph cannot be copied."""
        return self

    @cached_property
    def digest(self) -> str:
        """A hash of the operations, their constants and sizes, and of which sizes are elastic; not of names and weights."""
        numbers: dict[Any, int] = {self.part.input: 0}
        lines: list[Any] = [[sizes_of(self.part.input)]]

        def written(value: Any) -> Any:
            if isinstance(value, fx.Node):
                return f"#{visit(value)}"
            if isinstance(value, (list, tuple)):
                return [written(one) for one in value]
            return str(value)

        def visit(node: fx.Node) -> int:
            if node not in numbers:
                arguments = [written(one) for one in (*node.args, *node.kwargs.items())]
                lines.append([str(node.target) if node.op == "call_function" else "", arguments, self._structure(node)])
                numbers[node] = len(numbers)
            return numbers[node]

        for node in self.part.operations:
            visit(node)
        return hashlib.blake2s(repr((lines, [numbers.get(node) for node in self.kernels])).encode()).hexdigest()[:10]

    def _structure(self, node: fx.Node) -> Any:
        return [
            [f"e{self.atoms.index(atom)}" if atom in self.atoms else atom.size for atom in leaves(one)]
            for axes in self.known.outputs.get(node, ())
            for one in axes
        ]

    def all_atoms(self) -> dict[Atom, None]:
        """Returns all atoms of the part's values and weights, in the order in which they occur."""
        return dict.fromkeys(
            atom
            for node in (self.part.input, *self.nodes)
            for axes in self.known.outputs.get(node, ())
            for one in axes
            for atom in leaves(one)
        )

    def has_larger_units(self, atom: Atom) -> bool:
        """Returns True where a unit is several numbers of some weight: a head of an attention."""
        every = (leaves(one) for stored in self.stored.values() for one in stored.axes)
        return any(atom in atoms[:-1] for atoms in every)

    # ---- sizes

    def size(self, one: Axis, units: Units) -> int:
        """Returns the size of an axis; the axis must not depend on the batch."""
        return prod(units.get(atom, atom.size or 1) for atom in leaves(one))

    def shape(self, node: fx.Node, units: Units) -> Shape:
        """Returns the shape of a value for one sample, without the batch."""
        return tuple(self.size(one, units) for one in self.known.axes(node)[1:])

    def input_shape(self, units: Units) -> Shape:
        return self.shape(self.part.input, units)

    def output_shape(self, units: Units) -> Shape:
        return self.shape(self.part.output, units)

    # ---- costs

    def cost(self, units: Units, kernels: Kernels) -> OperatorCost:
        """Returns FLOPs, parameters and statistics."""
        flops = sum(self._flops(node, units, kernels) for node in self.nodes if node.op == "call_function")
        params = statistics = 0
        for node, numbers in self._numbers(units, kernels).items():
            if self.stored[node].is_trained:
                params += numbers
            else:
                statistics += numbers
        return OperatorCost(flops, params, statistics)

    @cached_property
    def knows_flops(self) -> bool:
        """True where the FLOPs of all operations follow from sizes; an operation without a rule may have others."""
        names = {name_of(node).rstrip("_") for node in self.part.operations}
        return names <= {*RULES, *SEVERAL, *FLOPS}

    @cached_property
    def is_quantisable(self) -> bool:
        """True where the part has convolutions or matrix products; transposed convolutions alone stay float32 in a model file."""
        return any(name_of(node).rstrip("_") in FLOPS.keys() - TRANSPOSED for node in self.nodes)

    def _numbers(self, units: Units, kernels: Kernels) -> dict[fx.Node, int]:
        """Returns how many numbers each tensor has."""
        numbers = {
            node: len(stored.parts) * prod(self.size(one, units) for one in stored.axes)
            for node, stored in self.stored.items()
        }
        for convolution, kernel in kernels.items():
            weight = argument(convolution, "weight")
            whole = sizes_of(weight)[2:]
            numbers[weight] = numbers[weight] // prod(size or 1 for size in whole) * kernel ** len(whole)
        return numbers

    def _flops(self, node: fx.Node, units: Units, kernels: Kernels) -> int:
        formula = FLOPS.get(name_of(node).rstrip("_"))
        if formula is None:
            return 0
        kernel = kernels.get(node)
        return 2 * formula(self, node, lambda one: self._sizes(one, units), kernel)

    def _sizes(self, node: fx.Node, units: Units) -> list[int]:
        return [self.size(one, units) for one in self.known.axes(node)]

    @cached_property
    def nodes(self) -> tuple[fx.Node, ...]:
        """All nodes that the operations need, in an order in which each stands behind what it needs."""
        ordered: dict[fx.Node, None] = {}

        def visit(node: fx.Node) -> None:
            if node not in ordered and node is not self.part.input:
                for one in () if name_of(node) == "sym_size" else node.all_input_nodes:
                    visit(one)
                ordered[node] = None

        for node in self.part.operations:
            visit(node)
        return tuple(ordered)


# Multiply-accumulates of an operation for one sample; sizes of an axis that depends on the batch count as 1.
Sizes = Callable[[fx.Node], Sequence[int]]


def _of_convolution(program: Program, node: fx.Node, sizes: Sizes, kernel: int | None) -> int:
    per_group, *whole = sizes(argument(node, "weight"))[1:]
    area = prod(whole) if kernel is None else kernel ** len(whole)
    return prod(sizes(node)) * per_group * area


def _of_transposed(program: Program, node: fx.Node, sizes: Sizes, _: int | None) -> int:
    return prod(sizes(argument(node, "input"))) * prod(sizes(argument(node, "weight"))[1:])


def _of_product(name: str) -> Callable[..., int]:
    """Returns the formula of a product whose argument `name` is summed over along its last axis."""
    return lambda program, node, sizes, _: prod(sizes(node)) * sizes(argument(node, name))[-1]


def _of_attention(program: Program, node: fx.Node, sizes: Sizes, _: int | None) -> int:
    query, key, value = (sizes(argument(node, name)) for name in ("query", "key", "value"))
    return prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


TRANSPOSED: Final = frozenset({"conv_transpose1d", "conv_transpose2d", "conv_transpose3d"})
FLOPS: Final[Mapping[str, Callable[[Program, fx.Node, Sizes, int | None], int]]] = {
    "conv1d": _of_convolution,
    "conv2d": _of_convolution,
    "conv3d": _of_convolution,
    **dict.fromkeys(TRANSPOSED, _of_transposed),
    "linear": _of_product("input"),
    "addmm": _of_product("mat1"),
    "matmul": _of_product("self"),
    "bmm": _of_product("self"),
    "scaled_dot_product_attention": _of_attention,
}
