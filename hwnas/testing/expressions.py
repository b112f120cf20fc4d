"""The expression that a network computes, in writing: two architectures are the same network where their expressions are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

from hwnas.core.choice import Option
from hwnas.core.layer import Layer
from hwnas.core.space import SearchSpace
from hwnas.core.wiring import Flow

# The parts of an expression: a layer or a graph, an operator's key, and the numbers of other expressions.
Expression = tuple[Any, ...]


# The key of what stands at a layer under some options of its scope; None where nothing stands.
Keys = dict[tuple[Any, ...], str | None]


def computed(space: SearchSpace, options: Mapping[str, Option], keys: Keys) -> list[Expression]:
    """Returns the expressions that the output is made of, numbered in their order. `keys` is filled on the way."""
    written = _Written(options, keys)
    last = space.wiring.run(-1, written)
    expressions = {number: parts for parts, number in written.known.items()}
    needed: set[int] = set()
    waiting = [last]
    while waiting:
        number = waiting.pop()
        if number in expressions and number not in needed:
            needed.add(number)
            waiting += [part for part in expressions[number] if isinstance(part, int)]
    # Expressions that the output does not need leave no trace in the numbers.
    order = {number: place for place, number in enumerate(sorted(needed))}
    return [tuple(order.get(p, p) if isinstance(p, int) else p for p in expressions[n]) for n in sorted(needed)]


@final
@dataclass(frozen=True)
class _Written(Flow[int]):
    """The flow of expressions: equal numbers stand for equal expressions."""

    options: Mapping[str, Option]
    keys: Keys
    known: dict[Expression, int] = field(default_factory=dict)

    def expression(self, *parts: object) -> int:
        return self.known.setdefault(parts, len(self.known))

    def layer(self, layer: Layer, value: int) -> int | None:
        place = (layer.name, *(self.options[name] for name in layer.scope))
        if place not in self.keys:
            operator = layer.operator(self.options)
            self.keys[place] = None if operator is None else operator.key
        key = self.keys[place]
        return None if key is None else self.expression(layer.name, key, value)

    def total(self, graph: str, source: int, terms: Sequence[int]) -> int:
        return self.expression(graph, *sorted(terms))
