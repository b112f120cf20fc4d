"""Prints how many networks the intervals of latency predictors cover: published devices, and the shipped tables.

    HWNAS_BENCH_DATA=DIR python scripts/bench/coverage.py                  # about five minutes on one core
    python scripts/bench/coverage.py --data DIR --spaces fbnet --devices titanx_1 gold_6240 --tables
    python scripts/bench/coverage.py --spaces --tables mobilenet           # only this shipped table

Published devices: --samples networks drawn at random are known, and all others of the table are asked for. A cell is the mean
over devices of the share inside the 90 % interval, and the share on the worst device.

random         all networks that are not known
fast, slow     the tenth of these with the least, and with the most, predicted latency
winners        the first three layers of the front of accuracy (NAS-Bench-201) or FLOPs against predicted latency
over           winners that are slower than the upper end
width          the median width of the interval, relative to the prediction

Shipped tables: a third of the networks in turn is predicted by a fit to the others, four times. `p10` is the share inside the
interval, `median` and `p90` are the shares below the upper end, for which 95 % are promised. Then the difference between the
two sessions of the repeated networks, its standard error, and the standard deviation between sessions that is made of it.

before  the quantiles of cross-validated errors alone, and for `median` and `p90` times the upper quartile of their ratio to p10
after   the intervals of `hwnas fit`

Shapes: N networks of a table, K of them known.
"""

import argparse
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from published import Networks

import hwnas
from hwnas.benchmarks.columns import read_columns
from hwnas.benchmarks.published import TABLES, PublishedLatencies
from hwnas.core.arrays import FloatArray, IntArray
from hwnas.core.space import SearchSpace
from hwnas.pipeline.predict import measurements
from hwnas.predict.additive import FASTEST, LEAST, relative
from hwnas.predict.bayes import Posterior, fit_posterior
from hwnas.predict.fit import fit
from hwnas.predict.interval import Scale, cross_validation_interval, upper_quantile
from hwnas.predict.measurements import SESSION_NOISE, Measurements
from hwnas.predict.report import folds
from hwnas.predict.shipped import shipped_devices
from hwnas.profiler.table import Row, read_table
from hwnas.spaces import SPACES
from hwnas.strategies.pareto import non_dominated

