"""The tensors of a traced network as hwnas stores them, so that every smaller version is a slice.

hwnas slices the first entries of a tensor's channel axes (0 and 1). An axis whose elastic atom is not the major one, such as
that of a joint query, key and value projection, is therefore stored in equal parts, which are joined when they are used.
Units are stored by importance, the most important first.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Final, final

import torch
from torch import Tensor

from hwnas.elastic.axes import Atom, Axis, leaves
from hwnas.supernet.masks import KERNEL_AXES_FROM

CHANNEL_AXES: Final = KERNEL_AXES_FROM


@final
@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """A traced tensor: its name, its parts along one axis (-1 where it is whole), and the axes of each part.

    `is_trained` is False for a statistic or a constant; a parameter that `is_frozen` keeps its value in training. `dtype` is the
    type in which the tensor is used; whole numbers and flags are stored as float32, because supernets keep no other tensors.
    """

    name: str
    parts: tuple[Tensor, ...]
    along: int
    axes: tuple[Axis, ...]
    is_trained: bool
    is_frozen: bool
    dtype: torch.dtype

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each part."""
        return (self.name,) if self.along < 0 else tuple(f"{self.name}_{number}" for number in range(len(self.parts)))


def stored(
    name: str, tensor: Tensor, axes: Sequence[Axis], elastic: Collection[Atom], is_trained: bool, is_frozen: bool
) -> Stored:
    """Returns a tensor in as many parts as it takes for every elastic atom to be the major one of its axis."""
    majors = [_major(one, elastic) for one in axes]
    along = next((number for number, major in enumerate(majors) if major > 1), -1)
    parts = (tensor,) if along < 0 else tensor.chunk(majors[along], along)
    own = [_from_elastic(one, elastic) if number == along else one for number, one in enumerate(axes)]
    floats = (part if part.is_floating_point() else part.float() for part in parts)
    contiguous = tuple(part.contiguous() for part in floats)
    return Stored(name, contiguous, along, tuple(own), is_trained, is_frozen, tensor.dtype)


def _major(one: Axis, elastic: Collection[Atom]) -> int:
    """Returns the product of the sizes before an axis' elastic atom; 1 without one."""
    atoms = leaves(one)
    number = next((number for number, atom in enumerate(atoms) if atom in elastic), 0)
    return prod(atom.size or 1 for atom in atoms[:number])


def _from_elastic(one: Axis, elastic: Collection[Atom]) -> Axis:
    atoms = leaves(one)
    return tuple(atoms[next(number for number, atom in enumerate(atoms) if atom in elastic) :])


def can_be_sliced(axes: Sequence[Axis], elastic: Collection[Atom]) -> Iterator[tuple[Atom, str]]:
    """Yields the elastic atoms that slices of a tensor cannot follow, each with a reason."""
    split = False
    for number, one in enumerate(axes):
        atoms = [atom for atom in leaves(one) if atom in elastic]
        for minor in atoms[1:]:
            yield minor, "a larger unit of the same axis is elastic"
        if atoms and number >= CHANNEL_AXES:
            yield atoms[0], "it is the third or a later axis of a weight"
        elif atoms and _major(one, elastic) > 1:
            if split:
                yield atoms[0], "two axes of a weight would be stored in parts"
            split = True


def ordered(tensor: Tensor, axes: Sequence[Axis], orders: Mapping[Atom, Tensor]) -> Tensor:
    """Returns a tensor whose units stand in new orders; `orders` has the old number of each new unit, by atom."""
    for number, one in enumerate(axes):
        atoms = leaves(one)
        for place, atom in enumerate(atoms):
            if atom in orders:
                minor, shape = prod(a.size or 1 for a in atoms[place + 1 :]), tensor.shape
                grouped = tensor.reshape(*shape[:number], -1, atom.size or 1, minor, *shape[number + 1 :])
                tensor = grouped.index_select(number + 1, orders[atom]).reshape(shape)
    return tensor


def unit_scores(tensor: Tensor, axes: Sequence[Axis], atom: Atom) -> Tensor:
    """Returns the sum of a tensor over all but the units of an atom, (units,)."""
    total = torch.zeros(atom.size or 1, dtype=tensor.dtype)
    for number, one in enumerate(axes):
        atoms = leaves(one)
        if atom in atoms:
            place = atoms.index(atom)
            minor = prod(a.size or 1 for a in atoms[place + 1 :])
            moved = tensor.movedim(number, 0).reshape(
                -1, atom.size or 1, minor, max(1, tensor.numel() // tensor.shape[number])
            )
            total = total + moved.sum((0, 2, 3))
    return total
