"""Wiring: how layers are joined into a network, as values.

One interpreter, `run`, sends values of any kind through a network: shapes, tensors, nodes of a graph.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Protocol, TypeVar

from hwnas.core.layer import Layer
from hwnas.errors import SpaceError

T = TypeVar("T")


class Flow(Protocol[T]):
    """The operations of a network on values of one kind."""

    def layer(self, layer: Layer, value: T) -> T | None:
        """Returns the layer's output for an input, or None where the layer is empty."""

    def total(self, graph: str, source: T, terms: Sequence[T]) -> T:
        """Returns the sum of the terms at a node of a graph whose input is `source`; zeros like `source` without terms."""

    # Flows of several architectures at once override the methods below; for one architecture the defaults are right.

    def edge(self, layer: Layer, value: T) -> T | None:
        """Returns what `layer` returns, for an edge of a graph: an empty edge adds nothing instead of passing its input."""
        return self.layer(layer, value)

    def within(self, depth: str, number: int) -> "Flow[T]":
        """Returns the flow inside block `number` (from 1) of a stage, restricted to the depths that keep the block."""
        return self

    def ended(self, depth: str, values: Sequence[T]) -> T:
        """Returns the output of a stage from `values`: the stage's input, then the output after each block."""
        return values[-1]


@dataclass(frozen=True, slots=True)
class Alive:
    """A layer, and the number of values alive at the same time, each freed after its last use.

    `beside` counts the values alive while the layer runs, besides those it holds itself; the layer's input counts where
    another layer reads it later. `added` counts the values alive, the layer's output among them, while the output is
    added to the sum at its node; 0 where the output is the node's first term.
    """

    layer: Layer
    beside: int = 0
    added: int = 0


@dataclass(frozen=True, slots=True)
class Chain:
    """Parts in sequence. An empty layer passes its input on."""

    parts: tuple["Part", ...]

    def layers(self) -> Iterator[Layer]:
        """Yields all layers in the order in which data passes them."""
        for part in self.parts:
            if isinstance(part, Layer):
                yield part
            else:
                yield from part.layers()

    def alive(self) -> Iterator["Alive"]:
        """Yields all layers with the numbers of values alive beside them."""
        for part in self.parts:
            if isinstance(part, Layer):
                yield Alive(part)
            else:
                yield from part.alive()

    def meetings(self) -> Iterator[tuple[Layer, Layer]]:
        """Yields pairs of layers where one reads the other's output, or both outputs are added up.

        No pair crosses the border of a graph. No layer counts as empty.
        """
        sequence = list(units(self.parts))
        for unit in sequence:
            if isinstance(unit, Graph):
                yield from unit.meetings()
        for first, second in pairwise(sequence):
            if isinstance(first, Layer) and isinstance(second, Layer):
                yield first, second

    def outline(self) -> list[Any]:
        """Returns how the layers, by name, are joined; fit for JSON."""
        return ["chain", *(part.name if isinstance(part, Layer) else part.outline() for part in self.parts)]

    def run(self, value: T, flow: Flow[T]) -> T:
        """Returns the output for an input."""
        for part in self.parts:
            if isinstance(part, Layer):
                output = flow.layer(part, value)
                value = value if output is None else output
            else:
                value = part.run(value, flow)
        return value


@dataclass(frozen=True, slots=True)
class Stage:
    """Blocks in sequence. The choice `depth`, whose options are numbers of blocks, keeps the first ones.

    The layers of a block have the depth in their scopes and are empty where the depth drops the block. `depth` is recorded
    here for flows that mix outputs over depths.
    """

    name: str
    depth: str
    blocks: tuple["Part", ...]

    def layers(self) -> Iterator[Layer]:
        return Chain(self.blocks).layers()

    def alive(self) -> Iterator["Alive"]:
        return Chain(self.blocks).alive()

    def outline(self) -> list[Any]:
        return ["stage", self.depth, *Chain(self.blocks).outline()]

    def run(self, value: T, flow: Flow[T]) -> T:
        values = [value]
        for number, block in enumerate(self.blocks, start=1):
            values.append(Chain((block,)).run(values[-1], flow.within(self.depth, number)))
        return flow.ended(self.depth, values)


@dataclass(frozen=True, slots=True)
class Edge:
    """A layer between two nodes of a graph."""

    source: int
    target: int
    layer: Layer


@dataclass(frozen=True, slots=True)
class Graph:
    """A cell: layers on edges between nodes 0, 1, ...; a node is the sum of the outputs of its incoming edges.

    Node 0 is the input, the last node the output; edges go from lower to higher nodes. An empty layer adds nothing to the
    sum, and neither does an edge from a node without terms.
    """

    name: str
    edges: tuple[Edge, ...]

    def __post_init__(self) -> None:
        if not self.edges:
            raise SpaceError(f"graph {self.name!r} has no edges; add an edge from node 0 to the output")
        for edge in self.edges:
            if not 0 <= edge.source < edge.target:
                raise SpaceError(
                    f"graph {self.name!r}: an edge goes from {edge.source} to {edge.target}; number the nodes so that "
                    f"edges go from lower to higher"
                )

    def layers(self) -> Iterator[Layer]:
        for edge in self.edges:
            yield edge.layer

    def alive(self) -> Iterator["Alive"]:
        """Yields all layers with the numbers of values alive beside them; no edge counts as empty."""
        edges = sorted(self.edges, key=lambda edge: edge.target)  # the order of `run`
        for number, edge in enumerate(edges):
            terms = sum(other.target == edge.target for other in edges[:number])
            later = [other for other in edges[number + 1 :] if other.source < edge.target]
            needed = {other.source for other in later}
            needed_after = {other.source for other in later if other.target > edge.target}
            yield Alive(edge.layer, len(needed) + terms, len(needed_after) + terms + 2 if terms else 0)

    def meetings(self) -> Iterator[tuple[Layer, Layer]]:
        for number, edge in enumerate(self.edges):
            for other in self.edges[:number]:
                if edge.target == other.target or edge.source == other.target or edge.target == other.source:
                    yield other.layer, edge.layer

    def outline(self) -> list[Any]:
        return ["graph", *([edge.source, edge.target, edge.layer.name] for edge in self.edges)]

    def run(self, value: T, flow: Flow[T]) -> T:
        last = max(edge.target for edge in self.edges)
        nodes: dict[int, T] = {0: value}
        for node in range(1, last + 1):
            arriving = [edge for edge in self.edges if edge.target == node and edge.source in nodes]
            outputs = [flow.edge(edge.layer, nodes[edge.source]) for edge in arriving]
            terms = [output for output in outputs if output is not None]
            if terms or node == last:
                nodes[node] = flow.total(self.name, value, terms)
        return nodes[last]


Part = Layer | Chain | Stage | Graph


def with_layers(part: Part, changed: Callable[[Layer], Layer]) -> Any:
    """Returns a part of the same kind in which every layer is changed."""
    if isinstance(part, Layer):
        return changed(part)
    if isinstance(part, Graph):
        return replace(part, edges=tuple(replace(edge, layer=changed(edge.layer)) for edge in part.edges))
    if isinstance(part, Stage):
        return replace(part, blocks=tuple(with_layers(block, changed) for block in part.blocks))
    return Chain(tuple(with_layers(inner, changed) for inner in part.parts))


def units(parts: Sequence[Part]) -> Iterator[Layer | Graph]:
    """Yields layers and graphs in order, out of their chains and stages."""
    for part in parts:
        if isinstance(part, Chain):
            yield from units(part.parts)
        elif isinstance(part, Stage):
            yield from units(part.blocks)
        else:
            yield part
