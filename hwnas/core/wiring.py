"""Wiring: how layers are joined into a network. Values only.

There is one interpreter, `run`, for everything that flows through a network: shapes, tensors, nodes of a graph.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol, TypeVar

from hwnas.core.layer import Layer
from hwnas.errors import SpaceError

T = TypeVar("T")


class Flow(Protocol[T]):
    """What a network does with values of one kind."""

    def layer(self, layer: Layer, value: T) -> T | None:
        """The layer's output for an input, or None where nothing stands there."""

    def total(self, graph: str, source: T, terms: Sequence[T]) -> T:
        """The sum of what arrives at a node of a graph whose input is `source`; zeros like it where nothing does."""

    # What follows is for flows of several architectures at once; in one, it is what it is.

    def edge(self, layer: Layer, value: T) -> T | None:
        """As `layer`, on an edge of a graph, where nothing comes of nothing."""
        return self.layer(layer, value)

    def within(self, depth: str, number: int) -> "Flow[T]":
        """The flow inside block `number` (from 1) of a stage, for the depths that keep it."""
        return self

    def ended(self, depth: str, values: Sequence[T]) -> T:
        """The output of a stage whose input, and outputs after each block, are `values`."""
        return values[-1]


@dataclass(frozen=True, slots=True)
class Alive:
    """A layer, and how many values are alive `beside` what it holds itself while it runs, and how many, its output among
    them, while that is `added` to what arrived at its node before (0: nothing did). A value is freed after its last use;
    a layer's input counts as beside it where another layer takes it later."""

    layer: Layer
    beside: int = 0
    added: int = 0


@dataclass(frozen=True, slots=True)
class Chain:
    """Parts in sequence. A layer where nothing stands is passed by."""

    parts: tuple["Part", ...]

    def layers(self) -> Iterator[Layer]:
        """All layers in the order in which data passes them."""
        for part in self.parts:
            if isinstance(part, Layer):
                yield part
            else:
                yield from part.layers()

    def alive(self) -> Iterator["Alive"]:
        """All layers with the values that are alive beside them."""
        for part in self.parts:
            if isinstance(part, Layer):
                yield Alive(part)
            else:
                yield from part.alive()

    def meetings(self) -> Iterator[tuple[Layer, Layer]]:
        """Pairs of layers of which one takes what the other gives, or whose outputs are added up; none across a graph's
        border, and as if something stood everywhere."""
        found = list(units(self.parts))
        for unit in found:
            if isinstance(unit, Graph):
                yield from unit.meetings()
        for first, second in pairwise(found):
            if isinstance(first, Layer) and isinstance(second, Layer):
                yield first, second

    def outline(self) -> list[Any]:
        """How the layers, by name, are joined; fit for JSON."""
        return ["chain", *(part.name if isinstance(part, Layer) else part.outline() for part in self.parts)]

    def run(self, value: T, flow: Flow[T]) -> T:
        """The output for an input."""
        for part in self.parts:
            if isinstance(part, Layer):
                output = flow.layer(part, value)
                value = value if output is None else output
            else:
                value = part.run(value, flow)
        return value


@dataclass(frozen=True, slots=True)
class Stage:
    """Blocks in sequence, of which a depth choice (options: numbers of blocks) keeps the first ones.

    The blocks themselves decide whether they stand; that it is the depth that decides is recorded for what mixes outputs
    over depths.
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
    """A cell: layers on edges between nodes 0, 1, ...; a node is the sum of what its edges bring.

    Node 0 is the input, the last node the output; edges go from lower to higher nodes. A layer where nothing stands
    brings nothing, and so does an edge from a node at which nothing arrives.
    """

    name: str
    edges: tuple[Edge, ...]

    def __post_init__(self) -> None:
        if not self.edges:
            raise SpaceError(f"graph {self.name!r} has no edges; give it one from node 0 to the output at least")
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
        """As if something stood on every edge."""
        edges = sorted(self.edges, key=lambda edge: edge.target)  # as `run` takes them
        for number, edge in enumerate(edges):
            arrived = sum(other.target == edge.target for other in edges[:number])
            later = [other for other in edges[number + 1 :] if other.source < edge.target]
            waiting = {other.source for other in later}
            left = {other.source for other in later if other.target > edge.target}
            yield Alive(edge.layer, len(waiting) + arrived, len(left) + arrived + 2 if arrived else 0)

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


def units(parts: Sequence[Part]) -> Iterator[Layer | Graph]:
    """Layers and graphs in their order, whatever chains and stages they are in."""
    for part in parts:
        if isinstance(part, Chain):
            yield from units(part.parts)
        elif isinstance(part, Stage):
            yield from units(part.blocks)
        else:
            yield part
