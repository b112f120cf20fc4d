"""Tabular benchmarks: spaces in which others trained and timed every architecture, to judge strategies in seconds.

The tables are files of a folder that is not part of the package.

Shapes: N architectures, C choices, T rows of the table.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Final, final

import numpy as np

from hwnas.benchmarks.columns import LATENCY_COLUMN, measured, option_indices, read_columns, read_texts
from hwnas.core.arrays import FloatArray, IntArray
from hwnas.core.choice import Choice
from hwnas.core.choices import Choices
from hwnas.core.factors import total
from hwnas.core.space import SearchSpace
from hwnas.core.wiring import Chain
from hwnas.costs.cost import Limit
from hwnas.costs.function import FunctionCost
from hwnas.errors import BudgetError, DataError, UnknownNameError
from hwnas.spaces import load_space
from hwnas.strategies.problem import Problem, Strategy
from hwnas.strategies.workshop import Workshop
from hwnas.tasks.task import Metric

# The names of columns of accuracies end with it.
ACCURACY_COLUMN: Final = "_acc"
ACCURACY: Final = Metric(name="accuracy", unit="share", highest=True)
FLOPS: Final = "flops"
# The names of columns of NAS-Bench-Graph's latencies, in seconds, end with it.
SECONDS_COLUMN: Final = "_latency"


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class TabularBenchmark:
    """The published results of all architectures of a space, before they are normalised.

    Architectures that are one network were trained and timed separately, with different results. So strategies search
    `raw`, in which nothing is switched off; `space` tells which of its rows are one network.

    `rows_TC` are the rows of `raw` and `results` the columns, both in the table's order. Accuracies (`..._acc`) are
    fractions, `latency_ms_DEVICE` is NaN where the device cannot run the network, other columns are as published.
    `accuracy` is the column that searches see; `where` is the file, for messages. A `partial` table has one architecture of
    each network; the others are infeasible.

    Raises DataError where an architecture is there twice, or is missing from a table that is not partial.
    """

    where: str
    space: SearchSpace
    rows_TC: IntArray
    results: Mapping[str, FloatArray]
    accuracy: str
    partial: bool = False

    def __post_init__(self) -> None:
        distinct = len(np.unique(self.rows_TC, axis=0))
        if distinct != len(self.rows_TC) or (distinct != self.raw.size and not self.partial):
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
        """The position in the table of every combination of options, -1 where it is missing; one axis per choice."""
        position = np.full([len(choice.options) for choice in self.raw.choices], -1, dtype=np.int64)
        position[tuple(self.rows_TC.T)] = np.arange(len(self.rows_TC))
        return position

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self.results)

    @property
    def devices(self) -> tuple[str, ...]:
        """The devices whose latencies the table has."""
        return tuple(
            column.removeprefix(LATENCY_COLUMN) for column in self.results if column.startswith(LATENCY_COLUMN)
        )

    def values(self, column: str, rows_NC: IntArray) -> FloatArray:
        """Returns a column's results for rows of `raw`; shape (N,). Raises UnknownNameError."""
        self._require_column(column)
        numbers_N = self._position[tuple(np.asarray(rows_NC).T)]
        return np.asarray(np.where(numbers_N < 0, np.nan, self.results[column][numbers_N]), dtype=np.float64)

    def latency_ms(self, device: str, rows_NC: IntArray) -> FloatArray:
        """Returns latencies, NaN where the device cannot run the network; shape (N,). Raises UnknownNameError."""
        self._require_device(device)
        return self.values(LATENCY_COLUMN + device, rows_NC)

    def megaflops(self, rows_NC: IntArray) -> FloatArray:
        """Returns millions of FLOPs of the networks that rows of `raw` are, as `core.costs` counts them; shape (N,)."""
        return total(self.space.cost_factors("flops"), self.space.normalise(rows_NC), self.space.columns) / 1e6

    def cost(self, name: str) -> FunctionCost:
        """Returns the cost `flops` (in millions), `latency@DEVICE`, or any column of the table by its name.

        Networks that a device cannot run have the column's highest cost: strategies sort infeasible rows, too. Raises
        UnknownNameError.
        """
        if name == FLOPS:
            return FunctionCost(name, "MFLOPs", self.megaflops)
        kind, at, device = name.partition("@")
        if kind == "latency" and at:
            self._require_device(device)
            return FunctionCost(name, "ms", partial(self._numbers, LATENCY_COLUMN + device))
        self._require_column(name)
        return FunctionCost(name, "", partial(self._numbers, name))

    def problem(
        self, costs: Sequence[str] = (FLOPS,), *, accuracy: str | None = None, limits: Mapping[str, float] | None = None
    ) -> Problem:
        """Returns the problem of maximising accuracy and minimising `costs`, over the rows that every device can run.

        `limits` are bounds of costs by name, `accuracy` is a column. Raises UnknownNameError.
        """
        column = self.accuracy if accuracy is None else accuracy
        self._require_column(column)
        by_name = {name: self.cost(name) for name in [*costs, *(limits or {})]}
        bounds = [Limit(by_name[name], bound) for name, bound in (limits or {}).items()]
        bounds += [Limit(FunctionCost("not in the table", "", self._missing), 0.5)] if self.partial else []
        bounds += [Limit(FunctionCost(f"refused by {name}", "", partial(self._refused, name)), 0.5) for name in by_name]
        within_T = np.all([limit.over(self.rows_TC) <= 0 for limit in bounds], axis=0)
        if not within_T.any():
            raise BudgetError(
                f"{self.where}: no architecture has {' and '.join(map(str, bounds[: len(limits or {})]))}"
            )
        first_T = by_name[costs[0]].values(self.rows_TC)
        return Problem(
            space=self.raw,
            objectives=(ACCURACY.name, *costs),
            metrics=(ACCURACY,),
            costs=by_name,
            evaluate=lambda rows_NC: {ACCURACY.name: self.values(column, rows_NC)},
            limits=tuple(bounds),
            start_C=self.rows_TC[np.where(within_T, first_T, np.inf).argmin()],
        )

    def _numbers(self, column: str, rows_NC: IntArray) -> FloatArray:
        """Returns a column's values with its highest in place of NaN; shape (N,)."""
        return np.nan_to_num(self.values(column, rows_NC), nan=float(np.nanmax(self.results[column])))

    def _missing(self, rows_NC: IntArray) -> FloatArray:
        """Returns 1 for rows that the table lacks, else 0; shape (N,)."""
        return np.asarray(self._position[tuple(np.asarray(rows_NC).T)] < 0, dtype=np.float64)

    def _refused(self, cost: str, rows_NC: IntArray) -> FloatArray:
        """Returns 1 where a device cannot run the network, else 0; shape (N,)."""
        column = cost.replace("latency@", LATENCY_COLUMN, 1)
        if column not in self.results:
            return np.zeros(len(rows_NC))
        return np.isnan(self.values(column, rows_NC)).astype(np.float64)

    def _require_column(self, column: str) -> None:
        if column not in self.results:
            raise UnknownNameError("column", column, list(self.columns))

    def _require_device(self, device: str) -> None:
        if device not in self.devices:
            raise UnknownNameError("device", device, list(self.devices))


