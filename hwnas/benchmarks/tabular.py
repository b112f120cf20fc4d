"""Tabular benchmarks: spaces whose every architecture was trained and timed by others, to judge strategies in seconds.

The tables are files of a folder that is not part of the package.

Shapes: N architectures, C choices, T rows of the table.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Final, final

import numpy as np

from hwnas.benchmarks.columns import LATENCY, measured, option_indices, read_columns
from hwnas.core.arrays import FloatArray, IntArray
from hwnas.core.choices import Choices
from hwnas.core.factors import total
from hwnas.core.space import SearchSpace
from hwnas.errors import DataError, UnknownNameError
from hwnas.spaces import load_space
from hwnas.strategies.problem import Problem

ACCURACY: Final = "_acc"


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class TabularBenchmark:
    """Results of all of a space's architectures as they were before normalising.

    Architectures that are one network were trained and timed each by itself, with different results. So strategies
    search `raw`, where nothing is switched off, and `space` tells which of its rows are one network.

    `rows_TC` are the rows of `raw` and `results` the columns, both in the table's order. Accuracies (`..._acc`) are
    fractions, `latency_ms_DEVICE` is NaN where the device cannot run the network, other columns are as published.
    `accuracy` is the one that searches see; `where` is the file, for messages.

    Raises DataError where an architecture is missing or there twice.
    """

    where: str
    space: SearchSpace
    rows_TC: IntArray
    results: Mapping[str, FloatArray]
    accuracy: str

    def __post_init__(self) -> None:
        distinct = len(np.unique(self.rows_TC, axis=0))
        if not distinct == len(self.rows_TC) == self.raw.size:
            raise DataError(
                f"{self.where}: {self.raw.size - distinct} of {self.raw.size} architectures are missing, "
                f"{len(self.rows_TC) - distinct} rows repeat others; fetch the file again"
            )
        if self.accuracy not in self.results:
            raise DataError(f"{self.where}: has no column {self.accuracy!r}; fetch the file again")

    @cached_property
    def raw(self) -> SearchSpace:
        """The space with every choice always on and nothing required: its `normalise` is the identity."""
        choices = Choices(replace(choice, when=()) for choice in self.space.choices)
        return replace(self.space, choices=choices, requires=(), reference="")

    @cached_property
    def _position(self) -> IntArray:
        """The table's row of every combination of options; one axis per choice."""
        position = np.zeros([len(choice.options) for choice in self.raw.choices], dtype=np.int64)
        position[tuple(self.rows_TC.T)] = np.arange(len(self.rows_TC))
        return position

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self.results)

    @property
    def devices(self) -> tuple[str, ...]:
        """The devices whose latencies the table has."""
        return tuple(column.removeprefix(LATENCY) for column in self.results if column.startswith(LATENCY))

    def values(self, column: str, rows_NC: IntArray) -> FloatArray:
        """The results of rows of `raw`; shape (N,). Raises UnknownNameError."""
        if column not in self.results:
            raise UnknownNameError("column", column, list(self.columns))
        numbers_N = self._position[tuple(np.asarray(rows_NC).T)]
        return np.asarray(self.results[column][numbers_N])

    def latency_ms(self, device: str, rows_NC: IntArray) -> FloatArray:
        """Shape (N,); NaN where the device cannot run the network. Raises UnknownNameError."""
        if device not in self.devices:
            raise UnknownNameError("device", device, list(self.devices))
        return self.values(LATENCY + device, rows_NC)

    def megaflops(self, rows_NC: IntArray) -> FloatArray:
        """Millions of FLOPs of the networks that rows of `raw` are, as `core.costs` counts them; shape (N,)."""
        return total(self.space.cost_factors("flops"), self.space.normalise(rows_NC), self.space.columns) / 1e6

    def problem(
        self, *, device: str | None = None, accuracy: str | None = None, budget_ms: float | None = None
    ) -> Problem:
        """Minimise 1 - accuracy and latency over the rows of `raw` that the device can run.

        Without a device, `megaflops` stands for latency, and `budget_ms` is in millions of FLOPs. Raises
        UnknownNameError.
        """
        measured_ms = self.megaflops if device is None else partial(self.latency_ms, device)
        column = self.accuracy if accuracy is None else accuracy
        latency_T, _ = measured_ms(self.rows_TC), self.values(column, self.rows_TC)  # unknown names show here
        slowest_ms = float(np.nanmax(latency_T))

        def latency_ms(rows_NC: IntArray) -> FloatArray:
            # A number for what cannot run, too: strategies sort what is infeasible.
            return np.nan_to_num(measured_ms(rows_NC), nan=slowest_ms)

        limits: dict[str, Callable[[IntArray], FloatArray]] = {}
        if np.isnan(latency_T).any():
            limits["runs"] = lambda rows_NC: np.where(np.isnan(measured_ms(rows_NC)), 1.0, -1.0)
        if budget_ms is not None:
            limits["latency"] = lambda rows_NC: latency_ms(rows_NC) / budget_ms - 1
        return Problem(
            space=self.raw,
            latency_ms=latency_ms,
            loss=lambda rows_NC: 1 - self.values(column, rows_NC),
            limits=limits,
            fastest_C=self.rows_TC[np.nanargmin(latency_T)],
        )


# ---- files


def nasbench201(folder: Path) -> TabularBenchmark:
    """NAS-Bench-201 in its own order, with the latencies of HELP and HW-NAS-Bench. Raises DataError."""
    space = load_space("nasbench201")
    written = {choice.name: range(len(choice.options)) for choice in space.choices}
    return _benchmark(folder / "nasbench201.parquet", space, written, "cifar10_valid_acc")


def conv_macro(folder: Path) -> TabularBenchmark:
    """The networks of TangleNAS's convolutional macro space, trained alone. Raises DataError.

    Their authors measured test accuracy with dropout on, and began from the first channels of the widest network.
    """
    space = load_space("conv_macro")
    # conv1.channels, conv1.kernel, conv2.channels, ... are channels0, kernel0, channels1, ... in the file.
    names = [f"{part}{number}" for number in range(4) for part in ("channels", "kernel")]
    written = {name: [int(o) for o in choice.options] for name, choice in zip(names, space.choices, strict=True)}
    return _benchmark(folder / "conv_macro.csv", space, written, "cifar10_test_acc")


# What loads a table from the folder that has it.
BENCHMARKS: Final[Mapping[str, Callable[[Path], TabularBenchmark]]] = {
    "nasbench201": nasbench201,
    "conv_macro": conv_macro,
}


def _benchmark(path: Path, space: SearchSpace, written: Mapping[str, Sequence[int]], accuracy: str) -> TabularBenchmark:
    """`written` has, for each choice in order, its column and what its options are in it."""
    columns = read_columns(path)
    indices = [option_indices(path, columns, name, options) for name, options in written.items()]
    results = {name: _converted(name, column) for name, column in columns.items() if name not in written}
    return TabularBenchmark(
        where=str(path), space=space, rows_TC=np.stack(indices, axis=1), results=results, accuracy=accuracy
    )


def _converted(name: str, column: FloatArray) -> FloatArray:
    if name.endswith(ACCURACY):
        return column / 100
    return measured(column) if name.startswith(LATENCY) else column
