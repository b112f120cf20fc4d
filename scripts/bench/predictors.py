"""Prints the errors of latency predictors on random networks measured afterwards, beside the device's repeat noise.

    python scripts/bench/predictors.py mobilenet mobilenet@160 --out measured     # about ten minutes on two cores
    python scripts/bench/predictors.py                                            # every space below, about an hour
    python scripts/bench/predictors.py mobilenet@224 --conditions cuda/torch/batch=32    # asked.py documents conditions

Each space is profiled: all operators and 100 calibration networks, of which the first 10, 30, 60 and 100 fit predictors.
Then 100 random networks are measured twice, in different sessions; the difference of the two is a lower limit of any
predictor's error. Last come winners: among 50,000 architectures those with the most FLOPs for their predicted latency, as a
search would choose them, where the predictor's errors add up; some of them are measured. `covered` is the share of
networks whose latency is inside the 90 % interval. Tables stay in --out, and are continued.

Shapes: N networks, C choices.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from asked import conditions_of

import hwnas
from hwnas.core.arrays import FloatArray, IntArray
from hwnas.core.space import SearchSpace
from hwnas.pipeline.predict import measurements
from hwnas.predict.fit import fit
from hwnas.predict.measurements import Measurements
from hwnas.predict.predictor import LatencyPredictor
from hwnas.predict.report import errors
from hwnas.profiler.device import Conditions
from hwnas.profiler.profile import Profiling, calibration_networks, measure_works, network_workload, profile
from hwnas.profiler.table import read_table
from hwnas.strategies.pareto import non_dominated
from hwnas.terminal import TerminalReporter

SIZES: Final = (10, 30, 60, 100)
HELD_OUT: Final = 100
SEARCHED: Final = 50_000
WINNERS: Final = 30
SPACES: Final[Mapping[str, tuple[str, Mapping[str, Any]]]] = {
    "mobilenet": ("mobilenet", {}),
    "mobilenet@160": ("mobilenet", {"resolution": 160}),
    "mobilenet@224": ("mobilenet", {"resolution": 224}),
    "fbnet": ("fbnet", {}),
    "proxyless": ("proxyless", {}),
    "nasbench201": ("nasbench201", {}),
    "conv_macro": ("conv_macro", {}),
    "vit": ("vit", {}),
    # The default space is 40 times as large and has the same kinds of operators.
    "gpt": ("gpt", {"embeddings": (128, 192, 256), "heads": (2, 3, 4)}),
}
# Without networks that only a GPU runs fast.
USUAL: Final = [name for name in SPACES if name != "mobilenet@224"]
FIGURES: Final = ("mape", "within_5", "within_10", "spearman", "kendall")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("spaces", nargs="*", default=USUAL, help=f"of {', '.join(SPACES)}")
    parser.add_argument("--conditions", default="cpu")
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()) / "hwnas-predictors")
    arguments = parser.parse_args()
    if unknown := set(arguments.spaces) - set(SPACES):
        parser.error(f"no {', '.join(sorted(unknown))} here; there are {', '.join(SPACES)}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    conditions = conditions_of(arguments.conditions)
    lines = [
        "| space | prediction | MAPE | within 5 % | within 10 % | Spearman | Kendall | covered |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in arguments.spaces:
        start = time.perf_counter()
        reference, options = SPACES[name]
        found = list(measured_lines(hwnas.space(reference, **options), conditions, arguments.out / name))
        lines += [f"| {name} | {line} |" for line in found]
        print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)
    print(*lines, sep="\n")


def measured_lines(space: SearchSpace, conditions: Conditions, stem: Path) -> Iterator[str]:
    """Yields rows: one per number of calibration networks, for the second measurement, for baselines, and for winners."""
    path = stem.with_suffix(".jsonl")
    profile(Profiling(space=space, conditions=conditions, path=path, reporter=TerminalReporter()), networks=max(SIZES))
    table = measurements(read_table(path), space)
    held_NC = np.unique(space.sample_rows(np.random.default_rng(1), 2 * HELD_OUT), axis=0)
    held_NC = np.random.default_rng(2).permutation(held_NC)[:HELD_OUT]
    held_ms, again_ms = (
        times_ms(space, held_NC, conditions, stem.with_suffix(f".held{number}.jsonl"), table) for number in (1, 2)
    )
    for size in SIZES:
        predictor = fit(space, first_networks(space, table, size), conditions.describe())
        yield line(f"{size} networks, {predictor.report['trees']} trees", predictor, held_NC, held_ms)
    yield figures("measured again", again_ms, held_ms)
    for name, baseline in predictor.report["baselines"].items():
        yield f"{name} (held out of {max(SIZES)}) | {' | '.join(written(baseline))} | |"
    winners_NC = winners(space, predictor)
    winner_ms = times_ms(space, winners_NC, conditions, stem.with_suffix(".winners.jsonl"), table)
    yield line(f"{len(winners_NC)} winners of {SEARCHED:,}", predictor, winners_NC, winner_ms)


def first_networks(space: SearchSpace, table: Measurements, size: int) -> Measurements:
    """Returns the measurements with only the first calibration networks."""
    wanted = {arch.key for arch in calibration_networks(space, size)}
    kept = np.array([space.decode(row).key in wanted for row in table.rows_NC])
    other = {statistic: values[kept] for statistic, values in table.other.items()}
    return replace(table, rows_NC=table.rows_NC[kept], networks_N=table.networks_N[kept], other=other)


def times_ms(
    space: SearchSpace, rows_NC: IntArray, conditions: Conditions, path: Path, table: Measurements
) -> FloatArray:
    """Returns the latencies of networks, measured into a separate table, at the clock of the calibration table; shape (N,)."""
    works = [network_workload(space, space.decode(row)) for row in rows_NC]
    measure_works(Profiling(space=space, conditions=conditions, path=path, reporter=TerminalReporter()), works)
    relative = {
        row["key"]: row["p10_ms"] / row["reference_ms"] for row in read_table(path).rows if row["kind"] == "network"
    }
    assert table.reference is not None
    return np.array([table.reference * relative[work.key] for work in works])


def winners(space: SearchSpace, predictor: LatencyPredictor) -> IntArray:
    """Returns architectures with the most FLOPs for their predicted latency, evenly from fast to slow; shape (N, C)."""
    rows_NC = np.unique(space.spread_rows(np.random.default_rng(3), SEARCHED), axis=0)
    predicted_ms = predictor.predict_ms(rows_NC)
    front = np.flatnonzero(non_dominated(np.stack([predicted_ms, -space.costs("flops", rows_NC)], axis=1)))
    order = front[np.argsort(predicted_ms[front])]
    return np.asarray(rows_NC[order[np.unique(np.linspace(0, len(order) - 1, WINNERS).astype(int))]])


def line(what: str, predictor: LatencyPredictor, rows_NC: IntArray, measured_ms: FloatArray) -> str:
    predicted_ms = predictor.predict_ms(rows_NC)
    low, high = predictor.interval
    covered = np.mean((low <= measured_ms / predicted_ms) & (measured_ms / predicted_ms <= high))
    return figures(what, predicted_ms, measured_ms, f"{covered:.0%}")


def figures(what: str, predicted_ms: FloatArray, measured_ms: FloatArray, covered: str = "") -> str:
    return f"{what} | {' | '.join(written(errors(predicted_ms, measured_ms)))} | {covered}"


def written(found: Mapping[str, float | None]) -> list[str]:
    return [f"{found[name]:.3f}" if name in ("spearman", "kendall") else f"{found[name]:.2%}" for name in FIGURES]


if __name__ == "__main__":
    main()