@final
@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """The rows (N, C) that a strategy evaluated, in order, and their objectives (N, D), all minimised."""

    rows_NC: IntArray
    points_ND: FloatArray


def searched(problem: Problem, strategy: Strategy, seed: int) -> Trace:
    """Returns the trace of a strategy's search."""
    batches: list[Trace] = []

    def evaluate(rows_NC: IntArray) -> Mapping[str, FloatArray]:
        metrics = problem.evaluate(rows_NC)
        batches.append(Trace(rows_NC, problem.points(rows_NC, metrics)))
        return metrics

    strategy.search(replace(problem, evaluate=evaluate), Workshop(seed=seed))
    rows, points = zip(*((batch.rows_NC, batch.points_ND) for batch in batches), strict=True)
    return Trace(np.concatenate(rows), np.concatenate(points))


# ---- files


def nasbench201(folder: Path) -> TabularBenchmark:
    """Returns NAS-Bench-201 in its own order, with the latencies of HELP and HW-NAS-Bench. Raises DataError."""
    space = load_space("nasbench201")
    written = {choice.name: range(len(choice.options)) for choice in space.choices}
    return _benchmark(_file(folder, "nasbench201.parquet"), space, written, "cifar10_valid_acc")


def conv_macro(folder: Path) -> TabularBenchmark:
    """Returns the networks of TangleNAS's convolutional macro space, each trained alone. Raises DataError.

    The authors measured test accuracy with dropout on, and initialised from the first channels of the widest network.
    """
    space = load_space("conv_macro")
    # conv1.channels, conv1.kernel, conv2.channels, ... are channels0, kernel0, channels1, ... in the file.
    names = [f"{part}{number}" for number in range(4) for part in ("channels", "kernel")]
    written = {name: [int(o) for o in choice.options] for name, choice in zip(names, space.choices, strict=True)}
    return _benchmark(_file(folder, "conv_macro.csv"), space, written, "cifar10_test_acc")


