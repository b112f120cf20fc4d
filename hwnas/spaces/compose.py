"""Spaces from parts: a part names its operators and the parameters that are choices; shapes and scopes are derived.

    compose("mine", (3, 32, 32), 10, [
        place("stem", ConvBlock, channels=pick(16, 24), stride=2),
        place("body", MBConv, channels=32, kernel=pick(3, 5, 7), expansion=pick(3, 6), stride=2),
        place("head", PoolClassifier, features=128, classes=10),
    ])

has the choices `stem.channels`, `body.kernel` and `body.expansion`.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, final

from hwnas.core.choice import Choice, Condition, Option, only_if
from hwnas.core.choices import Choices
from hwnas.core.layer import Layer, Options
from hwnas.core.operator import Operator, Shape
from hwnas.core.references import cause, file_of
from hwnas.core.space import SearchSpace
from hwnas.core.wiring import Chain, Edge, Graph, Stage
from hwnas.errors import SpaceError, is_the_users

Maker = Callable[..., Operator | None]


@dataclass(frozen=True, slots=True)
class Place:
    """One layer: its operator is `make(input_shape=..., **parameters)`, or None; a parameter may be a choice."""

    name: str
    make: Maker
    parameters: Mapping[str, Any]
    entangled: bool = True


@dataclass(frozen=True, slots=True)
class Blocks:
    """Blocks in sequence; a depth choice keeps the first ones."""

    name: str
    depth: Choice
    blocks: tuple[tuple[Place, ...], ...]


@dataclass(frozen=True, slots=True)
class Cell:
    """A graph of places between nodes; no place changes the shape."""

    name: str
    edges: Mapping[tuple[int, int], Place]


def pick(*options: Option) -> Choice:
    """Returns a choice that is named after its place and parameter."""
    return Choice("", options)


def place(name: str, make: Maker, /, *, entangled: bool = True, **parameters: Any) -> Place:
    """Returns a layer whose operator `make` returns: an operator's class, or a function that returns an operator or None.

    A parameter is a value, a `pick(...)`, or a named `Choice` that several places share.
    """
    return Place(name, make, parameters, entangled)


def stage(name: str, depths: Sequence[int], block: Callable[[int], Place | Sequence[Place]]) -> Blocks:
    """Returns the blocks `block(1)`, `block(2)`, ...; the choice `NAME.depth` keeps the first ones.

    The picks of a block are switched on by the depths that keep the block.
    """
    depth = Choice(f"{name}.depth" if name else "depth", tuple(depths))
    blocks = [block(number) for number in range(1, max(depths) + 1)]
    return Blocks(name, depth, tuple((places,) if isinstance(places, Place) else tuple(places) for places in blocks))


def cell(name: str, edges: Mapping[tuple[int, int], Place]) -> Cell:
    """Returns a graph of places on edges (source, target) between nodes 0, 1, ...; a node sums its edges (`wiring.Graph`)."""
    return Cell(name, edges)


def compose(
    name: str,
    input_shape: Shape,
    classes: int,
    parts: Sequence[Place | Blocks | Cell],
    *,
    vocabulary: int | None = None,
    requires: Condition = (),
) -> SearchSpace:
    """Returns the space of the parts in sequence. Raises SpaceError where a place does not fit the shape of its input."""
    composer = _Composer(_Shapes((), {(): tuple(input_shape)}))
    wiring = Chain(tuple(composer.wired(part) for part in parts))
    return SearchSpace(
        name,
        Choices(composer.choices.values(), requires),
        wiring,
        tuple(input_shape),
        classes,
        vocabulary=vocabulary,
        requires=requires,
    )


@dataclass(frozen=True, slots=True)
class _Shapes:
    """The shape at one point of a network, by the options of the choices that decide the shape."""

    scope: tuple[str, ...]
    table: Mapping[tuple[Option, ...], Shape]

    def at(self, options: Options) -> Shape:
        return self.table[tuple(options[name] for name in self.scope)]


@dataclass(frozen=True, slots=True)
class _LookUp:
    """A layer's operators, by the options of its scope."""

    scope: tuple[str, ...]
    table: Mapping[tuple[Option, ...], Operator | None]

    def __call__(self, options: Options) -> Operator | None:
        return self.table[tuple(options[name] for name in self.scope)]


