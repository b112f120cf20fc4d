"""NSGA-II, evolution, local search, GBDT-NAS, LINAS and random search against the true front of a tabular benchmark.

    HWNAS_BENCH_DATA=DIR python scripts/bench/tabular.py nasbench201 --devices titanx_256 edgegpu

Hypervolumes are shares of the hypervolume of all feasible architectures. The reference point is their median accuracy and
greatest latency, so architectures less accurate than half of the space count nothing. Without --devices, all devices of
the table are used; where it has none, millions of FLOPs stand for latency.
"""

import argparse
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hwnas.benchmarks.tabular import BENCHMARKS, TabularBenchmark, searched
from hwnas.strategies.evolution import Evolution
from hwnas.strategies.gbdt import Gbdt
from hwnas.strategies.linas import Linas
from hwnas.strategies.local import LocalSearch
from hwnas.strategies.nsga2 import Nsga2
from hwnas.strategies.pareto import hypervolume
from hwnas.strategies.problem import Problem, Strategy
from hwnas.strategies.random import RandomSearch

NEAR = 0.99


@dataclass(frozen=True, slots=True)
class Truth:
    """The reference point, and the hypervolume that no search can exceed."""

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
    parser.add_argument("--populations", type=int, nargs="+", default=[Nsga2.population])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument(
        "--data", type=Path, default=os.environ.get("HWNAS_BENCH_DATA"), help="default: HWNAS_BENCH_DATA"
    )
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("give the folder of the tables with --data or HWNAS_BENCH_DATA")

    benchmark = BENCHMARKS[arguments.benchmark](arguments.data)
    print(f"{arguments.benchmark}, {arguments.evaluations} evaluations, median of {arguments.seeds} seeds")
    costs = [f"latency@{device}" for device in arguments.devices or benchmark.devices] or ["flops"]
    for cost in costs:
        problem = benchmark.problem([cost])
        truth = true_front(benchmark, problem)
        print(f"\n{cost}: reference accuracy {-truth.reference[0]:.4f}, {truth.reference[1]:.4f}")
        print(f"{'strategy':<16}{'hypervolume':>12}{f'to {NEAR:.0%}':>8}{'seconds':>9}")
        for name, chosen in strategies(arguments.evaluations, arguments.populations).items():
            runs = [timed(problem, truth, chosen, seed) for seed in range(arguments.seeds)]
            print(f"{name:<16}{row_of(runs)}", flush=True)


def strategies(evaluations: int, populations: Sequence[int]) -> dict[str, Strategy]:
    """Returns the strategies that train no weights, NSGA-II with each population, by name."""
    bred = {f"nsga2-{size}": Nsga2(evaluations=evaluations, population=size) for size in populations}
    kinds = (Evolution, LocalSearch, Gbdt, Linas, RandomSearch)
    others = {strategy.name: strategy(evaluations=evaluations) for strategy in kinds}
    return {**bred, **others}


def true_front(benchmark: TabularBenchmark, problem: Problem) -> Truth:
    """Returns the reference point and hypervolume of everything that is feasible."""
    rows_NC = benchmark.rows_TC[problem.violation(benchmark.rows_TC) <= 0]
    points_ND = problem.points(rows_NC, problem.evaluate(rows_NC))
    reference = (float(np.median(points_ND[:, 0])), float(points_ND[:, 1].max()))
    return Truth(reference, hypervolume(points_ND, reference))


def timed(problem: Problem, truth: Truth, strategy: Strategy, seed: int) -> Search:
    started = time.perf_counter()
    points_ND = searched(problem, strategy, seed).points_ND
    seconds = time.perf_counter() - started
    counts = range(1, len(points_ND) + 1)
    volumes = [hypervolume(points_ND[:count], truth.reference) / truth.volume for count in counts]
    near = (count for count, volume in zip(counts, volumes, strict=True) if volume >= NEAR)
    return Search(volumes[-1], next(near, np.inf), seconds)


def row_of(runs: Sequence[Search]) -> str:
    volume = np.median([run.volume for run in runs])
    evaluations = np.median([run.evaluations_to_near for run in runs])
    reached = f"{evaluations:.0f}" if np.isfinite(evaluations) else "-"
    return f"{volume:>12.2%}{reached:>8}{np.median([run.seconds for run in runs]):>9.2f}"


if __name__ == "__main__":
    main()
