"""The subjects of laws: a space with its networks, and the operators of a space or of a list. What is costly is made once."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, final

import numpy as np
import torch
from torch import Tensor, nn

from hwnas.core.arch import Arch
from hwnas.core.choice import Option
from hwnas.core.operator import Operator
from hwnas.core.space import SearchSpace
from hwnas.modules.assemble import assembled
from hwnas.modules.build import build
from hwnas.modules.counting import Counts, counts
from hwnas.supernet.network import Supernet
from hwnas.testing.expressions import Expression, Keys, computed
from hwnas.testing.laws import naming

# Architectures between the smallest and the largest, which are always among those looked at.
BETWEEN: Final = 3
# Passes that make a supernet's statistics those of data, and the inputs of one.
SETTLING: Final = 12
BATCH: Final = 8


@dataclass(frozen=True, slots=True)
class Place:
    """A layer's name, the distinct operators that can stand there, and whether those of one family share weights."""

    name: str
    operators: tuple[Operator, ...]
    entangled: bool = True

    def families(self) -> Mapping[str, list[Operator]]:
        """Returns the operators that share weights, by family."""
        families: dict[str, list[Operator]] = {}
        for operator in self.operators:
            families.setdefault(operator.family if self.entangled else operator.key, []).append(operator)
        return families


@final
@dataclass(frozen=True)
class OperatorSubject:
    """Operators by place. `most` bounds how many are looked at one by one; None looks at all."""

    places: tuple[Place, ...]
    most: int | None = None
    _counts: dict[str, Counts] = field(default_factory=dict)
    _templates: dict[str, nn.Module] = field(default_factory=dict)

    @cached_property
    def every(self) -> Mapping[str, tuple[str, Operator]]:
        """Every distinct operator by key, with the first place where it stands."""
        pairs = [(place.name, operator) for place in self.places for operator in place.operators]
        return {operator.key: (name, operator) for name, operator in reversed(pairs)}

    @cached_property
    def distinct(self) -> tuple[Place, ...]:
        """Places that differ in the families of their operators; of those that do not, the first."""
        return tuple({frozenset(place.families()): place for place in reversed(self.places)}.values())[::-1]

    @cached_property
    def sample(self) -> tuple[tuple[str, Operator], ...]:
        """The operators to look at, each with a place: all of them, or an equal share of each kind."""
        every = list(self.every.values())[::-1]
        if self.most is None or len(every) <= self.most:
            return tuple(every)
        kinds: dict[str, list[tuple[str, Operator]]] = {}
        for place, operator in every:
            kinds.setdefault(operator.kind, []).append((place, operator))
        rng = np.random.default_rng(0)
        mixed = [[members[i] for i in rng.permutation(len(members))] for members in kinds.values()]
        in_turn = itertools.chain.from_iterable(itertools.zip_longest(*mixed))
        return tuple(itertools.islice((pair for pair in in_turn if pair is not None), self.most))

    def counts(self, place: str, operator: Operator) -> Counts:
        """Returns what the operator's module does in one run. Raises ConformanceError where it cannot run."""
        if operator.key not in self._counts:
            with naming(f"{place}: {operator.key}: its module cannot be built and run"):
                self._counts[operator.key] = counts(build(operator), operator.input_shape, operator.vocabulary)
        return self._counts[operator.key]

    def template(self, place: str, operator: Operator) -> nn.Module:
        """Returns the operator's module without storage. Raises ConformanceError where it cannot be built."""
        if operator.key not in self._templates:
            with torch.device("meta"), naming(f"{place}: {operator.key}: its module cannot be built"):
                self._templates[operator.key] = build(operator)
        return self._templates[operator.key]


def places_of_space(space: SearchSpace) -> tuple[Place, ...]:
    """Returns the layers of a space as places."""
    result = []
    for layer in space.layers:
        standing = {
            operator.key: operator for _, operator in layer.cells(space.by_name) if isinstance(operator, Operator)
        }
        result.append(Place(layer.name, tuple(standing.values()), layer.entangled))
    return tuple(result)


def places_of_list(operators: Sequence[Operator]) -> tuple[Place, ...]:
    """Returns operators as the places of a network: those of one family that take and give the same positions share one."""
    families: dict[str, list[Operator]] = {}
    for operator in operators:
        families.setdefault(operator.family, []).append(operator)
    return tuple(Place(f"operators of family {family}", tuple(members)) for family, members in families.items())


