"""The choices of a space in order, and the arithmetic on rows of option indices.

Shapes: N architectures, C choices. A row holds one option index per choice; a choice that is switched off has index 0.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Final, Self, final

import numpy as np

from hwnas.core.arch import Arch
from hwnas.core.arrays import BoolArray, IntArray
from hwnas.core.choice import Choice, Condition, Option
from hwnas.core.condition import holds
from hwnas.errors import ArchError, SpaceError, did_you_mean

# Batches drawn before sampling gives up on rare requirements.
MAX_BATCHES: Final = 1000


@final
class Choices(tuple[Choice, ...]):
    """A tuple of choices with distinct names, and the condition that architectures must meet to be drawn.

    Architectures that do not meet `requires` can be encoded and looked up, but they are neither drawn nor an optimum.
    Raises SpaceError where names repeat, or where a condition or a tie is impossible.
    """

    requires: Condition

    def __new__(cls, choices: Iterable[Choice], requires: Condition = ()) -> Self:
        self = super().__new__(cls, choices)
        self.requires = requires
        self._require_possible()
        return self

    @cached_property
    def by_name(self) -> Mapping[str, Choice]:
        """The choices by name."""
        return {choice.name: choice for choice in self}

    @cached_property
    def columns(self) -> Mapping[str, int]:
        """The column of each choice in a row."""
        return {choice.name: column for column, choice in enumerate(self)}

    # ---- architectures and rows

    def normalise(self, rows_NC: IntArray) -> IntArray:
        """Returns rows in which equal architectures are equal rows.

        A tied choice takes the index of the choice it is tied to; a switched-off choice takes index 0.
        """
        tied_NC = self._tied(rows_NC)
        result = tied_NC.copy()
        for column, choice in enumerate(self):
            if choice.when:
                result[~self._holds(choice.when, tied_NC), column] = 0
        return result

    def decode(self, row_C: Sequence[int] | IntArray) -> Arch:
        """Returns the architecture of a row of option indices."""
        (normal_C,) = self.normalise(np.asarray(row_C, dtype=np.int64)[None])
        return Arch({choice.name: choice.options[i] for choice, i in zip(self, normal_C, strict=True)})

    def encode(self, archs: Iterable[Mapping[str, Option]]) -> IntArray:
        """Returns normalised rows; shape (N, C). Raises ArchError for a missing choice or an unknown option."""
        rows = [[_index(choice, arch) for choice in self] for arch in archs]
        return self.normalise(np.array(rows, dtype=np.int64).reshape(len(rows), len(self)))

    def arch(self, options: Mapping[str, Option]) -> Arch:
        """Returns the architecture of a mapping that may leave out switched-off choices. Raises ArchError."""
        if not isinstance(options, Mapping):
            raise ArchError(f"an architecture is an object of choice names and options, not {options!r}")
        unknown = sorted(set(options) - set(self.by_name))
        if unknown:
            close = did_you_mean(unknown[0], self.by_name)
            raise ArchError(f"the space has no choice {unknown[0]!r}; it has {', '.join(self.by_name)}{close}")
        filled = {choice.name: options.get(choice.name, choice.options[0]) for choice in self}
        # The mapping may come from a larger space, where another option is first and stands for "switched off".
        foreign = {choice.name for choice in self if choice.when and filled[choice.name] not in choice.options}
        (row_C,) = self.encode([filled | {name: self.by_name[name].options[0] for name in foreign}])
        arch = self.decode(row_C)
        for choice in self:
            if not self._holds(choice.when, row_C[None])[0]:
                continue
            if choice.name not in options and not choice.tied_to:
                raise ArchError(f"the architecture does not set {choice.name!r}, which is switched on; add it")
            if choice.name in foreign:
                _index(choice, options)  # raises
            if choice.tied_to and options.get(choice.name, arch[choice.name]) != arch[choice.name]:
                raise ArchError(f"{choice.name!r} cannot be {options[choice.name]!r}: it is tied to {choice.tied_to!r}")
        return arch

    def meets_requirements(self, rows_NC: IntArray) -> BoolArray:
        """Returns True where `requires` holds; shape (N,)."""
        return self._holds(self.requires, rows_NC)

    # ---- sampling

    def sample_rows(self, rng: np.random.Generator, count: int) -> IntArray:
        """Draws every option of every choice with equal probability and normalises; shape (count, C)."""
        sizes = self._sizes
        return self._draw(lambda: rng.integers(0, sizes, size=(count, len(sizes))), count)

    def spread_rows(self, rng: np.random.Generator, count: int) -> IntArray:
        """Draws rows that spread from small to large networks, and normalises; shape (count, C).

        Each row has its own bias towards first or last options. Independent draws concentrate in the middle of the
        range of any additive cost, where few points of a front are.
        """
        sizes = np.array(self._sizes, dtype=np.int64)
        # Beta(0.5, 0.5) makes both ends as likely as the middle: predictors extrapolate badly to unseen extremes.
        return self._draw(lambda: rng.binomial(sizes - 1, rng.beta(0.5, 0.5, (count, 1)), (count, len(sizes))), count)

    def sample(self, rng: np.random.Generator) -> Arch:
        """Draws one architecture, every option of every choice with equal probability."""
        return self.decode(self.sample_rows(rng, 1)[0])

    def _draw(self, draw: Callable[[], IntArray], count: int) -> IntArray:
        """Returns `count` normalised rows that meet the requirements, by rejection."""
        rows_NC = self.normalise(draw())
        if not self.requires or count == 0:
            return rows_NC
        kept = [rows_NC[self.meets_requirements(rows_NC)]]
        for _ in range(MAX_BATCHES):
            if sum(map(len, kept)) >= count:
                return np.concatenate(kept)[:count]
            rows_NC = self.normalise(draw())
            kept.append(rows_NC[self.meets_requirements(rows_NC)])
        raise SpaceError(f"hardly any architecture meets the requirements {self.requires}; relax them")

    # ---- counting

    @cached_property
    def size(self) -> int:
        """The exact number of different (normalised) architectures."""
        return math.prod(self._count(group) for group in self._linked_groups())

    def _linked_groups(self) -> list[list[Choice]]:
        """Partitions the choices: two choices share a group if conditions or ties link them, however indirectly.

        A tied choice that no condition mentions links nothing: others decide it, so it multiplies no count.
        """
        group_of = {name: {name} for name in self.by_name}
        mentioned = {name for choice in self for clause in choice.when for name, _ in clause}
        for choice in self:
            if choice.tied_to and choice.name not in mentioned:
                continue
            linked = [name for clause in choice.when for name, _ in clause]
            for name in [*linked, choice.tied_to] if choice.tied_to else linked:
                merged = group_of[choice.name] | group_of[name]
                for member in merged:
                    group_of[member] = merged
        groups = {id(group): group for group in group_of.values()}
        return [[choice for choice in self if choice.name in group] for group in groups.values()]

    def _count(self, group: Sequence[Choice]) -> int:
        """Counts the architectures of one group.

        The choices that conditions mention are enumerated; every other choice multiplies the count by its number of
        options where it is on.
        """
        mentioned = {name for choice in group for clause in choice.when for name, _ in clause}
        mentioned |= {choice.tied_to for choice in group if choice.name in mentioned and choice.tied_to}
        controls = [choice for choice in group if choice.name in mentioned]
        sizes = [len(choice.options) for choice in controls]
        rows_NC = np.zeros((math.prod(sizes), len(self)), dtype=np.int64)
        columns = [self.columns[choice.name] for choice in controls]
        rows_NC[:, columns] = np.indices(sizes).reshape(len(sizes), len(rows_NC)).T
        rows_NC = np.unique(self.normalise(rows_NC), axis=0)
        counts_N = np.ones(len(rows_NC), dtype=object)
        for choice in group:
            if choice.name not in mentioned and not choice.tied_to:
                counts_N *= np.where(self._holds(choice.when, rows_NC), len(choice.options), 1).astype(object)
        return int(counts_N.sum())

    # ---- ties and conditions

    @property
    def _sizes(self) -> list[int]:
        return [len(choice.options) for choice in self]

    def _tied(self, rows_NC: IntArray) -> IntArray:
        """Returns a copy of the rows in which every tied choice has the index of the choice it is tied to."""
        result = np.array(rows_NC)
        for column, choice in enumerate(self):
            if choice.tied_to:
                result[:, column] = result[:, self.columns[choice.tied_to]]
        return result

    def _holds(self, condition: Condition, rows_NC: IntArray) -> BoolArray:
        """Returns True where the condition holds; shape (N,)."""
        drawn = {name: rows_NC[:, column] for name, column in self.columns.items()}
        return np.broadcast_to(holds(condition, drawn, self.by_name), len(rows_NC))

    def _require_possible(self) -> None:
        if "" in self.by_name:
            raise SpaceError(f"a choice has no name, the one of {self.by_name[''].options}; give it one")
        if len(self.by_name) < len(self):
            names = [choice.name for choice in self]
            twice = next(name for name in names if names.count(name) > 1)
            raise SpaceError(f"two choices are called {twice!r}; rename one")
        for choice in self:
            self._require_known(f"choice {choice.name!r} is switched on", choice.when)
            if choice.tied_to:
                self._require_leader(choice)
        self._require_known("architectures are drawn", self.requires)

        # Checked on samples: conditions may refer to each other in circles, which only values can judge.
        rows_NC = self.sample_rows(np.random.default_rng(0), 256)
        again_NC = self._tied(rows_NC)
        stable = all(
            np.array_equal(self._holds(choice.when, rows_NC), self._holds(choice.when, again_NC)) for choice in self
        )
        if not stable or not np.array_equal(rows_NC, self.normalise(rows_NC)):
            raise SpaceError(
                "switching choices off switches other choices; where a choice depends on a conditional choice, add the "
                "condition of that choice as well"
            )

    def _require_leader(self, choice: Choice) -> None:
        leader = self.by_name.get(choice.tied_to)
        if leader is None or leader.tied_to:
            raise SpaceError(
                f"choice {choice.name!r} is tied to {choice.tied_to!r}, which does not exist or is tied itself; name "
                f"another choice"
            )
        if leader.options != choice.options:
            raise SpaceError(f"choice {choice.name!r} is tied to {choice.tied_to!r}, which has other options")

    def _require_known(self, what: str, condition: Condition) -> None:
        for name, options in (literal for clause in condition for literal in clause):
            if name not in self.by_name or not set(options) <= set(self.by_name[name].options):
                raise SpaceError(f"{what} by {name!r} in {options}, which cannot be; name a choice and options it has")


def _index(choice: Choice, arch: Mapping[str, Option]) -> int:
    try:
        return choice.options.index(arch[choice.name])
    except KeyError:
        raise ArchError(f"the architecture does not set {choice.name!r}; add it") from None
    except ValueError:
        raise ArchError(f"{choice.name!r} cannot be {arch[choice.name]!r}; options: {choice.options}") from None