# Latencies near 0, whose relative errors mean nothing (docs/predicting.md, "Where it is bad"); sums that nobody measured.
LEFT_OUT: Final = frozenset({"nasbench201 pixel3", "fbnet pixel3"})
LAYERS: Final = 3
TENTH: Final = 10
GROUPS: Final = ("random", "fast", "slow", "winners", "over", "width")
Figures = Mapping[str, FloatArray]


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """The additive model of `hwnas fit` on every view of networks, as in `published.py`, with its uncertainty."""

    networks: Networks
    posterior: Posterior
    typical_ms: float
    least_ms: float

    @classmethod
    def to(cls, networks: Networks, known_K: IntArray, measured_K: FloatArray) -> "Fitted":
        """Returns the model after known networks."""
        typical_ms, weight_K = float(np.median(measured_K)), relative(measured_K)
        design_KP = networks.design_NP[known_K].multiply(typical_ms * weight_K[:, None]).tocsr()
        posterior = fit_posterior(design_KP, measured_K * weight_K, networks.group_P, networks.believed)
        return cls(networks, posterior, typical_ms, LEAST * float(measured_K.min()))

    def ms(self, asked: IntArray) -> FloatArray:
        """Returns the predicted latencies of networks, by their places in the table; shape (N,)."""
        return np.maximum(self.typical_ms * (self.networks.design_NP[asked] @ self.posterior.mean_P), self.least_ms)

    def uncertainty(self, asked: IntArray) -> FloatArray:
        """Returns `AdditiveModel.uncertainty` of networks; shape (N,)."""
        share_N = self.typical_ms / np.maximum(self.ms(asked), FASTEST * self.typical_ms)
        design_NP = self.networks.design_NP[asked].multiply(share_N[:, None]).tocsr()
        variance_N = np.maximum(np.diag(self.posterior.covariance(design_NP)), 0.0)
        return np.hypot(np.sqrt(variance_N), self.posterior.noise)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spaces", nargs="*", choices=TABLES, default=list(TABLES))
    parser.add_argument("--devices", nargs="+", help="default: all")
    parser.add_argument("--tables", nargs="*", default=list(SPACES), help="the spaces of shipped tables, default: all")
    parser.add_argument("--samples", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data", type=Path, default=os.environ.get("HWNAS_BENCH_DATA"))
    arguments = parser.parse_args()
    if arguments.spaces and arguments.data is None:
        parser.error("give the folder of the tables with --data or HWNAS_BENCH_DATA")
    found: dict[str, Figures] = {}
    for name in arguments.spaces:
        found |= devices_of(name, Path(arguments.data), arguments.devices, arguments.samples, arguments.seeds)
    if found:
        print(*published_lines(found), sep="\n", flush=True)
    if arguments.tables:
        print(*shipped_lines(arguments.tables), sep="\n")


# ---- published devices


def devices_of(
    name: str, folder: Path, devices: Sequence[str] | None, samples: int, seeds: int
) -> dict[str, dict[str, FloatArray]]:
    """Returns the figures of each device, means over the draws: a row before and a row after."""
    table = TABLES[name](folder)
    networks = Networks.of(table.space, table.rows_NC)
    gain_N = gain_of(name, folder, table)
    found = {}
    for device, measured_N in table.measured.items():
        if f"{name} {device}" in LEFT_OUT or device not in (devices or [device]):
            continue
        runs = np.flatnonzero(np.isfinite(measured_N))
        draws = [np.random.default_rng(seed).permutation(runs)[:samples] for seed in range(seeds)]
        figures = [figures_of(networks, measured_N, known_K, gain_N) for known_K in draws]
        found[f"{name} {device}"] = {when: np.mean([one[when] for one in figures], axis=0) for when in figures[0]}
    return found


def gain_of(name: str, folder: Path, table: PublishedLatencies) -> FloatArray:
    """Returns what a search would maximise: accuracy where it is published, else FLOPs; shape (N,)."""
    if name == "nasbench201":
        return read_columns(folder / "nasbench201.parquet")["cifar10_valid_acc"]
    return table.space.costs("flops", table.space.normalise(table.rows_NC)).astype(float)


def figures_of(
    networks: Networks, measured_N: FloatArray, known_K: IntArray, gain_N: FloatArray
) -> dict[str, FloatArray]:
    """Returns the figures of `GROUPS` before and after, from one draw of known networks."""
    measured_K = measured_N[known_K]
    held_out_K, uncertainty_K = np.empty(len(known_K)), np.empty(len(known_K))
    for train, rest in folds(len(known_K)):
        model = Fitted.to(networks, known_K[train], measured_K[train])
        held_out_K[rest], uncertainty_K[rest] = model.ms(known_K[rest]), model.uncertainty(known_K[rest])
    predicted_N = Fitted.to(networks, known_K, measured_K).ms(np.arange(len(measured_N)))
    scales = {
        "before": Scale(networks_N=np.ones(len(known_K)), session=0.0),
        "after": Scale.of_uncertainty(uncertainty_K, SESSION_NOISE),
    }
    asked = np.setdiff1d(np.flatnonzero(np.isfinite(measured_N)), known_K)
    ratio_N = measured_N / predicted_N
    groups = groups_of(asked, predicted_N, gain_N)
    found = {}
    for when, scale in scales.items():
        low, high = cross_validation_interval(measured_K / held_out_K, scale)
        inside = [np.mean((low <= ratio_N[group]) & (ratio_N[group] <= high)) for group in groups]
        found[when] = np.array([*inside, np.mean(ratio_N[groups[-1]] > high), high - low])
    return found


def groups_of(asked: IntArray, predicted_N: FloatArray, gain_N: FloatArray) -> list[IntArray]:
    """Returns random networks, the fastest and the slowest tenth, and winners, as places in the table."""
    order = asked[np.argsort(predicted_N[asked])]
    tenth = len(order) // TENTH
    left, winners = asked, list[IntArray]()
    for _ in range(LAYERS):
        best = non_dominated(np.stack([predicted_N[left], -gain_N[left]], axis=1))
        winners.append(left[best])
        left = left[~best]
    return [asked, order[:tenth], order[-tenth:], np.concatenate(winners)]


def published_lines(found: Mapping[str, Figures]) -> Iterator[str]:
    """Yields a Markdown table of all devices, and one of means and worst devices."""
    yield f"\n| device | {' | '.join(f'{group}, before | after' for group in GROUPS)} |"
    yield f"|---|{'---|' * (2 * len(GROUPS))}"
    for device, figures in found.items():
        pairs = zip(figures["before"], figures["after"], strict=True)
        yield f"| {device} | {' | '.join(f'{before:.1%} | {after:.1%}' for before, after in pairs)} |"
    yield f"\n| {len(found)} devices | {' | '.join(GROUPS)} |"
    yield f"|---|{'---|' * len(GROUPS)}"
    for when in ("before", "after"):
        figures_DG = np.array([figures[when] for figures in found.values()])
        worst = [max if group in ("over", "width") else min for group in GROUPS]
        cells = [
            f"{column.mean():.1%}, {of_all(column):.1%}"
            for column, of_all in zip(figures_DG.T[:-1], worst, strict=False)
        ]
        yield f"| {when} | {' | '.join(cells)} | {np.median(figures_DG[:, -1]):.1%} |"


# ---- shipped tables


def shipped_lines(names: Sequence[str]) -> Iterator[str]:
    """Yields a Markdown table of coverage on the shipped tables, and one of their sessions."""
    yield "\n| shipped table | p10, before | after | median, before | after | p90, before | after |"
    yield "|---|---|---|---|---|---|---|"
    sessions = ["\n| shipped table | difference between sessions | standard error | estimate |", "|---|---|---|---|"]
    for device in shipped_devices().values():
        for name in [name for name in device.tables if name in names]:
            space, table = hwnas.space(name), read_table(device.table(name))
            measured = measurements(table, space)
            shares_6 = kept_shares(space, measured)
            yield f"| {device.name}/{name} | {' | '.join(f'{share:.1%}' for share in shares_6)} |"
            mean, error = difference(table.rows)
            sessions.append(f"| {device.name}/{name} | {mean:+.2%} | {error:.2%} | {measured.session_noise:.2%} |")
    yield from sessions


def kept_shares(space: SearchSpace, measured: Measurements) -> FloatArray:
    """Returns the shares of networks within what is promised for p10, median and p90, before and after each; shape (6,)."""
    kept, rows = [], np.arange(len(measured.rows_NC))
    for seed in range(4):
        for test in np.array_split(np.random.default_rng(seed).permutation(rows), 3):
            train = part(measured, np.setdiff1d(rows, test))
            predictor = fit(space, train, {})
            points = predictor.report["points"]
            error_N = np.log(np.divide(points["measured_ms"], points["predicted_ms"]))
            low, high = -upper_quantile(-error_N, 0.95), upper_quantile(error_N, 0.95)
            predicted_N = predictor.predict(measured.rows_NC[test])
            ratio = np.log(measured.networks_N[test] / predicted_N)
            after = np.log(predictor.interval)
            inside = [(min(0, low) <= ratio) & (ratio <= max(0, high)), (after[0] <= ratio) & (ratio <= after[1])]
            for statistic in ("median", "p90"):
                other = measured.other[statistic][test] / predicted_N
                before = np.exp(max(0, high)) * predictor.statistics[statistic]
                inside += [other <= before, other <= predictor.upper_ratio(statistic)]
            kept.append(np.array(inside))
    return np.asarray(np.concatenate(kept, axis=1).mean(axis=1))


def part(measured: Measurements, networks: IntArray) -> Measurements:
    """Returns the measurements of some networks."""
    other = {statistic: value_N[networks] for statistic, value_N in measured.other.items()}
    return replace(measured, rows_NC=measured.rows_NC[networks], networks_N=measured.networks_N[networks], other=other)


def difference(rows: Sequence[Row]) -> tuple[float, float]:
    """Returns the mean relative difference of the networks that were measured twice, and its standard error."""
    first, again = (
        {
            row["key"]: row["p10_ms"] / row["reference_ms"]
            for row in rows
            if row["kind"] == "network" and row.get("repeat", 0) == repeat
        }
        for repeat in (0, 1)
    )
    logs = np.log([again[key] / first[key] for key in again])
    return float(logs.mean()), float(logs.std(ddof=1) / np.sqrt(len(logs)))


if __name__ == "__main__":
    main()
