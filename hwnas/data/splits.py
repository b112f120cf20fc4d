"""Splits: labelled examples, the rows of train, validation and test, and the digest of a data set.

Shapes: N examples.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from hwnas.core.arrays import IntArray
from hwnas.data.streamed import Streamed

QUANTILES: Final = 10  # groups of numeric targets, in which splits and orders have them in proportion


class Raw(Protocol):
    """Examples (N, ...) as an array in memory or streamed; both give an array for rows (N,), a slice, or one row."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Any]: ...

    def __getitem__(self, rows: Any, /) -> Any: ...


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """A split: `raw` (N, ...), in memory or streamed, and `labels` (N, ...)."""

    raw: Any
    labels: NDArray[Any]

    def __len__(self) -> int:
        return len(self.labels)


class Split(Protocol):
    """Examples that a network is trained or scored on together."""

    def __len__(self) -> int: ...

    @property
    def raw(self) -> Raw:
        """The examples, which give `Dataset.inputs` what it takes where they are indexed; shape (N, ...)."""

    @property
    def labels(self) -> NDArray[Any]:
        """The labels as the task takes them; shape (N, ...)."""


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """The rows of each split. Those of `validation` and `test` are rows of sets of their own where there are such."""

    train: IntArray
    validation: IntArray
    test: IntArray


def split_rows(
    groups: IntArray,
    *,
    validation_groups: IntArray | None = None,
    test_groups: IntArray | None = None,
    seed: int = 0,
    limit: int | None = None,
    fewest: int = 1,
    validation_share: float | None = None,
) -> Rows:
    """Splits examples at random, groups (N,) in proportion; validation and test sets of their own are kept as they are.

    60/20/20; with a test set of its own, a tenth of the others validates; or the `validation_share` of all examples but those of
    such a set. Every split has at least `fewest` rows, and at
    most `limit` to train and a quarter of `limit` to validate and test.
    """
    rng = np.random.default_rng(seed)
    rows: IntArray = np.arange(len(groups))
    if test_groups is None:
        test, rows = _held_out(groups, rows, max(fewest, round(len(rows) / 5)), rng)
    else:
        test = np.arange(len(test_groups))
    if validation_groups is None:
        share = 4 if test_groups is None else 10
        count = round(len(rows) / share if validation_share is None else len(groups) * validation_share)
        validation, train = _held_out(groups, rows, max(fewest, min(count, len(rows) - fewest)), rng)
    else:
        validation, train = np.arange(len(validation_groups)), rows
    if limit is None:
        return Rows(train, validation, test)
    fewer = max(limit // 4, fewest)
    return Rows(
        _held_out(groups, train, limit, rng)[0],
        _held_out(groups if validation_groups is None else validation_groups, validation, fewer, rng)[0],
        _held_out(groups if test_groups is None else test_groups, test, fewer, rng)[0],
    )


def _held_out(groups: IntArray, rows: IntArray, count: int, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
    """Returns `count` of the rows, each group in proportion, and the other rows; both in order.

    Not scikit-learn's train_test_split, which refuses classes of one image and remainders smaller than the classes.
    """
    order = rows[stratified_order(groups[rows], rng)]
    return np.sort(order[:count]), np.sort(order[count:])


def stratified_order(groups: IntArray, rng: np.random.Generator) -> IntArray:
    """Returns a random order (N,) whose every beginning has the groups in proportion, one of each group first.

    >>> groups = np.array([0, 0, 0, 0, 1, 1])
    >>> sorted(groups[stratified_order(groups, np.random.default_rng(0))][:3].tolist())
    [0, 0, 1]
    """
    order = rng.permutation(len(groups))
    _, members, counts = np.unique(groups[order], return_inverse=True, return_counts=True)
    rank = np.empty(len(groups), dtype=np.int64)
    rank[np.argsort(members, kind="stable")] = np.arange(len(groups)) - np.repeat(np.cumsum(counts) - counts, counts)
    place = np.where(rank == 0, 0, (rank + 0.5) / counts[members])
    return np.asarray(order[np.argsort(place, kind="stable")])


def quantile_groups(values: NDArray[np.floating[Any]]) -> IntArray:
    """Returns the tenth that each number (N,) belongs to, by rank: equal parts of a distribution.

    >>> quantile_groups(np.array([7.0, 1.0, 3.0, 5.0])).tolist()
    [7, 0, 2, 5]
    """
    rank = np.argsort(np.argsort(values, kind="stable"), kind="stable")
    return np.asarray(rank * QUANTILES // max(len(values), 1), dtype=np.int64)


def sizes(train: Split, validation: Split, test: Split) -> dict[str, int]:
    """Returns the number of examples by split."""
    return {"train": len(train), "validation": len(validation), "test": len(test)}


def example_hashes(split: Split) -> Sequence[bytes]:
    """Returns a hash of each example of a split, without its label."""
    if isinstance(split.raw, Streamed):
        return split.raw.hashes
    return [example_hash(example) for example in split.raw]


def example_hash(example: NDArray[Any]) -> bytes:
    """Returns the hash of an example."""
    return hashlib.blake2s(np.ascontiguousarray(example).data).digest()


def digest_of(facts: Sequence[object], splits: Iterable[Split]) -> str:
    """Returns 16 hexadecimal digits that change with the facts, an example, a label or a split."""
    hashed = hashlib.blake2s("".join(map(repr, facts)).encode())
    for split in splits:
        for one in example_hashes(split):
            hashed.update(one)
        hashed.update(np.ascontiguousarray(split.labels).data)
    return hashed.hexdigest()[:16]
