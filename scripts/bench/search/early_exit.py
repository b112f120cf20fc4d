"""Training that a limit on parameters saves: NSGA-II with and without one on NAS-Bench-201 (EEEA-Net's early-exit population).

    HWNAS_BENCH_DATA=DIR python scripts/bench/search/early_exit.py --seeds 20

EEEA-Net (Termritthikun et al. 2021) draws its first population again until its networks have less than a number of
parameters, and drops larger children untrained. A limit does both in every strategy of hwnas. The limits are percentiles of the
parameters of all architectures.

Both searches evaluate as many networks. Volumes are those of the front below the limit, as shares of what all architectures
below the limit reach; the reference point is their median accuracy and the limit. The last columns tell when the search with
the limit first reaches the volume that the search without it ends with: evaluations, FLOPs and parameters of what it has
trained by then, as shares of the whole search without it. A search that never reaches it counts with all that it
trained. FLOPs and parameters stand for the time of training. All numbers are medians over seeds.
"""

import argparse
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np

from hwnas.benchmarks.tabular import FLOPS, TabularBenchmark, Trace, nasbench201, searched
from hwnas.core.arrays import FloatArray
from hwnas.strategies.nsga2 import Nsga2
from hwnas.strategies.pareto import hypervolume

# Shapes: N evaluated architectures in order, T of the table, D objectives.
PERCENTILES: Final = (40, 60, 80)
PARAMS: Final = "params_m"


@dataclass(frozen=True)
class Below:
    """The front below a limit on parameters, in millions."""

    benchmark: TabularBenchmark
    limit: float

    @cached_property
    def points(self) -> FloatArray:
        """The negated accuracy and the parameters of all architectures below the limit; shape (T, 2)."""
        problem, rows_TC = self.benchmark.problem([PARAMS]), self.benchmark.rows_TC
        points_TD = problem.points(rows_TC, problem.evaluate(rows_TC))
        return points_TD[points_TD[:, 1] <= self.limit]

    @cached_property
    def reference(self) -> tuple[float, float]:
        """The median accuracy, negated, and just over the limit, so that networks at the limit count."""
        return float(np.median(self.points[:, 0])), self.limit * (1 + 1e-9)

    @cached_property
    def best(self) -> float:
        """The hypervolume that no search can exceed."""
        return hypervolume(self.points, self.reference)

    def volumes(self, trace: Trace) -> FloatArray:
        """Returns the share of the hypervolume after each evaluation; networks over the limit add nothing; shape (N,)."""
        counts = range(1, len(trace.points_ND) + 1)
        return np.array([hypervolume(trace.points_ND[:count], self.reference) / self.best for count in counts])


@dataclass(frozen=True, slots=True)
class Pair:
    """One seed with and without the limit: volumes, and shares of what the unlimited search spent."""

    volume_without: float
    volume_with: float
    over_limit: float
    flops_all: float
    params_all: float
    reached: bool
    evaluations: float
    flops: float
    params: float


HEADER: Final = """
| limit | volume without, with the limit | over the limit, of what is trained without it | trained with it: FLOPs, parameters | \
the same volume is reached in | after evaluations, FLOPs, parameters |
|---|---|---|---|---|---|""".strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--evaluations", type=int, default=200)
    parser.add_argument(
        "--data", type=Path, default=os.environ.get("HWNAS_BENCH_DATA"), help="default: HWNAS_BENCH_DATA"
    )
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("give the folder of the tables with --data or HWNAS_BENCH_DATA")

    benchmark, strategy = nasbench201(arguments.data), Nsga2(evaluations=arguments.evaluations)
    without = [searched(benchmark.problem([PARAMS]), strategy, seed) for seed in range(arguments.seeds)]
    print(HEADER)
    for percentile in PERCENTILES:
        limit = float(np.percentile(benchmark.values(PARAMS, benchmark.rows_TC), percentile))
        below, problem = Below(benchmark, limit), benchmark.problem([PARAMS], limits={PARAMS: limit})
        pairs = [pair(below, trace, searched(problem, strategy, seed)) for seed, trace in enumerate(without)]
        print(row(f"{percentile} % ({limit:.3f} M)", pairs), flush=True)


def pair(below: Below, without: Trace, limited: Trace) -> Pair:
    """Returns the comparison of two searches."""
    volume_N, target = below.volumes(limited), below.volumes(without)[-1]
    reached = bool(volume_N[-1] >= target)
    needed = int(np.argmax(volume_N >= target)) + 1 if reached else len(volume_N)
    flops, params = (spent(below.benchmark, limited, name) for name in (FLOPS, PARAMS))
    all_flops, all_params = (spent(below.benchmark, without, name)[-1] for name in (FLOPS, PARAMS))
    return Pair(
        volume_without=float(target),
        volume_with=float(volume_N[-1]),
        over_limit=float((below.benchmark.values(PARAMS, without.rows_NC) > below.limit).mean()),
        flops_all=float(flops[-1] / all_flops),
        params_all=float(params[-1] / all_params),
        reached=reached,
        evaluations=needed / len(without.rows_NC),
        flops=float(flops[needed - 1] / all_flops),
        params=float(params[needed - 1] / all_params),
    )


def spent(benchmark: TabularBenchmark, trace: Trace, cost: str) -> FloatArray:
    """Returns the sum of a cost over the networks evaluated so far, after each evaluation; shape (N,)."""
    return np.cumsum(benchmark.cost(cost).values(trace.rows_NC))


def row(limit: str, pairs: list[Pair]) -> str:
    """Returns a line of the table."""

    def median(name: str) -> str:
        return f"{np.median([getattr(pair, name) for pair in pairs]):.1%}"

    def medians(*names: str) -> str:
        return ", ".join(map(median, names))

    reached = sum(pair.reached for pair in pairs)
    cells = (
        limit,
        medians("volume_without", "volume_with"),
        median("over_limit"),
        medians("flops_all", "params_all"),
        f"{reached} of {len(pairs)} seeds",
        medians("evaluations", "flops", "params"),
    )
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
