"""A search space: choices, the layers they decide, the wiring that joins the layers, and the input's shape.

Shapes: N architectures, C choices. A row holds the index of an option per choice; a switched-off choice has index 0.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from hwnas.core.arch import Arch
from hwnas.core.choice import Choice, Option
from hwnas.core.cost import Factor, IntArray, cost_factors, total
from hwnas.core.layer import Layer
from hwnas.core.operator import Operator, Shape
from hwnas.core.wiring import Chain
from hwnas.errors import ArchError, SpaceError


@dataclass(frozen=True, eq=False)
class SearchSpace:
    """`classes` is the length of the output's last axis. `vocabulary` is None where the input is float32; where it is
    token ids (int64), the number that all of them are below.

    `reference` and `options` say how to make it again: a built-in name or `FILE.py:FUNCTION`, and its arguments.
    """

    name: str
    choices: tuple[Choice, ...]
    wiring: Chain
    input_shape: Shape
    classes: int
    vocabulary: int | None = None
    reference: str = ""
    options: Mapping[str, Option] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [choice.name for choice in self.choices]
        if len(set(names)) != len(names):
            raise SpaceError(f"space {self.name!r} has two choices of one name: {_twice(names)}")
        layers = [layer.name for layer in self.layers]
        if len(set(layers)) != len(layers):
            raise SpaceError(f"space {self.name!r} has two layers of one name: {_twice(layers)}")
        for layer in self.layers:
            for name in layer.scope:
                if name not in self.by_name:
                    raise SpaceError(
                        f"layer {layer.name!r} depends on {name!r}, which is not a choice of {self.name!r}"
                    )
        for choice in self.choices:
            for name, options in (literal for clause in choice.when for literal in clause):
                if name not in self.by_name or not set(options) <= set(self.by_name[name].options):
                    raise SpaceError(f"choice {choice.name!r} is switched on by {name!r} in {options}, which cannot be")

        # Sampled, because conditions may refer to each other in circles that only values can judge.
        rows = self.sample_rows(np.random.default_rng(0), 256)
        if not np.array_equal(rows, self.normalise(rows)):
            raise SpaceError(
                f"space {self.name!r}: switching choices off switches others; a choice that depends on a conditional "
                f"one must name what that depends on, too"
            )
        for row in rows[:16]:
            self._require_fitting_shapes(self.decode(row))

    def _require_fitting_shapes(self, arch: Arch) -> None:
        before, shape = "the input", tuple(self.input_shape)
        for layer in self.layers:
            operator = layer.operator(arch)
            if operator is None:
                continue
            if tuple(operator.input_shape) != shape:
                raise SpaceError(
                    f"space {self.name!r}: {before} has shape {shape}, but layer {layer.name!r} after it takes "
                    f"{tuple(operator.input_shape)}"
                )
            before, shape = f"the output of layer {layer.name!r}", tuple(operator.output_shape)

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
            "input": self.input_shape,
            "choices": [(choice.name, choice.options, choice.when) for choice in self.choices],
            "layers": [
                (layer.name, [operator and operator.key for _, operator in layer.cells(self.by_name)])
                for layer in self.layers
            ],
        }
        return hashlib.blake2s(json.dumps(facts).encode()).hexdigest()[:16]

    def describe(self) -> dict[str, Any]:
        """What files store of a space: how to make it again, and the fingerprint to check it by."""
        return {"reference": self.reference, "options": dict(self.options), "fingerprint": self.fingerprint}

    # ---- architectures and rows

    def normalise(self, rows_NC: IntArray) -> IntArray:
        """Switched-off choices set to index 0: architectures that are the same network become equal rows."""
        rows_NC = np.asarray(rows_NC)
        result = rows_NC.copy()
        for column, choice in enumerate(self.choices):
            if choice.when:
                result[~self._is_on(choice, rows_NC), column] = 0
        return result

    def _is_on(self, choice: Choice, rows_NC: IntArray) -> np.ndarray[Any, np.dtype[np.bool_]]:
        is_on = np.zeros(len(rows_NC), dtype=bool)
        for clause in choice.when:
            holds = np.ones(len(rows_NC), dtype=bool)
            for name, options in clause:
                # Not np.isin: numpy would make strings of options of different types.
                allowed = np.array([option in options for option in self.by_name[name].options])
                holds &= allowed[rows_NC[:, self.columns[name]]]
            is_on |= holds
        return is_on

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
        (row,) = self.encode([filled])
        for choice in self.choices:
            if choice.name not in options and self._is_on(choice, row[None])[0] | (not choice.when):
                raise ArchError(f"the architecture says nothing of {choice.name!r}, which is switched on")
        return self.decode(row)

    def sample_rows(self, rng: np.random.Generator, count: int) -> IntArray:
        """Rows with every option of every choice equally likely, normalised; shape (count, C)."""
        sizes = [len(choice.options) for choice in self.choices]
        return self.normalise(rng.integers(0, sizes, size=(count, len(sizes))))

    def spread_rows(self, rng: np.random.Generator, count: int) -> IntArray:
        """Rows from small to large, normalised; shape (count, C): each draws its own bias towards first or last options.

        Independent draws crowd around the middle of the range of any additive cost, where few of a front's points are.
        """
        sizes = np.array([len(choice.options) for choice in self.choices], dtype=np.int64)
        # Both ends are as likely as the whole middle: extremes are what extrapolation gets wrong.
        bias = rng.beta(0.5, 0.5, (count, 1))
        return self.normalise(rng.binomial(sizes - 1, bias, (count, len(sizes))))

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
            for name, _ in (literal for clause in choice.when for literal in clause):
                merged = group_of[choice.name] | group_of[name]
                for member in merged:
                    group_of[member] = merged
        groups = {id(group): group for group in group_of.values()}
        return [[choice for choice in self.choices if choice.name in group] for group in groups.values()]

    def _count(self, group: Sequence[Choice]) -> int:
        """Enumerates the choices that conditions mention; the others multiply by their options where they are on."""
        mentioned = {name for choice in group for clause in choice.when for name, _ in clause}
        controls = [choice for choice in group if choice.name in mentioned]
        sizes = [len(choice.options) for choice in controls]
        rows = np.zeros((math.prod(sizes), len(self.choices)), dtype=np.int64)
        columns = [self.columns[choice.name] for choice in controls]
        rows[:, columns] = np.indices(sizes).reshape(len(sizes), len(rows)).T
        rows = np.unique(self.normalise(rows), axis=0)
        counts = np.ones(len(rows), dtype=object)
        for choice in group:
            if choice.name not in mentioned:
                is_on = self._is_on(choice, rows) if choice.when else np.ones(len(rows), dtype=bool)
                counts *= np.where(is_on, len(choice.options), 1).astype(object)
        return int(counts.sum())

    # ---- costs

    @cached_property
    def _cost_factors(self) -> dict[str, tuple[Factor, ...]]:
        return {}

    def cost_factors(self, name: str) -> tuple[Factor, ...]:
        """The factors of `flops`, `params` or `bytes`."""
        if name not in self._cost_factors:
            self._cost_factors[name] = cost_factors(self, name)
        return self._cost_factors[name]

    def cost(self, name: str, arch: Arch) -> int:
        """`flops`, `params` or `bytes` of one architecture."""
        return int(total(self.cost_factors(name), self.encode([arch]), self.columns)[0])

    def smallest(self) -> Arch:
        """The architecture with the fewest FLOPs."""
        from hwnas.core.optimum import minimise  # scipy is loaded where it is needed

        return minimise(self, self.cost_factors("flops"))

    def largest(self) -> Arch:
        """The architecture with the most FLOPs."""
        from hwnas.core.optimum import minimise

        negated = [Factor(factor.name, factor.scope, -factor.values) for factor in self.cost_factors("flops")]
        return minimise(self, negated)


def _twice(names: Sequence[str]) -> str:
    return next(name for name in names if names.count(name) > 1)