@final
class SpaceSubject:
    """A space, some of its architectures, their networks, and a supernet with random weights in float64."""

    def __init__(self, space: SearchSpace, *, between: int = BETWEEN) -> None:
        self.space = space
        self._between = between
        self._keys: Keys = {}
        self._counts: dict[str, Counts] = {}
        self._extracted: dict[str, nn.Module] = {}

    @cached_property
    def archs(self) -> tuple[Arch, ...]:
        """The smallest and the largest architecture, and some between them."""
        rng = np.random.default_rng(0)
        drawn = [self.space.sample(rng) for _ in range(self._between)]
        return tuple({arch.key: arch for arch in (self.space.smallest(), self.space.largest(), *drawn)}.values())

    @cached_property
    def operators(self) -> Mapping[str, Operator]:
        """Every operator that can occur, by key."""
        return self.space.operators()

    @cached_property
    def cells(self) -> Mapping[str, list[tuple[tuple[int, ...], Operator | None]]]:
        """The operator of every combination of a layer's options, by layer."""
        return {layer.name: list(layer.cells(self.space.by_name)) for layer in self.space.layers}

    def computed(self, options: Mapping[str, Option]) -> list[Expression]:
        """Returns the expressions that a network computes, of options that may not be normalised."""
        return computed(self.space, options, self._keys)

    def counts(self, arch: Arch) -> Counts:
        """Returns what an architecture's plain network does in one run."""
        if arch.key not in self._counts:
            with naming(f"network {arch.key}: it cannot be built and run"):
                plain = assembled(self.space, arch)
                self._counts[arch.key] = counts(plain, self.space.input_shape, self.space.vocabulary)
        return self._counts[arch.key]

    def inputs(self, count: int, dtype: torch.dtype = torch.float64) -> Tensor:
        """Returns inputs (count, *input_shape) that differ from one another as a whole, and entry by entry."""
        generator = torch.Generator().manual_seed(1)
        shape = self.space.input_shape
        if self.space.vocabulary is not None:
            return torch.randint(self.space.vocabulary, (count, *shape), generator=generator)
        brightness = 2 * torch.randn(count, *shape[:1], *(1 for _ in shape[1:]), generator=generator, dtype=dtype)
        return brightness + torch.randn(count, *shape, generator=generator, dtype=dtype)

    @cached_property
    @torch.no_grad()
    def supernet(self) -> Supernet:
        """A supernet in which every weight and statistic is random, because zeros and ones would hide what is left out.

        The statistics are first those of data, so that no signal dies on its way through a network, and then disturbed.
        """
        generator = torch.Generator().manual_seed(0)
        supernet = Supernet(self.space).double().train()
        # Without a norm, the centre of a large kernel would be too weak a signal.
        gain = 1 if any("norm" in name for name in supernet.state_dict()) else 2
        for name, tensor in _disturbed(supernet):
            scale = 0.3 if tensor.dim() < 2 else gain * (2 / tensor[0].numel()) ** 0.5
            noise = torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype) * scale
            tensor.copy_((1 + noise).abs() + 0.01 if name.endswith(("running_var", "norm/weight")) else noise)
        x, rng = self.inputs(BATCH), np.random.default_rng(1)
        for arch in (*self.archs, *(self.space.sample(rng) for _ in range(SETTLING))):
            supernet(x, arch)
        for _, tensor in _disturbed(supernet, parameters=False):
            tensor *= 1 + 0.5 * torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype)
        return supernet

    def extracted(self, arch: Arch) -> nn.Module:
        """Returns the network of an architecture as the supernet extracts it, with a copy of its weights."""
        if arch.key not in self._extracted:
            self._extracted[arch.key] = self.supernet.eval().uncalibrated(arch)
        return self._extracted[arch.key]


def _disturbed(supernet: Supernet, *, parameters: bool = True) -> Iterator[tuple[str, Tensor]]:
    """The parameters and the statistics of batch-norms; other buffers are constants of a module and stay as they are."""
    if parameters:
        yield from supernet.named_parameters()
    for name, buffer in supernet.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            yield name, buffer


@contextmanager
def kept_statistics(*modules: nn.Module) -> Iterator[None]:
    """Puts back every buffer as it was before."""
    before = [(buffer, buffer.clone()) for module in modules for buffer in module.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in before:
                buffer.copy_(value)


@contextmanager
def without_dropout() -> Iterator[None]:
    """Switches dropout off: networks of other widths draw other numbers."""
    names = ("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout")
    before = {name: getattr(nn.functional, name) for name in names}
    for name in names:
        setattr(nn.functional, name, _same)
    try:
        yield
    finally:
        for name, function in before.items():
            setattr(nn.functional, name, function)


def _same(x: Tensor, *_: Any, **__: Any) -> Tensor:
    return x