def nasbench_graph(folder: Path) -> TabularBenchmark:
    """Returns NAS-Bench-Graph (Qin et al. 2022): four operators of a graph network, and how they are linked. Raises DataError.

    A link is the operator, from 1, whose output an operator reads; 0 is the network's input. The columns of a graph, such as
    cora, are `cora_val_acc`, which searches see where it is the table's first, `cora_test_acc`, `cora_params` and
    `latency_ms_cora`, which is published in seconds. The table has one representative of each network.
    """
    path = _file(folder, "nasbench_graph.parquet")
    names = [f"op{number}" for number in range(4)]
    texts, numbers = read_texts(path, names), read_columns(path)
    links_T4 = np.stack([option_indices(path, numbers, f"link{number}", range(5)) for number in range(4)], axis=1)
    written = {"links": ["".join(map(str, links_4)) for links_4 in links_T4], **texts}
    operators = tuple(sorted({text for texts_T in texts.values() for text in texts_T}))
    choices = [Choice("links", tuple(sorted(set(written["links"])))), *(Choice(name, operators) for name in names)]
    indices = [[choice.options.index(text) for text in written[choice.name]] for choice in choices]
    results = {name: column for name, column in numbers.items() if not name.startswith(("link", "hash"))}
    for name in [name for name in results if name.endswith(SECONDS_COLUMN)]:
        results[LATENCY_COLUMN + name.removesuffix(SECONDS_COLUMN)] = 1e3 * results.pop(name)
    accuracies = [name for name in results if name.endswith("_val_acc")] or [ACCURACY.name]
    return TabularBenchmark(
        where=str(path),
        space=SearchSpace("nasbench_graph", Choices(choices), Chain(()), (1,), 1),
        rows_TC=np.array(indices, dtype=np.int64).T,
        results=results,
        accuracy=accuracies[0],
        partial=True,
    )


# Loaders of tables from the folder that holds them, or from a file of the same layout.
BENCHMARKS: Final[Mapping[str, Callable[[Path], TabularBenchmark]]] = {
    "nasbench201": nasbench201,
    "conv_macro": conv_macro,
    "nasbench_graph": nasbench_graph,
}


def _file(where: Path, name: str) -> Path:
    """Returns the file of a name in a folder, or the file itself where `where` is one."""
    return where if where.is_file() else where / name


def _benchmark(path: Path, space: SearchSpace, written: Mapping[str, Sequence[int]], accuracy: str) -> TabularBenchmark:
    """Returns the benchmark in a file. `written` maps the column of each choice, in order, to its options as written there."""
    columns = read_columns(path)
    indices = [option_indices(path, columns, name, options) for name, options in written.items()]
    results = {name: _converted(name, column) for name, column in columns.items() if name not in written}
    return TabularBenchmark(
        where=str(path), space=space, rows_TC=np.stack(indices, axis=1), results=results, accuracy=accuracy
    )


def _converted(name: str, column: FloatArray) -> FloatArray:
    if name.endswith(ACCURACY_COLUMN):
        return column / 100
    return measured(column) if name.startswith(LATENCY_COLUMN) else column
