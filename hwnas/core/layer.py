"""A layer: a place in the network, and the few choices (its scope) that decide which operator stands there."""

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from hwnas.core.choice import Choice, Option
from hwnas.core.operator import Operator

Options = Mapping[str, Option]


@dataclass(frozen=True, slots=True)
class Layer:
    """`make` gets the options of the scope, and nothing else, and returns the operator, or None where nothing stands.

    `entangled` operators of one family share weights in a supernet; otherwise each operator has its own.
    """

    name: str
    scope: tuple[str, ...]
    make: Callable[[Options], Operator | None]
    entangled: bool = True

    def operator(self, arch: Options) -> Operator | None:
        """The operator that stands here in an architecture."""
        return self.make({name: arch[name] for name in self.scope})

    def cells(self, choices: Mapping[str, Choice]) -> Iterator[tuple[tuple[int, ...], Operator | None]]:
        """Every combination of the scope's options, as indices, with its operator."""
        ranges = [range(len(choices[name].options)) for name in self.scope]
        for index in itertools.product(*ranges):
            options = {name: choices[name].options[i] for name, i in zip(self.scope, index, strict=True)}
            yield index, self.make(options)