@final
@dataclass(slots=True)
class _Composer:
    """Visits the parts in order and keeps the shape after the last one."""

    shapes: _Shapes
    choices: dict[str, Choice] = field(default_factory=dict)

    def wired(self, part: Place | Blocks | Cell) -> Layer | Stage | Graph:
        if isinstance(part, Place):
            return self._layer(part)
        if isinstance(part, Cell):
            return self._graph(part)
        self._registered(part.depth)
        blocks = [self._block(part.depth, number, places) for number, places in enumerate(part.blocks, start=1)]
        return Stage(part.name, part.depth.name, tuple(blocks))

    def _block(self, depth: Choice, number: int, places: Sequence[Place]) -> Layer | Chain:
        keeping = tuple(option for option in depth.options if int(option) >= number)
        when = only_if({depth.name: keeping}) if keeping != depth.options else ()
        layers = tuple(self._layer(part, when) for part in places)
        return layers[0] if len(layers) == 1 else Chain(layers)

    def _graph(self, part: Cell) -> Graph:
        input_shapes, edges = self.shapes, []
        for (source, target), edge in part.edges.items():
            self.shapes = input_shapes
            edges.append(Edge(source, target, self._layer(edge)))
        self.shapes = input_shapes
        return Graph(part.name, tuple(edges))

    def _layer(self, part: Place, when: Condition = ()) -> Layer:
        """Returns the layer of a place, empty where `when` (no clause, or one literal) does not hold."""
        parameters = {
            key: self._registered(self._named(value, f"{part.name}.{key}", when))
            if isinstance(value, Choice)
            else value
            for key, value in part.parameters.items()
        }
        chosen = [value.name for value in parameters.values() if isinstance(value, Choice)]
        gates = [name for clause in when for name, _ in clause]
        scope = tuple(dict.fromkeys([*gates, *self.shapes.scope, *chosen]))
        operators: dict[tuple[Option, ...], Operator | None] = {}
        shapes: dict[tuple[Option, ...], Shape] = {}
        for cell in itertools.product(*(self.choices[name].options for name in scope)):
            options = dict(zip(scope, cell, strict=True))
            shapes[cell] = self.shapes.at(options)
            if any(options[name] not in allowed for clause in when for name, allowed in clause):
                operators[cell] = None
                continue
            values = {key: options[v.name] if isinstance(v, Choice) else v for key, v in parameters.items()}
            operators[cell] = operator = _made(part, shapes[cell], values)
            shapes[cell] = shapes[cell] if operator is None else tuple(operator.output_shape)
        self.shapes = _Shapes(*_minimal(scope, shapes))
        deciding, table = _minimal(scope, operators)
        return Layer(part.name, deciding, _LookUp(deciding, table), part.entangled)

    def _named(self, choice: Choice, name: str, when: Condition) -> Choice:
        return choice if choice.name else replace(choice, name=name, when=when)

    def _registered(self, choice: Choice) -> Choice:
        known = self.choices.setdefault(choice.name, choice)
        if known != choice:
            raise SpaceError(
                f"two choices are called {choice.name!r}: one of {_listed(known)}, and one of {_listed(choice)}; rename one of "
                "them, or the place that it stands in"
            )
        return known


def _listed(choice: Choice) -> str:
    """Returns the options of a choice, and what switches it on, as people write them."""
    return ", ".join(map(repr, choice.options)) + ("" if not choice.when else " (switched on by others)")


def _made(part: Place, input_shape: Shape, parameters: Options) -> Operator | None:
    try:
        operator = part.make(input_shape=input_shape, **parameters)
        if operator is None:
            return None
        cost = operator.cost()
        sizes = (*operator.input_shape, *operator.output_shape, cost.flops + 1, cost.params + 1)
    except SpaceError as error:
        raise SpaceError(f"place {part.name!r}: {error}") from error
    except BaseException as error:
        if is_the_users(error):
            raise SpaceError(f"place {part.name!r}: {cause(error, _file(part.make))}") from error
        raise
    if not all(isinstance(size, int) and size >= 1 for size in sizes):
        raise SpaceError(f"place {part.name!r}: {operator.key} has sizes that are not whole numbers of at least 1")
    return operator


def _file(make: Maker) -> str:
    """Returns the file that defines the operator that `make` returns."""
    while isinstance(make, partial):
        make = make.func
    return file_of(getattr(make, "__module__", ""))


def _minimal(
    scope: tuple[str, ...], table: Mapping[tuple[Option, ...], Any]
) -> tuple[tuple[str, ...], dict[tuple[Option, ...], Any]]:
    """Returns the scope and table without the choices that never change the table's values."""
    for axis in reversed(range(len(scope))):
        smaller: dict[tuple[Option, ...], Any] = {}
        for cell, value in table.items():
            if smaller.setdefault(cell[:axis] + cell[axis + 1 :], value) != value:
                break
        else:
            scope, table = scope[:axis] + scope[axis + 1 :], smaller
    return scope, dict(table)
