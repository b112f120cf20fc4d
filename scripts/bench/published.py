"""Prints the errors of predicting published latencies from few networks: many devices, in three spaces.

    HWNAS_BENCH_DATA=DIR python scripts/bench/published.py    # about ten minutes on one core
    python scripts/bench/published.py --data DIR --spaces fbnet --devices pixel3 silver_4114 --samples 100

For each space, device and number of samples, networks drawn at random are known and all others of the table are predicted.
A cell of the Markdown tables is the mean absolute relative error and Spearman's rank correlation, means over --seeds draws.

ours      the model of `hwnas fit`: additive, and boosted trees on its residuals where cross-validation favours them
additive  costs of operators, learned from whole networks: features of `hwnas.predict.features`, Bayesian regression
trees     XGBoost on the options alone
FLOPs     the line over FLOPs with the least relative error
normalised, written  the additive model on only one of the views, where a table has two
twins     no prediction: the measured latency of the same cell with its two inner nodes exchanged, where there is one

No operator was measured in isolation, so the additive model has no prior means. Twins differ by the noise of two
measurements; no predictor can be better than 0.7 of their error, which is the noise of one measurement.

Shapes: N networks of a table, K of them known, C choices, F features of trees, P of the additive model, T pairs of twins.
"""

import argparse
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from scipy.sparse import csr_array
from xgboost import XGBRegressor

from hwnas.benchmarks.published import TABLES, PublishedLatencies
from hwnas.core.arrays import FloatArray, IntArray
from hwnas.core.factors import total
from hwnas.core.space import SearchSpace
from hwnas.predict.additive import default_scales, relative
from hwnas.predict.bayes import LogScales
from hwnas.predict.report import cross_validated, errors
from hwnas.predict.transfer import features_of_rows, fitted_ms, unit_basis, view_groups
from hwnas.predict.trees import chosen_trees, fit_trees, tree_factors

SAMPLES: Final = (10, 20, 50, 100, 300, 900)
# Edges of NAS-Bench-201's cell are 0>1, 0>2, 1>2, 0>3, 1>3, 2>3: this is their order when nodes 1 and 2 are exchanged.
EXCHANGED: Final = [1, 0, 2, 3, 5, 4]
BETWEEN: Final = "edge2"
# A device whose latencies are sums of its options' costs to this error was not measured network by network.
EXACT: Final = 0.001

# Mean absolute relative error, and rank correlation.
Figures = FloatArray


@dataclass(frozen=True, eq=False)
class Networks:
    """All networks of a table. `views` are their option indices (N, C): normalised and, where operators without effect may
    have been built, as written."""

    space: SearchSpace
    views: tuple[IntArray, ...]
    design_NP: csr_array
    group_P: IntArray

    @classmethod
    def of(cls, space: SearchSpace, rows_NC: IntArray) -> "Networks":
        normal_NC = space.normalise(rows_NC)
        alike = np.array_equal(space.costs("flops", rows_NC), space.costs("flops", normal_NC))
        views = (normal_NC,) if alike else (normal_NC, rows_NC)
        return cls(space, views, *features_of_rows(space, rows_NC))

    @property
    def believed(self) -> LogScales:
        """The prior of `hwnas fit` for features without isolated measurements."""
        return default_scales(view_groups(self.space, self.group_P), expecting=False)

    def seen(self, view: int) -> "Networks":
        """Returns the networks with only one of the views."""
        view_P, group_P = np.divmod(self.group_P, len(unit_basis(self.space).groups))
        return Networks(self.space, (self.views[view],), self.design_NP[:, view_P == view], group_P[view_P == view])


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """Predict the latency of all networks, given the latencies of the networks at `index_K`."""

    networks: Networks
    index_K: IntArray
    latency_ms_K: FloatArray

    def part(self, some: IntArray) -> "Task":
        """Returns the task with only some of the networks known."""
        return Task(self.networks, self.index_K[some], self.latency_ms_K[some])

    def seen(self, view: int) -> "Task":
        """Returns the task with only one of the networks' views."""
        return Task(self.networks.seen(view), self.index_K, self.latency_ms_K)


def main() -> None:
    arguments = parsed(__doc__, SAMPLES, seeds=3)
    for name in arguments.spaces:
        table = TABLES[name](arguments.data)
        devices = [device for device in table.measured if device in (arguments.devices or table.measured)]
        if devices:
            print(*report(name, table, devices, arguments.samples, arguments.seeds), sep="\n", flush=True)


