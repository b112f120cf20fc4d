"""How many evaluations predictors need to find the best networks of NAS-Bench-201, by accuracy alone.

    HWNAS_BENCH_DATA=DIR python scripts/bench/search/gbdt.py --seeds 20

Every search is the loop of GBDT-NAS: 100 random networks, then 100 per round that a predictor ranks highest. The predictors
are boosted trees, without and with pruning by SHAP values, and a multilayer perceptron (scikit-learn) on the same features.
The random search is a random order of the table. Evaluations until the first of the best 0.1 % (15 networks), and
until the best, by validation accuracy: median over seeds, lowest and highest. A search that spends --evaluations before is
counted as such.
"""

import argparse
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from hwnas.benchmarks.tabular import TabularBenchmark, nasbench201
from hwnas.core.arrays import FloatArray, IntArray
from hwnas.strategies.gbdt import Gbdt, boosted
from hwnas.strategies.learned import Fit, Predict
from hwnas.strategies.problem import Problem

TOP = 0.001
PER_ROUND = 100

# From a problem, the most evaluations and a seed to a search, which stops when `problem.evaluate` raises BestFound.
Method = Callable[[Problem, int, int], None]


class BestFound(Exception):  # noqa: N818 - not an error
    """The best network is evaluated."""


def perceptron(features_NF: FloatArray, target_N: FloatArray, seed: int) -> Predict:
    """Fits a perceptron with two hidden layers of 64 units to standardised targets."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPRegressor

    mean, deviation = target_N.mean(), target_N.std() or 1.0
    model = MLPRegressor(hidden_layer_sizes=(64, 64), max_iter=300, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(features_NF, (target_N - mean) / deviation)
    return lambda features_NF: np.asarray(mean + deviation * model.predict(features_NF))


def random_order(problem: Problem, evaluations: int, seed: int) -> None:
    """Evaluates the whole space in a random order."""
    sizes = [len(choice.options) for choice in problem.space.choices]
    rows_NC = np.indices(sizes).reshape(len(sizes), -1).T
    problem.evaluate(np.random.default_rng(seed).permutation(rows_NC)[:evaluations])


def in_rounds(fit: Fit, prune: Literal["none", "first-order", "second-order"]) -> Method:
    """Returns the loop of GBDT-NAS with a predictor."""

    def search(problem: Problem, evaluations: int, seed: int) -> None:
        strategy = Gbdt(evaluations=evaluations, per_round=PER_ROUND, prune=prune)
        strategy.search_with(fit, problem, seed)

    return search


METHODS: Mapping[str, Method] = {
    "random": random_order,
    "trees": in_rounds(boosted, "none"),
    "trees, first-order pruning": in_rounds(boosted, "first-order"),
    "trees, second-order pruning": in_rounds(boosted, "second-order"),
    "perceptron": in_rounds(perceptron, "none"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), metavar="METHOD")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--evaluations", type=int, default=15_625, help="the most per search (default: all)")
    parser.add_argument(
        "--data", type=Path, default=os.environ.get("HWNAS_BENCH_DATA"), help="default: HWNAS_BENCH_DATA"
    )
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("give the folder of the tables with --data or HWNAS_BENCH_DATA")

    benchmark = nasbench201(arguments.data)
    print(f"| search | to the best {TOP:.1%} | to the best |\n|---|---|---|")
    for name in arguments.methods:
        counts = [counted(benchmark, METHODS[name], arguments.evaluations, seed) for seed in range(arguments.seeds)]
        print(f"| {name} | {' | '.join(cell(column) for column in zip(*counts, strict=True))} |", flush=True)


def counted(benchmark: TabularBenchmark, method: Method, evaluations: int, seed: int) -> tuple[int, int]:
    """Returns the evaluations until the first network of the best 0.1 %, and until the best."""
    problem = replace(benchmark.problem(), objectives=("accuracy",))
    accuracy_T = np.sort(benchmark.values(benchmark.accuracy, benchmark.rows_TC))
    among_the_best = accuracy_T[-int(TOP * len(accuracy_T))]
    seen: list[float] = []

    def evaluate(rows_NC: IntArray) -> Mapping[str, FloatArray]:
        metrics = problem.evaluate(rows_NC)
        seen.extend(metrics["accuracy"].tolist())
        if max(seen) == accuracy_T[-1]:
            raise BestFound
        return metrics

    with suppress(BestFound):
        method(replace(problem, evaluate=evaluate), evaluations, seed)
    return first(seen, among_the_best), first(seen, accuracy_T[-1])


def first(accuracies: Sequence[float], enough: float) -> int:
    """Returns the number of evaluations until an accuracy, or all evaluations."""
    return next((number for number, accuracy in enumerate(accuracies, 1) if accuracy >= enough), len(accuracies))


def cell(counts: Sequence[int]) -> str:
    return f"{np.median(counts):.0f} ({min(counts)} to {max(counts)})"


if __name__ == "__main__":
    main()
