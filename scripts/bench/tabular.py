"""Every strategy against the true front of a tabular benchmark, in seconds.

    HWNAS_BENCH_DATA=DIR python scripts/bench/tabular.py nasbench201 --devices titanx_256 edgegpu

Hypervolume is that of what was evaluated, as a share of that of all architectures that are feasible. The reference point:
the median loss and the greatest latency of these, so that what is less accurate than half of the space counts nothing.
Without --devices, all that the table has; where it has none, millions of FLOPs stand for latency.
"""

import argparse
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hwnas.benchmarks.tabular import BENCHMARKS, TabularBenchmark
from hwnas.core.arrays import FloatArray, IntArray
from hwnas.strategies.pareto import hypervolume
from hwnas.strategies.problem import Problem, Strategy
from hwnas.strategies.registry import STRATEGIES

NEAR = 0.99


@dataclass(frozen=True, slots=True)
class Truth:
    """What no search can exceed."""

    reference: tuple[float, float]
    volume: float


@dataclass(frozen=True, slots=True)
class Search:
    """One run: its hypervolume relative to the truth's, evaluations until that was near 1 (infinite: never), time."""

    volume: float
    evaluations_to_near: float
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("benchmark", choices=BENCHMARKS)
    parser.add_argument("--devices", nargs="+")
    parser.add_argument("--evaluations", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument(
        "--data", type=Path, default=os.environ.get("HWNAS_BENCH_DATA"), help="default: HWNAS_BENCH_DATA"
    )
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("give the folder of the tables with --data or HWNAS_BENCH_DATA")

    benchmark = BENCHMARKS[arguments.benchmark](arguments.data)
    print(f"{arguments.benchmark}, {arguments.evaluations} evaluations, median of {arguments.seeds} seeds")
    for device in arguments.devices or benchmark.devices or [None]:
        problem = benchmark.problem(device=device)
        truth = true_front(benchmark, problem)
        print(f"\n{device or 'millions of FLOPs'}: reference loss {truth.reference[0]:.4f}, {truth.reference[1]:.4f}")
        print(f"{'strategy':<16}{'hypervolume':>12}{f'to {NEAR:.0%}':>8}{'seconds':>9}")
        for name, strategy in STRATEGIES.items():
            runs = [searched(problem, truth, strategy, arguments.evaluations, seed) for seed in range(arguments.seeds)]
            print(f"{name:<16}{row_of(runs)}", flush=True)


def true_front(benchmark: TabularBenchmark, problem: Problem) -> Truth:
    """By looking at everything."""
    rows_NC = benchmark.rows_TC[problem.violation(benchmark.rows_TC) <= 0]
    points_ND = np.stack([problem.loss(rows_NC), problem.latency_ms(rows_NC)], axis=1)
    reference = (float(np.median(points_ND[:, 0])), float(points_ND[:, 1].max()))
    return Truth(reference, hypervolume(points_ND, reference))


def searched(problem: Problem, truth: Truth, strategy: Strategy, evaluations: int, seed: int) -> Search:
    points: list[tuple[float, float]] = []

    def loss(rows_NC: IntArray) -> FloatArray:
        losses_N = problem.loss(rows_NC)
        points.extend(zip(losses_N, problem.latency_ms(rows_NC), strict=True))
        return losses_N

    started = time.perf_counter()
    strategy(replace(problem, loss=loss), evaluations=evaluations, seed=seed)
    seconds = time.perf_counter() - started
    volumes = [hypervolume(np.array(points[:n]), truth.reference) / truth.volume for n in range(1, len(points) + 1)]
    near = (n for n, volume in enumerate(volumes, start=1) if volume >= NEAR)
    return Search(volumes[-1], next(near, np.inf), seconds)


def row_of(runs: Sequence[Search]) -> str:
    volume = np.median([run.volume for run in runs])
    evaluations = np.median([run.evaluations_to_near for run in runs])
    reached = f"{evaluations:.0f}" if np.isfinite(evaluations) else "-"
    return f"{volume:>12.2%}{reached:>8}{np.median([run.seconds for run in runs]):>9.2f}"


if __name__ == "__main__":
    main()
