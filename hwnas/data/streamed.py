"""Examples that are not kept in memory: decoded whenever they are asked for, ahead of time by worker processes.

A streamed split is indexed like an array and gives the same numbers, so nothing that trains or scores knows of it. Batches
that are announced (`ahead`) are decoded meanwhile. Neither changes a result: decoding draws no random numbers.

Shapes: N examples, C channels, H rows, W columns.
"""

import os
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from hwnas.core.arrays import IntArray
from hwnas.core.operator import Shape
from hwnas.errors import DamagedImageError, DataError, HwnasError

AT_ONCE: Final = 64  # examples of a batch that was not announced, and of one that is only looked at
MOST_WORKERS: Final = 16
Result = TypeVar("Result")


@final
@dataclass(frozen=True, slots=True, eq=False)
class Work(Generic[Result]):
    """A function of rows (N,) as the map-style data set of a DataLoader. Errors for people are returned: torch would rewrite
    their messages."""

    function: Callable[[IntArray], Result]

    def __getitem__(self, rows_N: IntArray) -> Result | HwnasError:
        try:
            return self.function(rows_N)
        except HwnasError as error:
            return error


def mapped(function: Callable[[IntArray], Result], batches: Sequence[IntArray], workers: int) -> Iterator[Result]:
    """Yields the function's result for each batch of rows (N,), in order; computed ahead by that many processes, or here by 0.

    Raises what the function raises, and DataError where a process dies.
    """
    if not workers or not len(batches):
        yield from map(function, batches)
        return
    # Results are arrays of numpy, not tensors: those would need shared memory, of which containers have 64 MiB. The generator
    # of its own keeps torch's random state as it is.
    loader: DataLoader[Any]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This DataLoader will create")  # more processes than cores, as was asked for
        loader = DataLoader(
            Work(function),  # type: ignore[arg-type]
            sampler=batches,
            batch_size=None,
            collate_fn=_same,
            num_workers=min(workers, len(batches)),
            generator=torch.Generator(),
        )
        results = iter(loader)
    try:
        for result in results:
            if isinstance(result, HwnasError):
                raise result
            yield result
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise DataError(
            f"a process that decodes images died ({str(error).splitlines()[0]}); give fewer by --data-workers, or 0 to decode "
            "without processes"
        ) from error


def _same(result: Any) -> Any:
    return result


def usual_workers() -> int:
    """Returns the number of processes that decode where none was asked for: one core is left to the training."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores - 1, MOST_WORKERS))


@final
class Streamed:
    """The examples of a split as an array (N, C, H, W), uint8, that decodes the rows that it is indexed by.

    `decode` returns the examples of rows of a source; `rows` (N,) are those of the split. What was found when all of them were
    looked at stays in memory: `hashes` by example, and `sums_2C`, the sums of each channel and of its squares.
    """

    dtype: Final = np.dtype(np.uint8)

    def __init__(
        self,
        decode: Callable[[IntArray], NDArray[np.uint8]],
        rows: IntArray,
        shape: Shape,
        workers: int,
        hashes: Sequence[bytes],
        sums_2C: NDArray[np.uint64],
    ) -> None:
        self.shape: Shape = (len(rows), *shape)
        self.hashes, self.sums_2C = hashes, sums_2C
        self._decode, self._rows, self._workers = decode, rows, workers
        self._announced = deque[IntArray]()
        self._decoded: Iterator[NDArray[np.uint8]] = iter(())

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        """Copies have nothing announced."""
        return Streamed, (self._decode, self._rows, self.shape[1:], self._workers, self.hashes, self.sums_2C)

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        for batch in mapped(self._decode, parts_of(self._rows), self._workers):
            yield from batch

    def ahead(self, batches: Sequence[IntArray]) -> None:
        """Announces the batches that will be asked for, in this order; they take the place of those announced before."""
        self._announced = deque(self._rows[batch] for batch in batches)
        self._decoded = mapped(self._decode, list(self._announced), self._workers)

    def __getitem__(self, index: Any) -> NDArray[np.uint8]:
        """Returns the examples of an array of rows, a slice or a row. Raises DataError for one that has changed."""
        rows: IntArray = self._rows[index]
        try:
            if rows.ndim == 0:
                return np.asarray(self._decode(rows[None])[0])
            if self._announced and np.array_equal(self._announced[0], rows):
                return self._next()
            parts = parts_of(rows)
            return np.concatenate([*mapped(self._decode, parts, self._workers if len(parts) > 2 else 0), self._none()])
        except DamagedImageError as error:
            raise DataError(
                f"{error.where}: {error.wrong}, and could be read when this began; restore it, and resume"
            ) from error

    def _next(self) -> NDArray[np.uint8]:
        """Returns the next announced batch. The processes end with the last one, or with one that cannot be decoded."""
        self._announced.popleft()
        try:
            batch = next(self._decoded)
        except Exception:
            self.ahead([])
            raise
        if not self._announced:
            self._decoded = iter(())
        return batch

    def _none(self) -> NDArray[np.uint8]:
        return np.empty((0, *self.shape[1:]), np.uint8)


def ahead(raw: Any, batches: Sequence[IntArray]) -> None:
    """Announces the batches of a split's examples that will be asked for, in order. Without effect on examples in memory."""
    if isinstance(raw, Streamed):
        raw.ahead(batches)


def is_streamed(raw: Any) -> bool:
    """Returns True for examples that are not in memory."""
    return isinstance(raw, Streamed)


def parts_of(rows: IntArray) -> list[IntArray]:
    """Returns rows in parts that are decoded at once."""
    return [rows[start : start + AT_ONCE] for start in range(0, len(rows), AT_ONCE)]