def parsed(about: str | None, samples: Sequence[int], seeds: int) -> argparse.Namespace:
    """Returns the arguments of a bench of published latencies."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spaces", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--devices", nargs="+", help="default: all")
    parser.add_argument("--samples", nargs="+", type=int, default=samples)
    parser.add_argument("--seeds", type=int, default=seeds)
    parser.add_argument(
        "--data", type=Path, default=os.environ.get("HWNAS_BENCH_DATA"), help="default: HWNAS_BENCH_DATA"
    )
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("give the folder of the tables with --data or HWNAS_BENCH_DATA")
    arguments.data = Path(arguments.data)
    known = {device for name in arguments.spaces for device in TABLES[name](arguments.data).measured}
    if unknown := set(arguments.devices or ()) - known:
        parser.error(f"no table has {', '.join(sorted(unknown))}; they have {', '.join(sorted(known))}")
    most = min(len(TABLES[name](arguments.data).rows_NC) for name in arguments.spaces)
    if max(arguments.samples) >= most:
        parser.error(f"of {most} networks at most {most - 1} can be known; give fewer --samples")
    return arguments


def report(
    name: str, table: PublishedLatencies, devices: Sequence[str], samples: Sequence[int], seeds: int
) -> Iterator[str]:
    """Yields a Markdown table for each number of samples, then one of all medians.

    The median over devices is robust against latencies near 0, whose relative errors are unbounded."""
    networks = Networks.of(table.space, table.rows_NC)
    marks = {device: mark_of(networks, table.measured[device]) for device in devices}
    twins = twin_figures(table, devices)
    medians = {}
    for count in samples:
        figures = {device: judged(networks, table.measured[device], count, seeds) for device in devices}
        medians[f"{count}"] = median(figures)
        beside = {f"{device} {marks[device]}".strip(): figures[device] | twins.get(device, {}) for device in devices}
        yield f"\n{name}, {count} networks known\n"
        yield from lines("device", beside | {"median": median(beside)})
    for mark in dict.fromkeys(filter(None, marks.values())):
        yield f"\n{mark}: {MARKS[mark]}."
    yield f"\n{name}, median over {len(devices)} devices\n"
    yield from lines("networks known", medians)


def lines(first: str, rows: Mapping[str, Mapping[str, Figures]]) -> Iterator[str]:
    """Yields a Markdown table; all rows have the same columns."""
    columns = list(next(iter(rows.values())))
    yield f"| {first} | {' | '.join(columns)} |"
    yield f"|---|{'---|' * len(columns)}"
    for name, row in rows.items():
        yield f"| {name} | {' | '.join(f'{mape:.1%} / {spearman:.3f}' for mape, spearman in row.values())} |"


def median(rows: Mapping[str, Mapping[str, Figures]]) -> dict[str, Figures]:
    """Returns the median of each column."""
    columns = next(iter(rows.values()))
    return {column: np.median([row[column] for row in rows.values()], axis=0) for column in columns}


def judged(networks: Networks, measured_N: FloatArray, samples: int, seeds: int) -> dict[str, Figures]:
    """Returns the figures of each method, means over the draws."""
    runs = np.flatnonzero(np.isfinite(measured_N))
    methods = METHODS if len(networks.views) == 1 else METHODS | ONE_VIEW
    figures: dict[str, list[Figures]] = {method: [] for method in methods}
    for seed in range(seeds):
        order = np.random.default_rng(seed).permutation(runs)
        known, asked = order[:samples], order[samples:]
        task = Task(networks, known, measured_N[known])
        for method, predict_ms in methods.items():
            figures[method].append(figures_of(predict_ms(task)[asked], measured_N[asked]))
    return {method: np.mean(of_method, axis=0) for method, of_method in figures.items()}


def figures_of(predicted_ms: FloatArray, measured_ms: FloatArray) -> Figures:
    """Returns the mean relative error and the rank correlation, which is 0 for a constant prediction."""
    found = errors(predicted_ms, measured_ms)
    return np.array([found["mape"], found["spearman"] or 0.0])


# ---- what is compared


def ours_ms(task: Task) -> FloatArray:
    """Predicts as `hwnas fit` does, from the options of every view of a network; shape (N,)."""

    def additive_of_rest_ms(train: IntArray, rest: IntArray) -> FloatArray:
        return additive_ms(task.part(train))[task.index_K[rest]]

    space, rows_NC = task.networks.space, np.hstack(task.networks.views)
    held_out_ms_K = cross_validated(additive_of_rest_ms, len(task.index_K))
    left_ms_K = task.latency_ms_K - held_out_ms_K
    trees, _ = chosen_trees(rows_NC[task.index_K], left_ms_K, held_out_ms_K)
    if not trees:
        return additive_ms(task)
    choices = [
        replace(choice, name=f"{choice.name}, view {view}")
        for view in range(len(task.networks.views))
        for choice in space.choices
    ]
    booster = fit_trees(rows_NC[task.index_K], left_ms_K, relative(held_out_ms_K) ** 2, trees)
    columns = {choice.name: column for column, choice in enumerate(choices)}
    return additive_ms(task) + total(tree_factors(booster, choices), rows_NC, columns)


def additive_ms(task: Task) -> FloatArray:
    """Predicts by the additive model on the features of every view of a network; shape (N,)."""
    networks = task.networks
    return fitted_ms(networks.design_NP, networks.group_P, task.index_K, task.latency_ms_K, networks.believed)


def trees_ms(task: Task) -> FloatArray:
    """Predicts by boosted trees on the options of every view of a network; shape (N,)."""
    trees = XGBRegressor(
        n_estimators=300, max_depth=4, learning_rate=0.1, min_child_weight=2, subsample=0.8, n_jobs=1, random_state=0
    )
    typical_ms = np.median(task.latency_ms_K)
    weight_K = (typical_ms * relative(task.latency_ms_K)) ** 2
    options_NF = options_of(task.networks)
    trees.fit(options_NF[task.index_K], task.latency_ms_K / typical_ms, sample_weight=weight_K)
    return np.asarray(typical_ms * trees.predict(options_NF).astype(np.float64))


def options_of(networks: Networks) -> FloatArray:
    """Returns the option's index, or one-hot columns for options that are names; shape (N, F)."""
    columns = []
    for view_NC in networks.views:
        for choice, index_N in zip(networks.space.choices, view_NC.T, strict=True):
            named = isinstance(choice.options[0], str)
            columns += [index_N == number for number in range(len(choice.options))] if named else [index_N]
    return np.stack(columns, axis=1).astype(np.float64)


