"""Every strategy on published tables: the share of the true front's hypervolume, and evaluations until it is near.

    HWNAS_BENCH_DATA=DIR python scripts/bench/search/strategies.py nasbench201 --strategies surrogate nsga2 random
    HWNAS_BENCH_DATA=DIR python scripts/bench/search/strategies.py nasbench201 --table FILE --accuracy cifar100_test_acc

Both objectives are scaled to 0..1 over the table's feasible rows, and the reference point is (1, 1). Of all seeds and
devices: the median share after so many evaluations with the 10th percentile of the seeds, median evaluations to 99 % and
99.9 % (infinite: never), and the seconds that the strategy itself took. Options of a strategy are written
`nsga2:population=32`. Where a table has no latencies, millions of FLOPs stand for them.
"""

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hwnas.benchmarks.tabular import BENCHMARKS, TabularBenchmark, searched
from hwnas.strategies.pareto import hypervolume
from hwnas.strategies.problem import Problem, Strategy
from hwnas.strategies.registry import STRATEGIES, load_strategy_class

NEAR = (0.99, 0.999)
# Strategies that need a supernet, or zero-cost scores, which tables lack.
GRADIENT = ("gradient",)
SCORED = ("robot",)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("benchmark", choices=BENCHMARKS)
    usual = [name for name, strategy in STRATEGIES.items() if name not in (*GRADIENT, *SCORED)]
    parser.add_argument("--strategies", nargs="+", default=usual)
    parser.add_argument("--devices", nargs="+")
    parser.add_argument("--accuracy", nargs="+", help="columns of the table; default: the one that searches see")
    parser.add_argument("--table", type=Path, help="a file of the same layout instead of the benchmark's own")
    parser.add_argument("--evaluations", type=int, default=200)
    parser.add_argument("--at", type=int, nargs="+", default=[20, 50, 100, 200])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--data", type=Path, default=os.environ.get("HWNAS_BENCH_DATA"))
    arguments = parser.parse_args()
    if arguments.data is None and arguments.table is None:
        parser.error("give the folder of the tables with --data or HWNAS_BENCH_DATA, or a file with --table")

    benchmark = BENCHMARKS[arguments.benchmark](arguments.table or arguments.data)
    costs = [f"latency@{device}" for device in arguments.devices or benchmark.devices] or ["flops"]
    counts = [count for count in arguments.at if count <= arguments.evaluations]
    summary: dict[str, list[list[float]]] = {}
    for accuracy in arguments.accuracy or [benchmark.accuracy]:
        for cost in costs:
            print(f"\n{accuracy}, {cost}, {arguments.seeds} seeds\n{header(counts)}")
            problem = benchmark.problem([cost], accuracy=accuracy)
            for name in arguments.strategies:
                runs = [curve(benchmark, problem, made(name, arguments.evaluations), s) for s in range(arguments.seeds)]
                summary.setdefault(name, []).append(figures(runs, counts))
                print(row(name, summary[name][-1], len(counts)), flush=True)
    print(f"\nmedian of {len(costs)} costs\n{header(counts)}")
    for name, lines in summary.items():
        print(row(name, list(np.median(lines, axis=0)), len(counts)))


def made(text: str, evaluations: int) -> Strategy:
    """Returns the strategy of a name, or of a name and its options."""
    name, _, options = text.partition(":")
    pairs = (option.split("=") for option in options.split(",") if option)
    return load_strategy_class(name)(**{"evaluations": evaluations, **dict(pairs)})


def curve(benchmark: TabularBenchmark, problem: Problem, strategy: Strategy, seed: int) -> tuple[list[float], float]:
    """Returns the share of the true hypervolume after each evaluation, and the strategy's seconds."""
    rows_NC = benchmark.rows_TC[problem.violation(benchmark.rows_TC) <= 0]
    every_ND = problem.points(rows_NC, problem.evaluate(rows_NC))
    least_D, span_D = every_ND.min(axis=0), np.ptp(every_ND, axis=0)
    whole = hypervolume((every_ND - least_D) / span_D, (1.0, 1.0))
    began = time.process_time()
    points_ND = (searched(problem, strategy, seed).points_ND - least_D) / span_D
    seconds = time.process_time() - began
    return [hypervolume(points_ND[:n], (1.0, 1.0)) / whole for n in range(1, len(points_ND) + 1)], seconds


def figures(runs: Sequence[tuple[list[float], float]], counts: Sequence[int]) -> list[float]:
    """Returns, for each count, median and 10th percentile of the share; median evaluations to each of `NEAR`; seconds."""
    result: list[float] = []
    for count in counts:
        shares = [volumes[min(count, len(volumes)) - 1] for volumes, _ in runs]
        result += [float(np.median(shares)), float(np.percentile(shares, 10))]
    for near in NEAR:
        reached = [next((n + 1 for n, share in enumerate(volumes) if share >= near), np.inf) for volumes, _ in runs]
        result.append(float(np.percentile(reached, 50, method="higher")))
    return [*result, float(np.median([seconds for _, seconds in runs]))]


def header(counts: Sequence[int]) -> str:
    return (
        "| strategy | "
        + " | ".join(f"after {count} (p10)" for count in counts)
        + " | to 99 % | to 99.9 % | seconds |\n|---|"
        + "---|" * (len(counts) + 3)
    )


def row(name: str, values: Sequence[float], counts: int) -> str:
    shares = [f"{100 * values[2 * i]:.1f} ({100 * values[2 * i + 1]:.1f})" for i in range(counts)]
    reached = [f"{value:.0f}" if np.isfinite(value) else "never" for value in values[2 * counts : 2 * counts + 2]]
    return f"| {name} | {' | '.join([*shares, *reached, f'{values[-1]:.1f}'])} |"


if __name__ == "__main__":
    main()
