"""Controllers against random search: best accuracy under a latency limit, and hypervolume, on NAS-Bench-201.

    HWNAS_BENCH_DATA=DIR python scripts/bench/search/controller.py
    HWNAS_BENCH_DATA=DIR python scripts/bench/search/controller.py --strategies recurrent    # with random search
    HWNAS_BENCH_DATA=DIR python scripts/bench/search/controller.py states

The first table has, after 200 and 500 evaluations, the accuracy of the best network within a latency that 30 % of all
architectures meet, and, without a limit, the share of the hypervolume of all architectures: medians over seeds with the
lowest and highest. The reference point is the median accuracy and the highest latency. The last column counts, for each
of the four numbers, the seeds with which a strategy beats random search of as many evaluations.

`states` prints Spearman's correlation between distances of hidden states and edit distances of 200 random architectures,
before training, and after it with and without a buffer.
"""

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from hwnas.benchmarks.tabular import TabularBenchmark, nasbench201, searched
from hwnas.core.arrays import FloatArray, IntArray
from hwnas.strategies.controller import Controller
from hwnas.strategies.nsga2 import Nsga2
from hwnas.strategies.pareto import hypervolume
from hwnas.strategies.problem import Problem, Strategy
from hwnas.strategies.random import RandomSearch
from hwnas.strategies.reinforcement.diagnostics import state_correlation
from hwnas.strategies.reinforcement.policies import RecurrentPolicy
from hwnas.strategies.reinforcement.search import UNIFORM, EvaluatedDraws, Search

EVALUATIONS = (200, 500)
SHARE_WITHIN = 0.3
BUFFERS = (0, 10, 50)
PROBED = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=("fronts", "states"), nargs="?", default="fronts")
    parser.add_argument("--device", default="titanx_256")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--strategies", default="", help="those whose names begin so, with random search; default: all")
    parser.add_argument("--evaluations", type=int, nargs="+", default=EVALUATIONS, help="of `states`")
    parser.add_argument(
        "--data", type=Path, default=os.environ.get("HWNAS_BENCH_DATA"), help="default: HWNAS_BENCH_DATA"
    )
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("give the folder of the tables with --data or HWNAS_BENCH_DATA")
    benchmark, cost = nasbench201(arguments.data), f"latency@{arguments.device}"
    if arguments.table == "states":
        states(benchmark, cost, range(arguments.seeds), arguments.evaluations)
    else:
        fronts(benchmark, cost, range(arguments.seeds), arguments.strategies)


def strategies() -> dict[str, Strategy]:
    """Returns random search, NSGA-II, and every kind of controller, by name."""
    most = EVALUATIONS[-1]
    controllers = {
        f"{policy}, {algorithm}, {reward}": Controller(
            evaluations=most, policy=policy, algorithm=algorithm, reward=reward
        )
        for policy in ("factorised", "recurrent")
        for algorithm in ("reinforce", "ppo")
        for reward in ("soft", "hard")
    }
    buffered = {"factorised, reinforce, soft, buffer 10": Controller(evaluations=most, buffer=10)}
    return {"random": RandomSearch(evaluations=most), "nsga2": Nsga2(evaluations=most), **controllers, **buffered}


def fronts(benchmark: TabularBenchmark, cost: str, seeds: Sequence[int], prefix: str) -> None:
    """Prints the table of accuracies and hypervolumes, of random search and the strategies whose names begin with `prefix`."""
    free = benchmark.problem([cost])
    points_ND = free.points(benchmark.rows_TC, free.evaluate(benchmark.rows_TC))
    bound = float(np.quantile(points_ND[:, 1], SHARE_WITHIN))
    reference_D = np.array([np.median(points_ND[:, 0]), points_ND[:, 1].max()])
    whole = hypervolume(points_ND, reference_D)
    best = -points_ND[points_ND[:, 1] <= bound, 0].min()
    print(f"{cost} <= {bound:.4g} ms: the best accuracy is {best:.2%}; {len(seeds)} seeds")
    heads = [f"{what}, {count}" for what in ("accuracy", "hypervolume") for count in EVALUATIONS]
    print(f"| strategy | {' | '.join(heads)} | beats random |")
    print("|---" * (len(heads) + 2) + "|")
    limited = benchmark.problem([cost], limits={cost: bound})
    random_KS: FloatArray | None = None
    chosen = {name: strategy for name, strategy in strategies().items() if name == "random" or name.startswith(prefix)}
    for name, strategy in chosen.items():
        accuracy_KS = results(limited, strategy, seeds, lambda points_ND: float(-points_ND[:, 0].min()))
        volume_KS = results(free, strategy, seeds, lambda points_ND: hypervolume(points_ND, reference_D) / whole)
        values_KS = np.concatenate([accuracy_KS, volume_KS])
        random_KS = values_KS if random_KS is None else random_KS
        wins = ", ".join(str(count) for count in (values_KS > random_KS).sum(axis=1))
        cells = [f"{np.median(of):.2%} ({of.min():.2%} to {of.max():.2%})" for of in values_KS]
        print(f"| {name} | {' | '.join(cells)} | {wins} |", flush=True)


def results(
    problem: Problem, strategy: Strategy, seeds: Sequence[int], judge: Callable[[FloatArray], float]
) -> FloatArray:
    """Returns a number for the points after each of EVALUATIONS, for each seed; shape (K, S)."""
    traces = [searched(problem, strategy, seed).points_ND for seed in seeds]
    return np.array([[judge(points_ND[:count]) for points_ND in traces] for count in EVALUATIONS])


def states(benchmark: TabularBenchmark, cost: str, seeds: Sequence[int], counts: Sequence[int]) -> None:
    """Prints the correlations of hidden states with architectures, one line per buffer."""
    problem = benchmark.problem([cost])
    probed_NC = problem.space.sample_rows(np.random.default_rng(0), PROBED)
    print("| algorithm | evaluations | buffer | before training | after |")
    print("|---" * 5 + "|")
    for algorithm in ("reinforce", "ppo"):
        for evaluations in counts:
            for buffer in BUFFERS:
                options = Controller(evaluations=evaluations, policy="recurrent", algorithm=algorithm, buffer=buffer)
                pairs_S2 = np.array([correlations(problem, options, seed, probed_NC) for seed in seeds])
                cells = [f"{np.median(of):.2f} ({of.min():.2f} to {of.max():.2f})" for of in pairs_S2.T]
                print(f"| {algorithm} | {evaluations} | {buffer} | {' | '.join(cells)} |", flush=True)


def correlations(problem: Problem, options: Controller, seed: int, probed_NC: IntArray) -> tuple[float, float]:
    """Returns the correlation before and after a search."""
    evaluated = EvaluatedDraws(problem=problem, most=options.evaluations)
    uniform_NC = evaluated.add_uniform(np.random.default_rng(seed))
    assert len(uniform_NC) == UNIFORM
    search = Search(problem, options, evaluated, uniform_NC, seed)
    assert isinstance(search.policy, RecurrentPolicy)
    before = state_correlation(search.policy, probed_NC)
    search.run()
    return before, state_correlation(search.policy, probed_NC)


if __name__ == "__main__":
    main()
