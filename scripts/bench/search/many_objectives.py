"""Strategies, and pymoo's algorithms, for three and four objectives: hypervolumes on NAS-Bench-201.

    HWNAS_BENCH_DATA=DIR python scripts/bench/search/many_objectives.py --seeds 10 --at 100 200

Hypervolumes are shares of the hypervolume of all architectures, medians over seeds with the lowest and highest. The
reference point is the median accuracy and the greatest value of each cost. AGE-MOEA-II needs numba (`pip install numba`);
without it its rows are left out.
"""

import argparse
import os
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from hwnas.benchmarks.tabular import TabularBenchmark, nasbench201, searched
from hwnas.core.arrays import FloatArray
from hwnas.strategies.genetic import evolve, nsga2, unsga3
from hwnas.strategies.nsga2 import Nsga2
from hwnas.strategies.pareto import hypervolume
from hwnas.strategies.problem import Problem, Strategy
from hwnas.strategies.random import RandomSearch
from hwnas.strategies.surrogate import Surrogate
from hwnas.strategies.workshop import Workshop

COSTS = (
    ("latency@titanx_256",),
    ("latency@edgegpu", "energy_mj_edgegpu"),
    ("latency@titanx_256", "params_m"),
    ("latency@pixel3", "flops"),
    ("latency@titanx_256", "latency@pixel3", "params_m"),
    ("latency@edgegpu", "energy_mj_edgegpu", "params_m"),
)


class Genetic:
    """One of pymoo's algorithms as a strategy."""

    name: ClassVar[str] = "genetic"
    trains_weights: ClassVar[bool] = False

    def __init__(self, algorithm: Callable[..., Any], population: int, evaluations: int) -> None:
        self.algorithm, self.population, self.evaluations = algorithm, population, evaluations

    def search(self, problem: Problem, workshop: Workshop) -> None:
        most = self.evaluations
        evolve(problem, self.algorithm, evaluations=most, population=self.population, seed=workshop.seed)


def agemoea2(objectives: int, size: int, **operators: Any) -> Any:
    """Returns AGE-MOEA-II (Panichella 2022)."""
    from pymoo.algorithms.moo.age2 import AGEMOEA2

    return AGEMOEA2(pop_size=size, **operators)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--at", type=int, nargs="+", default=[50, 100, 200], help="evaluations; the last ends a search")
    parser.add_argument("--population", type=int, default=Nsga2.population)
    parser.add_argument(
        "--data", type=Path, default=os.environ.get("HWNAS_BENCH_DATA"), help="default: HWNAS_BENCH_DATA"
    )
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("give the folder of the tables with --data or HWNAS_BENCH_DATA")

    benchmark, size, most = nasbench201(arguments.data), arguments.population, arguments.at[-1]
    strategies: dict[str, Strategy] = {
        "random": RandomSearch(evaluations=most),
        "NSGA-II": Genetic(nsga2, size, most),
        "U-NSGA-III": Genetic(unsga3, size, most),
        "surrogate": Surrogate(evaluations=most),
    }
    if find_spec("numba") is not None:
        strategies["AGE-MOEA-II"] = Genetic(agemoea2, size, most)
    print("| objectives | strategy |" + "".join(f" {count} evaluations |" for count in arguments.at))
    print("|---|---|" + "---|" * len(arguments.at))
    of_many: dict[str, list[list[list[float]]]] = {}
    for costs in COSTS:
        problem = benchmark.problem(costs)
        volume = share_of_all(benchmark, problem)
        for name, strategy in strategies.items():
            traces = [searched(problem, strategy, seed).points_ND for seed in range(arguments.seeds)]
            volumes_KS = [[volume(points_ND[:count]) for points_ND in traces] for count in arguments.at]
            print(row(f"accuracy, {', '.join(costs)}", name, volumes_KS), flush=True)
            if len(costs) > 1:
                of_many.setdefault(name, []).append(volumes_KS)
    for name, volumes_PKS in of_many.items():
        print(row("all of three and four", name, np.mean(volumes_PKS, axis=0)))


def share_of_all(benchmark: TabularBenchmark, problem: Problem) -> Callable[[FloatArray], float]:
    """Returns the function from points (N, D) to the share of the hypervolume of all architectures."""
    points_ND = problem.points(benchmark.rows_TC, problem.evaluate(benchmark.rows_TC))
    reference_D = points_ND.max(axis=0)
    reference_D[0] = np.median(points_ND[:, 0])
    scale_D = np.abs(reference_D)
    best = hypervolume(points_ND / scale_D, reference_D / scale_D)
    return partial(_share, reference_D=reference_D, scale_D=scale_D, best=best)


def _share(points_ND: FloatArray, reference_D: FloatArray, scale_D: FloatArray, best: float) -> float:
    return hypervolume(points_ND / scale_D, reference_D / scale_D) / best


def row(objectives: str, name: str, volumes_KS: Any) -> str:
    """Returns a line of the table, from volumes at each of K checkpoints with each of S seeds."""
    cells = [f"{np.median(of):.1%} ({np.min(of):.1%} to {np.max(of):.1%})" for of in volumes_KS]
    return f"| {objectives} | {name} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
