"""Axes of tensors as products of atoms, and the atoms that must have one size.

An axis of 48 channels that a network reads as 4 heads of 12 numbers is the product of two atoms, of 4 and of 12 units, the major
one first. An atom is found by need: a reshape splits the atom it divides. Operations unite the atoms that must stay equal
in size, and freeze those whose size cannot change. What is left are the widths that can be made elastic: all parameters
that share an atom are sliced together.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import final


@final
@dataclass(eq=False, slots=True)
class Atom:
    """A number of units along axes of tensors. `size` is None where it depends on the batch; such an atom is frozen.

    `reason` says why the size is frozen; it is empty where the size can change. `is_normed` is True where a norm or a mean goes
    over the units: then fewer units are not the same as units of zeros.
    """

    size: int | None
    reason: str = ""
    is_normed: bool = False
    _same: "Atom | None" = field(default=None, repr=False)
    _parts: "tuple[Atom, ...]" = field(default=(), repr=False)

    def leaves(self) -> "Iterator[Atom]":
        """Yields the atoms that this one consists of, the major first; itself where it was never split."""
        root = self._root()
        if not root._parts:
            yield root
        for part in root._parts:
            yield from part.leaves()

    def freeze(self, reason: str) -> None:
        """Fixes the size, for a reason; the first reason is kept."""
        for leaf in self.leaves():
            leaf.reason = leaf.reason or reason

    def norm(self) -> None:
        """Says that a norm or a mean goes over the units."""
        for leaf in self.leaves():
            leaf.is_normed = True

    def _root(self) -> "Atom":
        atom = self
        while atom._same is not None:
            atom = atom._same
        return atom

    def _split(self, major: int) -> None:
        """Splits a leaf into `major` units and the rest."""
        assert self.size is not None and self.size % major == 0
        self._parts = tuple(Atom(size, self.reason, self.is_normed) for size in (major, self.size // major))

    def _unite(self, other: "Atom") -> None:
        """Makes two leaves of equal size one."""
        if self is not other:
            other._same = self
            self.reason = self.reason or other.reason
            self.is_normed = self.is_normed or other.is_normed


# An axis: its atoms, the major first; () is an axis of size 1.
Axis = tuple[Atom, ...]


def axis(size: int | None, reason: str = "") -> Axis:
    """Returns a new axis of one atom; without atoms for size 1."""
    return () if size == 1 else (Atom(size, "it depends on the batch" if size is None else reason),)


def leaves(axis: Iterable[Atom]) -> list[Atom]:
    """Returns the atoms of an axis, the major first."""
    return [leaf for atom in axis for leaf in atom.leaves()]


def freeze(axes: Iterable[Axis], reason: str) -> None:
    """Fixes the sizes of axes, for a reason."""
    for one in axes:
        for atom in one:
            atom.freeze(reason)


def unite(one: Axis, other: Axis) -> None:
    """Makes the atoms of two axes of equal size the same. Where they cannot be, freezes both."""
    while True:
        mine, others = leaves(one), leaves(other)
        for left, right in zip(mine, others, strict=False):
            if left is right:
                continue
            if left.size == right.size:
                left._unite(right)
            elif left.size is None or right.size is None or not _split_to_fit(left, right):
                return freeze((one, other), "its sizes are grouped in two ways")
            break
        else:
            if len(mine) != len(others):
                freeze((one, other), "its sizes are grouped in two ways")
            return None


def _split_to_fit(left: Atom, right: Atom) -> bool:
    assert left.size is not None and right.size is not None
    larger, smaller = (left, right) if left.size > right.size else (right, left)
    assert larger.size is not None and smaller.size is not None
    if larger.size % smaller.size:
        return False
    larger._split(smaller.size)
    return True


def regrouped(axes: Sequence[Axis], sizes: Sequence[int | None]) -> list[Axis]:
    """Returns the axes of a tensor after a reshape to `sizes`. Atoms that do not fit are frozen, and new ones returned.

    Goes from the last axis to the first, so that one size that depends on the batch takes what the others leave.
    """
    result: list[Axis] = []
    rest = leaves(atom for one in axes for atom in one)
    for number, size in enumerate(reversed(sizes), start=1):
        taken = _taken(rest, size) if size is not None else _taken_all(rest, number == len(sizes))
        if taken is None:
            freeze(axes, "it is reshaped across axes")
            return [axis(size, "it is reshaped across axes") for size in sizes]
        result.insert(0, taken)
    return result


def _taken(rest: list[Atom], size: int) -> Axis | None:
    """Takes the last atoms whose product is `size` from a list; None where there are none."""
    taken: list[Atom] = []
    while size != 1:
        last = rest[-1].size if rest else None
        if last is None or (last % size and size % last):
            return None
        if last > size:
            rest[-1]._split(last // size)
            rest[-1:] = rest[-1].leaves()
        taken.insert(0, rest.pop())
        size //= min(last, size)
    return tuple(taken)


def _taken_all(rest: list[Atom], is_first: bool) -> Axis | None:
    """Takes all atoms for the first axis; else the last ones, up to the one that depends on the batch."""
    taken: list[Atom] = []
    while rest and (is_first or not taken or taken[0].size is not None):
        taken.insert(0, rest.pop())
    return tuple(taken) if is_first or (taken and taken[0].size is None) else None


def full_size(axis: Axis) -> int | None:
    """Returns the size of an axis as it was traced, None where it depends on the batch."""
    sizes = [atom.size for atom in leaves(axis)]
    return None if None in sizes else prod(size for size in sizes if size is not None)
