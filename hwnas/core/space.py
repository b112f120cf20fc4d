"""A search space: choices, the layers they decide, the wiring that joins the layers, and the input's shape.

Shapes: N architectures, C choices. A row holds the index of an option per choice; a switched-off choice has index 0.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, final

import numpy as np

from hwnas.core.arch import Arch
from hwnas.core.arrays import BoolArray, FloatArray, IntArray
from hwnas.core.choice import Argument, Choice, Condition, Option
from hwnas.core.costs import PEAK, cost_factors, peak_factors
from hwnas.core.expectation import holds
from hwnas.core.factors import Factor, highest, total
from hwnas.core.layer import Layer
from hwnas.core.operator import Operator, Shape
from hwnas.core.wiring import Chain, Flow
from hwnas.errors import ArchError, SpaceError

# A verb of `core/operations.py` and its arguments, fit for JSON.
Operation = tuple[Any, ...]

# Times that architectures are drawn anew where few meet the requirements.
DRAWS: Final = 1000


@dataclass(frozen=True, eq=False)
class SearchSpace:
    """`classes` is the length of the output's channel axis (`channels_of`). `vocabulary` is None where the input is float32;
    where the input is token ids (int64), all ids are below `vocabulary`.

    `requires` is what an architecture must hold to be drawn, profiled, searched, or the end of a range; the others can
    be encoded and looked up, but make no network worth having.

    `reference`, `options` and `operations` say how to make it again: a built-in name or `FILE.py:FUNCTION`, its
    arguments, and what was done to the result (`core/operations.py`).
    """

    name: str
    choices: tuple[Choice, ...]
    wiring: Chain
    input_shape: Shape
    classes: int
    vocabulary: int | None = None
    requires: Condition = ()
    reference: str = ""
    options: Mapping[str, Argument] = field(default_factory=dict)
    operations: tuple[Operation, ...] = ()

    def __post_init__(self) -> None:
        names = [choice.name for choice in self.choices]
        if len(set(names)) != len(names):
            raise SpaceError(f"space {self.name!r} has two choices of one name: {_twice(names)}")
        # Networks write dots in names as underscores.
        layers = [layer.name.replace(".", "_") for layer in self.layers]
        if len(set(layers)) != len(layers):
            raise SpaceError(f"space {self.name!r} has two layers of one name: {_twice(layers)}")
        for layer in self.layers:
            for name in layer.scope:
                if name not in self.by_name:
                    raise SpaceError(
                        f"layer {layer.name!r} depends on {name!r}, which is not a choice of {self.name!r}"
                    )
        for choice in self.choices:
            self._require_possible(f"choice {choice.name!r} is switched on", choice.when)
            if choice.tied_to and self._leader(choice).options != choice.options:
                raise SpaceError(f"choice {choice.name!r} is tied to {choice.tied_to!r}, which has other options")
        self._require_possible(f"space {self.name!r} draws architectures", self.requires)

        # Sampled, because conditions may refer to each other in circles that only values can judge.
        rows = self.sample_rows(np.random.default_rng(0), 256)
        again = self._tied(rows)
        stable = all(
            np.array_equal(self._holds(choice.when, rows), self._holds(choice.when, again)) for choice in self.choices
        )
        if not stable or not np.array_equal(rows, self.normalise(rows)):
            raise SpaceError(
                f"space {self.name!r}: switching choices off switches others; a choice that depends on a conditional "
                f"one must name what that depends on, too"
            )
        for row in rows[:16]:
            self._require_output(self._output_of(self.decode(row)))

    def _require_output(self, shape: Shape) -> None:
        if channels_of(shape) != self.classes:
            raise SpaceError(f"space {self.name!r}: the output has shape {shape}, for {self.classes} classes")
        if shape != self.output_shape:
            raise SpaceError(
                f"space {self.name!r}: networks give outputs of shapes {self.output_shape} and {shape}; let every "
                f"architecture give one shape"
            )

    def _require_possible(self, what: str, condition: Condition) -> None:
        for name, options in (literal for clause in condition for literal in clause):
            if name not in self.by_name or not set(options) <= set(self.by_name[name].options):
                raise SpaceError(f"{what} by {name!r} in {options}, which cannot be")

    def _leader(self, choice: Choice) -> Choice:
        """The choice that another is tied to. Raises SpaceError where there is none, or that is tied itself."""
        leader = self.by_name.get(choice.tied_to)
        if leader is None or leader.tied_to:
            raise SpaceError(f"choice {choice.name!r} is tied to {choice.tied_to!r}, which is no choice of its own")
        return leader

    # ---- what it consists of

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        return tuple(self.wiring.layers())

    @cached_property
    def by_name(self) -> Mapping[str, Choice]:
        return {choice.name: choice for choice in self.choices}

    @cached_property
    def columns(self) -> Mapping[str, int]:
        """The column of each choice in a row."""
        return {choice.name: column for column, choice in enumerate(self.choices)}

    @cached_property
    def output_shape(self) -> Shape:
        """The shape of every network's output without the batch axis: (K,), (L, K) or (K, H, W)."""
        return self._output_of(self.sample(np.random.default_rng(0)))

    def _output_of(self, arch: Arch) -> Shape:
        return self.wiring.run(tuple(self.input_shape), _Shapes(self, arch))

    def choice(self, name: str) -> Choice:
        return self.by_name[name]

    def operators(self) -> dict[str, Operator]:
        """Every distinct operator that can occur, by key."""
        cells = (operator for layer in self.layers for _, operator in layer.cells(self.by_name))
        return {operator.key: operator for operator in cells if operator is not None}

    @cached_property
    def fingerprint(self) -> str:
        """Changes when a choice, an option or an operator changes: what runs, tables and predictors are checked against."""
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
        """What files store of a space: how to make it again, and the fingerprint to check it by."""
        return {
            "reference": self.reference,
            "options": dict(self.options),
            "operations": [list(operation) for operation in self.operations],
            "fingerprint": self.fingerprint,
        }

    # ---- architectures and rows

    def normalise(self, rows_NC: IntArray) -> IntArray:
        """Tied choices as what they are tied to, switched-off choices at index 0: equal networks become equal rows."""
        tied_NC = self._tied(rows_NC)
        result = tied_NC.copy()
        for column, choice in enumerate(self.choices):
            if choice.when:
                result[~self._holds(choice.when, tied_NC), column] = 0
        return result

    def _tied(self, rows_NC: IntArray) -> IntArray:
        result = np.array(rows_NC)
        for column, choice in enumerate(self.choices):
            if choice.tied_to:
                result[:, column] = result[:, self.columns[choice.tied_to]]
        return result

    def _holds(self, condition: Condition, rows_NC: IntArray) -> BoolArray:
        """Whether any clause of a condition holds; shape (N,). An empty condition always does."""
        found = holds(condition, {name: rows_NC[:, column] for name, column in self.columns.items()}, self.by_name)
        return np.broadcast_to(found, len(rows_NC))

    def meets_requirements(self, rows_NC: IntArray) -> BoolArray:
        """True where `requires` holds; shape (N,)."""
        return self._holds(self.requires, rows_NC)

    def decode(self, row: Sequence[int] | IntArray) -> Arch:
        """The architecture of a row of option indices."""
        (normal,) = self.normalise(np.asarray(row, dtype=np.int64)[None])
        return Arch({choice.name: choice.options[i] for choice, i in zip(self.choices, normal, strict=True)})

    def encode(self, archs: Iterable[Mapping[str, Option]]) -> IntArray:
        """Rows of option indices, normalised; shape (N, C). Raises ArchError for a name or option the space lacks."""
        rows = [[self._index(choice, arch) for choice in self.choices] for arch in archs]
        return self.normalise(np.array(rows, dtype=np.int64).reshape(len(rows), len(self.choices)))

    def _index(self, choice: Choice, arch: Mapping[str, Option]) -> int:
        try:
            return choice.options.index(arch[choice.name])
        except KeyError:
            raise ArchError(f"the architecture says nothing of {choice.name!r} ({self.name} needs it)") from None
        except ValueError:
            raise ArchError(f"{choice.name!r} cannot be {arch[choice.name]!r}; options: {choice.options}") from None

    def arch(self, options: Mapping[str, Option]) -> Arch:
        """An architecture from a mapping that may leave out what is switched off. Raises ArchError."""
        if not isinstance(options, Mapping):
            raise ArchError(f"an architecture is an object of choice names and options, not {options!r}")
        unknown = sorted(set(options) - set(self.by_name))
        if unknown:
            raise ArchError(f"{self.name} has no choice {unknown[0]!r}; it has {', '.join(self.by_name)}")
        filled = {choice.name: options.get(choice.name, choice.options[0]) for choice in self.choices}
        # A larger space may have had another first option for what is switched off.
        off = {choice.name for choice in self.choices if choice.when and filled[choice.name] not in choice.options}
        (row,) = self.encode([filled | {name: self.by_name[name].options[0] for name in off}])
        arch = self.decode(row)
        for choice in self.choices:
            if not self._holds(choice.when, row[None])[0]:
                continue
            if choice.name not in options and not choice.tied_to:
                raise ArchError(f"the architecture says nothing of {choice.name!r}, which is switched on")
            if choice.name in off:
                self._index(choice, options)  # raises
            if choice.tied_to and options.get(choice.name, arch[choice.name]) != arch[choice.name]:
                raise ArchError(f"{choice.name!r} cannot be {options[choice.name]!r}: it is tied to {choice.tied_to!r}")
        return arch

    def sample_rows(self, rng: np.random.Generator, count: int) -> IntArray:
        """Rows with every option of every choice equally likely, normalised; shape (count, C)."""
        sizes = [len(choice.options) for choice in self.choices]
        return self._drawn(lambda: rng.integers(0, sizes, size=(count, len(sizes))), count)

    def spread_rows(self, rng: np.random.Generator, count: int) -> IntArray:
        """Rows from small to large, normalised; shape (count, C): each draws its own bias towards first or last options.

        Independent draws crowd around the middle of the range of any additive cost, where few of a front's points are.
        """
        sizes = np.array([len(choice.options) for choice in self.choices], dtype=np.int64)
        # Both ends are as likely as the whole middle: extremes are what extrapolation gets wrong.
        return self._drawn(lambda: rng.binomial(sizes - 1, rng.beta(0.5, 0.5, (count, 1)), (count, len(sizes))), count)

    def _drawn(self, draw: Callable[[], IntArray], count: int) -> IntArray:
        """`count` normalised rows that meet the requirements."""
        rows_NC = self.normalise(draw())
        if not self.requires or count == 0:
            return rows_NC
        kept = [rows_NC[self.meets_requirements(rows_NC)]]
        for _ in range(DRAWS):
            if sum(map(len, kept)) >= count:
                return np.concatenate(kept)[:count]
            rows_NC = self.normalise(draw())
            kept.append(rows_NC[self.meets_requirements(rows_NC)])
        raise SpaceError(f"space {self.name!r}: hardly any architecture meets its requirements {self.requires}")

    def sample(self, rng: np.random.Generator) -> Arch:
        """One architecture with every option of every choice equally likely."""
        return self.decode(self.sample_rows(rng, 1)[0])

    @cached_property
    def size(self) -> int:
        """The number of different (normalised) architectures, counted exactly."""
        return math.prod(self._count(group) for group in self._independent_groups())

    def _independent_groups(self) -> list[list[Choice]]:
        """Choices that are linked by conditions, however indirectly, together."""
        group_of = {name: {name} for name in self.by_name}
        for choice in self.choices:
            linked = [name for clause in choice.when for name, _ in clause]
            for name in [*linked, choice.tied_to] if choice.tied_to else linked:
                merged = group_of[choice.name] | group_of[name]
                for member in merged:
                    group_of[member] = merged
        groups = {id(group): group for group in group_of.values()}
        return [[choice for choice in self.choices if choice.name in group] for group in groups.values()]

    def _count(self, group: Sequence[Choice]) -> int:
        """Enumerates the choices that conditions mention; the others multiply by their options where they are on."""
        mentioned = {name for choice in group for clause in choice.when for name, _ in clause}
        mentioned |= {choice.tied_to for choice in group if choice.name in mentioned and choice.tied_to}
        controls = [choice for choice in group if choice.name in mentioned]
        sizes = [len(choice.options) for choice in controls]
        rows = np.zeros((math.prod(sizes), len(self.choices)), dtype=np.int64)
        columns = [self.columns[choice.name] for choice in controls]
        rows[:, columns] = np.indices(sizes).reshape(len(sizes), len(rows)).T
        rows = np.unique(self.normalise(rows), axis=0)
        counts = np.ones(len(rows), dtype=object)
        for choice in group:
            if choice.name not in mentioned and not choice.tied_to:
                counts *= np.where(self._holds(choice.when, rows), len(choice.options), 1).astype(object)
        return int(counts.sum())

    # ---- costs

    @cached_property
    def _cost_factors(self) -> dict[str, tuple[Factor, ...]]:
        return {}

    def cost_factors(self, name: str) -> tuple[Factor, ...]:
        """The factors of `flops`, `params` or `bytes`. Raises SpaceError for `peak`, which is no sum."""
        if name not in self._cost_factors:
            self._cost_factors[name] = cost_factors(self, name)
        return self._cost_factors[name]

    @cached_property
    def peak_factors(self) -> tuple[Factor, ...]:
        """The highest cell of these is `peak`."""
        return peak_factors(self)

    def costs(self, name: str, rows_NC: IntArray) -> FloatArray:
        """`flops`, `params`, `bytes` (of weights and statistics) or `peak` (bytes of activations alive at once) of each
        architecture; shape (N,)."""
        if name == PEAK:
            return highest(self.peak_factors, rows_NC, self.columns)
        return total(self.cost_factors(name), rows_NC, self.columns)

    def cost(self, name: str, arch: Arch) -> int:
        """One of `costs` of one architecture."""
        return int(self.costs(name, self.encode([arch]))[0])

    def smallest(self) -> Arch:
        """The architecture with the fewest FLOPs."""
        from hwnas.core.optimum import minimise  # scipy is loaded where it is needed

        return minimise(self, self.cost_factors("flops"))

    def largest(self) -> Arch:
        """The architecture with the most FLOPs."""
        from hwnas.core.optimum import minimise

        negated = [Factor(factor.name, factor.scope, -factor.values) for factor in self.cost_factors("flops")]
        return minimise(self, negated)


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
    """The flow of shapes through one architecture. Raises SpaceError where they do not fit."""

    space: SearchSpace
    arch: Arch

    def layer(self, layer: Layer, value: Shape) -> Shape | None:
        operator = layer.operator(self.arch)
        if operator is None:
            return None
        if tuple(operator.input_shape) != tuple(value):
            raise SpaceError(
                f"space {self.space.name!r}: layer {layer.name!r} takes {tuple(operator.input_shape)}, "
                f"but what comes before it gives {tuple(value)}"
            )
        return tuple(operator.output_shape)

    def total(self, graph: str, source: Shape, terms: Sequence[Shape]) -> Shape:
        if len(set(terms)) > 1:
            raise SpaceError(f"space {self.space.name!r}: graph {graph!r} adds up shapes {sorted(set(terms))}")
        return terms[0] if terms else source


def _twice(names: Sequence[str]) -> str:
    return next(name for name in names if names.count(name) > 1)
