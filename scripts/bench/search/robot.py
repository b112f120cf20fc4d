"""RoBoT and zero-cost scores against the truth of NAS-Bench-201.

    HWNAS_BENCH_DATA=DIR python scripts/bench/search/robot.py --seeds 10

First table: the regret of 20 evaluations, in points of CIFAR-10 test accuracy: that of the best cell minus that of the evaluated
cell with the best validation accuracy. Means over seeds with the lowest and highest. Cells are those for which the table has
scores, all of them or random pools; the published mark of a score that failed (-1e8) counts as the lowest other score.

Second table: Kendall's tau with the test accuracy, of the published scores on all of these cells and on some of them, and of
hwnas's own scores on the latter, with networks of one cell and width 4 on 16 x 16 digits.
"""

import argparse
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import kendalltau

from hwnas.benchmarks.tabular import ACCURACY, FLOPS, TabularBenchmark, nasbench201, searched
from hwnas.core.arrays import FloatArray, IntArray
from hwnas.costs.cost import Limit
from hwnas.costs.function import FunctionCost
from hwnas.spaces import load_space
from hwnas.strategies.bayesian import most_promising
from hwnas.strategies.problem import Problem
from hwnas.strategies.random import RandomSearch
from hwnas.strategies.robot import Robot

EVALUATIONS = 20
# Random cells before the first Gaussian process over cells.
RANDOM_FIRST = 5
TEST, FAILED = "cifar10_test_acc", -1e8
# hwnas's own names of the published columns; the last ones it does not have.
OWN = {
    "zc_jacov": "jacobian",
    "zc_grad_norm": "grad-norm",
    "zc_snip": "snip",
    "zc_grasp": "grasp",
    "zc_fisher": "fisher",
    "zc_synflow": "synflow",
    "zc_nwot": "naswot",
    "zc_zen": "zen",
    "params_m": "params",
    FLOPS: "flops",
    "zc_plain": "",
    "zc_l2_norm": "",
    "zc_epe_nas": "",
}
SIX = ",".join(list(OWN)[:6])
COMBINED = {
    "RoBoT, the six scores of its paper": SIX,
    "RoBoT, jacobian, grad-norm, snip, synflow": "zc_jacov,zc_grad_norm,zc_snip,zc_synflow",
    "RoBoT, the six, parameters, FLOPs": f"{SIX},params_m,{FLOPS}",
    "RoBoT, all thirteen": ",".join(OWN),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--pools", type=int, nargs="+", default=[15625, 200], help="cells in a pool; 15625 are all")
    parser.add_argument("--own", type=int, default=60, help="networks that hwnas's own scores are computed on")
    parser.add_argument(
        "--data", type=Path, default=os.environ.get("HWNAS_BENCH_DATA"), help="default: HWNAS_BENCH_DATA"
    )
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("give the folder of the tables with --data or HWNAS_BENCH_DATA")
    benchmark = nasbench201(arguments.data)
    print_regrets(benchmark, arguments.pools, arguments.seeds)
    print()
    print_taus(benchmark, arguments.own)


def scored_problem(benchmark: TabularBenchmark) -> Problem:
    """Returns the problem of maximising validation accuracy among the cells that have scores; scores are negated costs."""

    def cost(name: str) -> FunctionCost:
        return FunctionCost(name, "", lambda rows_NC: -column(benchmark, name, rows_NC))

    def unscored(rows_NC: IntArray) -> FloatArray:
        return np.isnan(benchmark.values("zc_jacov", rows_NC)).astype(np.float64)

    return replace(
        benchmark.problem([FLOPS]),
        objectives=(ACCURACY.name,),
        costs={name: cost(name) for name in OWN},
        limits=(Limit(FunctionCost("has no scores", "", unscored), 0.5),),
        start_C=benchmark.rows_TC[np.isfinite(benchmark.results["zc_jacov"]).argmax()],
    )


def column(benchmark: TabularBenchmark, name: str, rows_NC: IntArray) -> FloatArray:
    """Returns a column of the table, or FLOPs; a score that failed counts as the lowest that did not; shape (N,)."""
    if name == FLOPS:
        return benchmark.megaflops(rows_NC)
    published = benchmark.results[name]
    lowest = published[published > FAILED].min()
    return np.asarray(np.nan_to_num(np.maximum(benchmark.values(name, rows_NC), lowest), nan=lowest))


# ---- regrets

Search = Callable[[Problem, IntArray, int], IntArray]


def print_regrets(benchmark: TabularBenchmark, pools: list[int], seeds: int) -> None:
    problem = scored_problem(benchmark)
    searches: dict[str, Search] = {"random": at_random, "Bayesian optimisation over cells": by_process}
    searches |= {f"top {EVALUATIONS} of `{name}`": partial(by_score, name=name) for name in OWN}
    searches |= {name: partial(by_robot, scores=scores) for name, scores in COMBINED.items()}
    drawn = {(size, seed): pool_of(problem, size, seed) for size in pools for seed in range(seeds)}
    sizes = [round(np.mean([len(drawn[size, seed]) for seed in range(seeds)])) for size in pools]
    print("| regret of 20 evaluations |" + "".join(f" pool of {size:,} |" for size in sizes))
    print("|---|" + "---|" * len(pools))
    best = column(benchmark, TEST, benchmark.rows_TC[problem.violation(benchmark.rows_TC) <= 0]).max()
    for name, search in searches.items():
        cells = []
        for size in pools:
            found = [search(problem, drawn[size, seed], seed) for seed in range(seeds)]
            assert all(len(rows_NC) == EVALUATIONS for rows_NC in found)
            regrets = [100 * (best - accuracy(benchmark, problem, rows_NC)) for rows_NC in found]
            cells.append(f"{np.mean(regrets):.2f} ({min(regrets):.2f} to {max(regrets):.2f})")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def accuracy(benchmark: TabularBenchmark, problem: Problem, rows_NC: IntArray) -> float:
    """Returns the test accuracy of the evaluated cell with the best validation accuracy."""
    chosen = int(problem.evaluate(rows_NC)[ACCURACY.name].argmax())
    return float(column(benchmark, TEST, rows_NC[chosen : chosen + 1])[0])


def pool_of(problem: Problem, size: int, seed: int) -> IntArray:
    """Returns the very pool that RoBoT draws with this seed; shape (N, C)."""
    rng = np.random.default_rng(seed)
    return problem.feasible(partial(problem.space.sample_rows, rng), size, rng)


def at_random(problem: Problem, pool_NC: IntArray, seed: int) -> IntArray:
    return searched(problem, RandomSearch(evaluations=EVALUATIONS), seed).rows_NC


def by_score(problem: Problem, pool_NC: IntArray, seed: int, *, name: str) -> IntArray:
    return pool_NC[np.argsort(problem.costs[name].values(pool_NC), kind="stable")[:EVALUATIONS]]


def by_robot(problem: Problem, pool_NC: IntArray, seed: int, *, scores: str) -> IntArray:
    strategy = Robot(evaluations=EVALUATIONS, scores=scores, pool=len(pool_NC), weightings=EVALUATIONS)
    return searched(problem, strategy, seed).rows_NC


def by_process(problem: Problem, pool_NC: IntArray, seed: int) -> IntArray:
    """Evaluates a few random cells, then those of the highest upper confidence bound over their one-hot options."""
    rng = np.random.default_rng(seed)
    one_hot_NX = np.concatenate(
        [np.eye(len(choice.options))[at] for choice, at in zip(problem.space.choices, pool_NC.T, strict=True)], axis=1
    )
    found = rng.choice(len(pool_NC), RANDOM_FIRST, replace=False).tolist()
    while len(found) < EVALUATIONS:
        rest = np.setdiff1d(np.arange(len(pool_NC)), found)
        reward_K = problem.evaluate(pool_NC[found])[ACCURACY.name]
        found.append(int(rest[most_promising(one_hot_NX[found], reward_K, one_hot_NX[rest], rng)]))
    return np.asarray(pool_NC[found])


# ---- rank correlations


def print_taus(benchmark: TabularBenchmark, own: int) -> None:
    problem = scored_problem(benchmark)
    all_NC = benchmark.rows_TC[problem.violation(benchmark.rows_TC) <= 0]
    some_NC = all_NC[np.random.default_rng(0).choice(len(all_NC), own, replace=False)]
    ours = own_scores(some_NC)
    print(f"| Kendall's tau | published, {len(all_NC):,} cells | published, {own} of them | hwnas, the same {own} |")
    print("|---|---|---|---|")
    for name, own_name in OWN.items():
        published = [tau(column(benchmark, name, rows), benchmark, rows) for rows in (all_NC, some_NC)]
        last = f"{tau(ours[own_name], benchmark, some_NC):.2f}" if own_name else ""
        print(f"| {own_name or name} | {published[0]:.2f} | {published[1]:.2f} | {last} |")


def tau(scores_N: FloatArray, benchmark: TabularBenchmark, rows_NC: IntArray) -> float:
    return float(kendalltau(scores_N, column(benchmark, TEST, rows_NC)).statistic)


def own_scores(rows_NC: IntArray) -> Mapping[str, FloatArray]:
    """Returns hwnas's scores of small networks of the same cells, higher for better, by name; shape (N,) each."""
    import torch
    from torch.nn import functional as F

    from hwnas.costs.proxies import MEASURES, ProxyCost
    from hwnas.costs.sizes import SIZES
    from hwnas.data.dataset import load_data

    space = load_space("nasbench201", {"resolution": 16, "width": 4, "cells": 1})
    data = load_data("digits", space.input_shape, outputs=space.classes, vocabulary=None, seed=0)
    first = data.calibration_order()[:64]
    batch: Any = (data.inputs(data.train.raw[first]), torch.from_numpy(data.train.labels[first]))
    costs = [ProxyCost(space=space, name=name, batch=batch, loss=F.cross_entropy) for name in MEASURES]
    sizes = [SIZES[name](space) for name in ("params", "flops")]
    scores = {cost.name: -cost.values(rows_NC) for cost in costs}
    return scores | {size.name: size.values(rows_NC) for size in sizes}


if __name__ == "__main__":
    main()
