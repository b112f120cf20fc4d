"""A search space: choices, the layers they decide, the wiring that joins the layers, and the input's shape.

Shapes: N architectures, C choices. A row holds one option index per choice; a choice that is switched off has index 0.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, final

import numpy as np

from hwnas.core.arch import Arch
from hwnas.core.arrays import BoolArray, FloatArray, IntArray
from hwnas.core.choice import Argument, Choice, Condition, Option
from hwnas.core.choices import Choices
from hwnas.core.condition import in_words
from hwnas.core.costs import PEAK, cost_factors, peak_factors
from hwnas.core.factors import Factor, highest, total
from hwnas.core.html import html_table
from hwnas.core.layer import Layer
from hwnas.core.operator import Operator, Shape
from hwnas.core.optimum import minimise
from hwnas.core.wiring import Chain, Flow
from hwnas.errors import SpaceError

# A verb of `core/operations.py` and its arguments, fit for JSON.
Operation = tuple[Any, ...]


@dataclass(frozen=True, eq=False, repr=False)
class SearchSpace:
    """All architectures of one network family. Raises SpaceError where the parts do not fit together.

    `choices` may be any sequence of `Choice`; the space makes it `Choices` with the space's own `requires`, the condition
    that an architecture must meet to be drawn, profiled, searched, or the end of a range.

    `classes` is the length of the output's channel axis (`channels_of`). `vocabulary` is None for a float32
    input; for an input of token ids (int64) it is the number that all ids are below.

    `reference`, `options` and `operations` say how to make the space again: a built-in name or `FILE.py:FUNCTION`, its
    arguments, and the operations applied to the result (`core/operations.py`). `notes` say what users of the
    space should know. `image_moments` say how images must be normalised for trained weights (`data/options.py`); empty
    where any way will do.
    """

    name: str
    choices: Choices
    wiring: Chain
    input_shape: Shape
    classes: int
    vocabulary: int | None = None
    requires: Condition = ()
    reference: str = ""
    options: Mapping[str, Argument] = field(default_factory=dict)
    operations: tuple[Operation, ...] = ()
    notes: tuple[str, ...] = ()
    image_moments: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.choices, Choices) or self.choices.requires != self.requires:
            object.__setattr__(self, "choices", Choices(self.choices, self.requires))
        # Networks write dots in names as underscores.
        names = [layer.name.replace(".", "_") for layer in self.layers]
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise SpaceError(f"space {self.name!r} has two layers called {twice!r}; rename one")
        for layer in self.layers:
            for name in layer.scope:
                if name not in self.by_name:
                    raise SpaceError(
                        f"layer {layer.name!r} depends on {name!r}, which is not a choice of {self.name!r}"
                    )
        for row in self.sample_rows(np.random.default_rng(0), 16):
            self._require_output(self._output_of(self.decode(row)))

    def __repr__(self) -> str:
        sizes = " x ".join(map(str, self.input_shape))
        return (
            f"<SearchSpace {self.name}: {self.size:,} architectures, {len(self.choices)} choices, input {sizes}, "
            f"output {' x '.join(map(str, self.output_shape))}>"
        )

    def _repr_html_(self) -> str:
        """Returns the choices as a table, for notebooks."""
        rows = [(choice.name, ", ".join(map(str, choice.options)), in_words(choice.when)) for choice in self.choices]
        return html_table(repr(self), ("choice", "options", "when"), rows)

    def _require_output(self, shape: Shape) -> None:
        if channels_of(shape) != self.classes:
            raise SpaceError(f"space {self.name!r}: the output has shape {shape}, for {self.classes} classes")
        if shape != self.output_shape:
            raise SpaceError(
                f"space {self.name!r}: networks give outputs of shapes {self.output_shape} and {shape}; let every "
                f"architecture give one shape"
            )

    # ---- parts

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The layers in the order in which data passes them."""
        return tuple(self.wiring.layers())

    @cached_property
    def output_shape(self) -> Shape:
        """The shape of every network's output without the batch axis: (K,), (L, K) or (K, H, W)."""
        return self._output_of(self.sample(np.random.default_rng(0)))

    def _output_of(self, arch: Arch) -> Shape:
        return self.wiring.run(tuple(self.input_shape), _Shapes(self, arch))

    def operators(self) -> dict[str, Operator]:
        """Returns every distinct operator that can occur, by key."""
        return {key: operator for key, (_, operator) in self.placed_operators().items()}

    def placed_operators(self) -> dict[str, tuple[str, Operator]]:
        """Returns every distinct operator that can occur, by key, with the name of the first layer where it can stand."""
        placed: dict[str, tuple[str, Operator]] = {}
        for layer in self.layers:
            for _, operator in layer.cells(self.by_name):
                if operator is not None:
                    placed.setdefault(operator.key, (layer.name, operator))
        return placed

    @cached_property
    def is_trained(self) -> bool:
        """True where new networks of the space have trained weights: it is made of a trained network (`elastic/space.py`)."""
        return any(operator.is_trained for operator in self.operators().values())

    @cached_property
    def fingerprint(self) -> str:
        """A hash that changes when a choice, an option or an operator changes. Runs, tables and predictors store it."""
        facts = {
            "input": (self.input_shape, self.vocabulary),
            "classes": self.classes,
            "wiring": self.wiring.outline(),
            "choices": [(choice.name, choice.options, choice.when, choice.tied_to) for choice in self.choices],
            "requires": self.requires,
            "layers": [
                (layer.name, layer.entangled, [operator and operator.key for _, operator in layer.cells(self.by_name)])
                for layer in self.layers
            ],
        }
        return hashlib.blake2s(json.dumps(facts).encode()).hexdigest()[:16]

    def describe(self) -> dict[str, Any]:
        """Returns the facts that files store: how to make the space again, and the fingerprint to check it by."""
        return {
            "reference": self.reference,
            "options": dict(self.options),
            "operations": [list(operation) for operation in self.operations],
            "fingerprint": self.fingerprint,
        }

    # ---- choices, architectures and rows: the arithmetic is that of `Choices`

    @property
    def by_name(self) -> Mapping[str, Choice]:
        """The choices by name."""
        return self.choices.by_name

    @property
    def columns(self) -> Mapping[str, int]:
        """The column of each choice in a row."""
        return self.choices.columns

    @property
    def size(self) -> int:
        """The exact number of different (normalised) architectures."""
        return self.choices.size

    def choice(self, name: str) -> Choice:
        """Returns the choice of a name. Raises KeyError."""
        return self.choices.by_name[name]

    def normalise(self, rows_NC: IntArray) -> IntArray:
        """Returns rows in which equal architectures are equal rows; shape (N, C)."""
        return self.choices.normalise(rows_NC)

    def decode(self, row_C: Sequence[int] | IntArray) -> Arch:
        """Returns the architecture of a row of option indices."""
        return self.choices.decode(row_C)

    def encode(self, archs: Iterable[Mapping[str, Option]]) -> IntArray:
        """Returns normalised rows; shape (N, C). Raises ArchError for a missing choice or an unknown option."""
        return self.choices.encode(archs)

    def arch(self, options: Mapping[str, Option]) -> Arch:
        """Returns the architecture of a mapping that may leave out switched-off choices. Raises ArchError."""
        return self.choices.arch(options)

    def meets_requirements(self, rows_NC: IntArray) -> BoolArray:
        """Returns True where `requires` holds; shape (N,)."""
        return self.choices.meets_requirements(rows_NC)

    def sample_rows(self, rng: np.random.Generator, count: int) -> IntArray:
        """Draws every option with equal probability and normalises; shape (count, C)."""
        return self.choices.sample_rows(rng, count)

    def spread_rows(self, rng: np.random.Generator, count: int) -> IntArray:
        """Draws normalised rows that spread from small to large networks; shape (count, C)."""
        return self.choices.spread_rows(rng, count)

    def sample(self, rng: np.random.Generator) -> Arch:
        """Draws one architecture, every option of every choice with equal probability."""
        return self.choices.sample(rng)

    # ---- costs

    @cached_property
    def _cost_factors(self) -> dict[str, tuple[Factor, ...]]:
        return {}

    def cost_factors(self, name: str) -> tuple[Factor, ...]:
        """Returns the factors of `flops`, `params` or `bytes`. Raises SpaceError for `peak`, which is not a sum."""
        if name not in self._cost_factors:
            self._cost_factors[name] = cost_factors(self.layers, self.choices, name)
        return self._cost_factors[name]

    @cached_property
    def peak_factors(self) -> tuple[Factor, ...]:
        """The factors whose highest cell is `peak`."""
        return peak_factors(self.wiring, self.choices)

    def costs(self, name: str, rows_NC: IntArray) -> FloatArray:
        """Returns a cost of each architecture; shape (N,).

        `flops`, `params`, `bytes` (weights and statistics) or `peak` (most bytes of activations alive at once).
        """
        if name == PEAK:
            return highest(self.peak_factors, rows_NC, self.columns)
        return total(self.cost_factors(name), rows_NC, self.columns)

    def cost(self, name: str, arch: Arch) -> int:
        """Returns one of `costs` for one architecture."""
        return int(self.costs(name, self.encode([arch]))[0])

    def smallest(self) -> Arch:
        """Returns the architecture with the fewest FLOPs; choices that change no FLOPs take their first option."""
        return self._plain(minimise(self.choices, self.cost_factors("flops")))

    def largest(self) -> Arch:
        """Returns the architecture with the most FLOPs; choices that change no FLOPs take their first option."""
        negated = [Factor(factor.name, factor.scope, -factor.values) for factor in self.cost_factors("flops")]
        return self._plain(minimise(self.choices, negated))

    def _plain(self, arch: Arch) -> Arch:
        """Returns the architecture with the first option of every choice that neither FLOPs nor a condition depend on."""
        factors = self.cost_factors("flops")
        kept = {name for one in factors for axis, name in enumerate(one.scope) if np.ptp(one.values, axis).any()}
        conditions = [self.requires, *(choice.when for choice in self.choices)]
        kept |= {name for condition in conditions for clause in condition for name, _ in clause}
        kept |= {choice.tied_to for choice in self.choices if choice.name in kept}
        first = {choice.name: choice.options[0] for choice in self.choices if choice.name not in kept}
        return self.decode(self.encode([{**arch, **first}])[0])


