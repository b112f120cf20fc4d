"""Searches that begin with the best networks of another search, on NAS-Bench-201: other data, another device.

    HWNAS_BENCH_DATA=DIR python scripts/bench/search/warm_start.py --strategies random nsga2 evolution local --seeds 5

The earlier search, 200 evaluations of NSGA-II, is for CIFAR-10's validation accuracy and the latency of one device; the later
one is for CIFAR-100's test accuracy and the latency of another. As in `hwnas search --warm-start`, the best networks of the
earlier one are evaluated again before the strategy begins, and count. Printed: the share of the true front's hypervolume after
so many evaluations, both objectives scaled to 0..1, reference point (1, 1); median of the seeds, with and without the warm
start.
"""

import argparse
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from hwnas.benchmarks.tabular import nasbench201, searched
from hwnas.core.arrays import FloatArray, IntArray
from hwnas.pipeline.warm_start import MOST
from hwnas.strategies.nsga2 import Nsga2
from hwnas.strategies.pareto import best, hypervolume
from hwnas.strategies.problem import Problem, Strategy
from hwnas.strategies.registry import load_strategy_class
from hwnas.strategies.workshop import Workshop

EARLIER_EVALUATIONS = 200


@dataclass
class Memory:
    """Answers evaluations of a problem, and keeps new rows (bytes) with their points (D,), in order."""

    problem: Problem
    points: dict[bytes, FloatArray] = field(default_factory=dict)

    def __call__(self, rows_NC: IntArray) -> Mapping[str, FloatArray]:
        metrics = self.problem.evaluate(rows_NC)
        points_ND = self.problem.points(rows_NC, metrics)
        for row_C, point_D in zip(rows_NC, points_ND, strict=True):
            self.points.setdefault(row_C.tobytes(), point_D)
        return metrics


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strategies", nargs="+", default=["random", "nsga2", "evolution", "local"])
    parser.add_argument("--earlier-device", default="gold_6240")
    parser.add_argument("--devices", nargs="+", default=["1080ti_1", "edgegpu"])
    parser.add_argument("--at", type=int, nargs="+", default=[20, 30, 50, 100])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--most", type=int, default=MOST, help="networks of the earlier search")
    parser.add_argument("--data", type=Path, default=os.environ.get("HWNAS_BENCH_DATA"))
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("give the folder of the tables with --data or HWNAS_BENCH_DATA")
    benchmark = nasbench201(arguments.data)
    earlier = benchmark.problem([f"latency@{arguments.earlier_device}"], accuracy="cifar10_valid_acc")
    print(f"| device | strategy | {' | '.join(f'after {count}' for count in arguments.at)} |")
    print("|---|---|" + "---|" * len(arguments.at))
    for device in arguments.devices:
        problem = benchmark.problem([f"latency@{device}"], accuracy="cifar100_test_acc")
        rows_NC = benchmark.rows_TC[problem.violation(benchmark.rows_TC) <= 0]
        every_ND = problem.points(rows_NC, problem.evaluate(rows_NC))
        for name in arguments.strategies:
            for warm in (False, True):
                lines = []
                for seed in range(arguments.seeds):
                    strategy = load_strategy_class(name)(evaluations=max(arguments.at))  # type: ignore[call-arg]
                    given_NC = best_of(earlier, seed) if warm else None
                    points_ND = curve(problem, strategy, seed, given_NC, arguments.most)
                    lines.append([share(points_ND[:count], every_ND) for count in arguments.at])
                shares = [f"{100 * value:.1f} %" for value in np.median(lines, axis=0)]
                print(f"| {device} | {name}{', warm' if warm else ''} | {' | '.join(shares)} |", flush=True)


def best_of(problem: Problem, seed: int) -> IntArray:
    """Returns the rows of an earlier search, best first; shape (N, C)."""
    trace = searched(problem, Nsga2(evaluations=EARLIER_EVALUATIONS), seed)
    return trace.rows_NC[best(trace.points_ND, len(trace.rows_NC))]


def curve(problem: Problem, strategy: Strategy, seed: int, given_NC: IntArray | None, most: int) -> FloatArray:
    """Returns the points of all networks that were evaluated, in order; shape (N, D)."""
    memory = Memory(problem)
    problem = replace(problem, evaluate=memory, probe=memory)
    if given_NC is not None:
        given_NC = given_NC[problem.violation(given_NC) <= 0][:most]
        memory(given_NC)
        problem = replace(problem, given_NC=given_NC, earlier_NC=given_NC)
    strategy.search(problem, Workshop(seed=seed))
    return np.array(list(memory.points.values()))


def share(points_ND: FloatArray, every_ND: FloatArray) -> float:
    """Returns the share of the hypervolume of all networks that some have."""
    least_D, span_D = every_ND.min(axis=0), np.ptp(every_ND, axis=0)
    mine, whole = (hypervolume((each - least_D) / span_D, (1.0, 1.0)) for each in (points_ND, every_ND))
    return mine / whole


if __name__ == "__main__":
    main()
