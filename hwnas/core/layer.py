"""A layer: one place in a network, and its scope, the few choices that decide the operator there."""

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from hwnas.core.choice import Choice, Option
from hwnas.core.operator import Operator

Options = Mapping[str, Option]


@dataclass(frozen=True, slots=True)
class Layer:
    """A place in a network. `make` maps the options of the scope to an operator, or to None where the layer is empty.

    In a supernet, operators of one family share weights if the layer is `entangled`; otherwise no two operators share.
    """

    name: str
    scope: tuple[str, ...]
    make: Callable[[Options], Operator | None]
    entangled: bool = True

    def operator(self, arch: Options) -> Operator | None:
        """Returns the layer's operator in an architecture, None where the layer is empty."""
        return self.make({name: arch[name] for name in self.scope})

    def cells(self, choices: Mapping[str, Choice]) -> Iterator[tuple[tuple[int, ...], Operator | None]]:
        """Yields every combination of the scope's option indices with its operator."""
        ranges = [range(len(choices[name].options)) for name in self.scope]
        for index in itertools.product(*ranges):
            options = {name: choices[name].options[i] for name, i in zip(self.scope, index, strict=True)}
            yield index, self.make(options)