def flops_ms(task: Task) -> FloatArray:
    """Predicts by a line over FLOPs; shape (N,)."""
    cost_N = task.networks.space.costs("flops", task.networks.views[0]) / 1e9
    design_N2 = np.stack([np.ones(len(cost_N)), cost_N], axis=1)
    weight_K = relative(task.latency_ms_K)
    line_2 = np.linalg.lstsq(design_N2[task.index_K] * weight_K[:, None], task.latency_ms_K * weight_K)[0]
    return np.asarray(design_N2 @ line_2)


Method = Callable[[Task], FloatArray]
METHODS: Final[dict[str, Method]] = {
    # A further method is a function like these, and a line here.
    "ours": ours_ms,
    "additive": additive_ms,
    "trees": trees_ms,
    "FLOPs": flops_ms,
}
ONE_VIEW: Final[dict[str, Method]] = {
    "normalised": lambda task: additive_ms(task.seen(0)),
    "written": lambda task: additive_ms(task.seen(1)),
}


# ---- what the tables cannot tell


def twin_figures(table: PublishedLatencies, devices: Sequence[str]) -> dict[str, dict[str, Figures]]:
    """Returns the differences of two measurements of one network, by device; empty where the table has none."""
    first_T, second_T = twins_of(table)
    if len(first_T) < 2:
        return {}
    figures = {}
    for device in devices:
        measured_N = table.measured[device]
        both_T = np.isfinite(measured_N[first_T]) & np.isfinite(measured_N[second_T])
        figures[device] = {"twins": figures_of(measured_N[second_T[both_T]], measured_N[first_T[both_T]])}
    return figures


def twins_of(table: PublishedLatencies) -> tuple[IntArray, IntArray]:
    """Returns cells of NAS-Bench-201 and the same cells with the inner nodes exchanged; (T,) and (T,), pairs both ways.

    Without an edge between the two nodes their names mean nothing, whatever a device builds of what leads nowhere.
    """
    if table.space.name != "nasbench201":
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    nothing = table.space.choice(BETWEEN).options.index("none")
    unconnected = np.flatnonzero(table.rows_NC[:, table.space.columns[BETWEEN]] == nothing)
    place = {tuple(table.rows_NC[number]): number for number in unconnected}
    pairs = [(number, place.get(tuple(np.array(row)[EXCHANGED]), number)) for row, number in place.items()]
    first_T, second_T = np.array([pair for pair in pairs if pair[0] != pair[1]], dtype=np.int64).reshape(-1, 2).T
    return first_T, second_T


MARKS: Final[Mapping[str, str]] = {
    "(whole ms)": "all latencies are whole milliseconds",
    "(sum)": "no network was measured: a sum of its options' costs, fitted to half of the table, gives the other to 0.1 %",
}


def mark_of(networks: Networks, measured_N: FloatArray) -> str:
    """Returns a key of `MARKS`, or an empty text."""
    runs = np.flatnonzero(np.isfinite(measured_N))
    if (measured_N[runs] == measured_N[runs].round()).all():
        return "(whole ms)"
    design_NF = np.hstack([np.eye(index_N.max() + 1)[index_N] for view_NC in networks.views for index_N in view_NC.T])
    half, other = runs[::2], runs[1::2]
    cost_ms_F = np.linalg.lstsq(design_NF[half], measured_N[half])[0]
    error = errors(design_NF[other] @ cost_ms_F, measured_N[other])["mape"]
    return "(sum)" if error is not None and error < EXACT else ""


if __name__ == "__main__":
    main()