def channels_of(output_shape: Shape) -> int:
    """Returns the length of an output's channel axis: the first axis of maps (K, H, W), else the last. 0 without axes.

    >>> channels_of((10,)), channels_of((64, 128)), channels_of((11, 32, 32))
    (10, 128, 11)
    """
    if len(output_shape) == 3:
        return output_shape[0]
    return output_shape[-1] if output_shape else 0


@final
@dataclass(frozen=True, slots=True)
class _Shapes(Flow[Shape]):
    """The flow of shapes through one architecture. Raises SpaceError where shapes do not fit."""

    space: SearchSpace
    arch: Arch

    def layer(self, layer: Layer, value: Shape) -> Shape | None:
        operator = layer.operator(self.arch)
        if operator is None:
            return None
        if tuple(operator.input_shape) != tuple(value):
            raise SpaceError(
                f"space {self.space.name!r}: layer {layer.name!r} takes {tuple(operator.input_shape)}, "
                f"but its input has shape {tuple(value)}"
            )
        return tuple(operator.output_shape)

    def total(self, graph: str, source: Shape, terms: Sequence[Shape]) -> Shape:
        if len(set(terms)) > 1:
            raise SpaceError(f"space {self.space.name!r}: graph {graph!r} adds up shapes {sorted(set(terms))}")
        return terms[0] if terms else source
