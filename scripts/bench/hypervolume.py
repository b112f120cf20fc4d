"""Compares the hypervolumes of strategies for loss and latency, with equal evaluations of one trained supernet.

    python scripts/bench/hypervolume.py runs/demo --strategies surrogate nsga2 random

All strategies search the run's space under its limits and its largest budget. The supernet of the run gives losses on the
validation split, its predictor gives latencies. The reference point is the loss of the fastest architecture and the budget,
so an architecture that is slower than the budget or worse than the fastest adds no volume.
"""

import argparse
from pathlib import Path

import numpy as np

from hwnas.benchmarks.tabular import searched
from hwnas.core.arch import Arch
from hwnas.core.arrays import FloatArray, IntArray
from hwnas.core.reporter import Silent
from hwnas.costs.cost import Limit
from hwnas.pipeline.checked import checked_request
from hwnas.pipeline.costs import made_costs
from hwnas.pipeline.preflight import fastest
from hwnas.pipeline.request import reopen
from hwnas.pipeline.weights import RunWeights
from hwnas.predict.predictor import LatencyPredictor
from hwnas.runs.folder import RunFolder
from hwnas.strategies.pareto import hypervolume
from hwnas.strategies.problem import Problem
from hwnas.strategies.registry import load_strategy_class


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--strategies", nargs="+", default=["surrogate", "nsga2", "random"])
    parser.add_argument(
        "--at", type=int, nargs="+", default=[50, 100, 200], help="evaluations; the last is where searches end"
    )
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    run = RunFolder(arguments.run)
    budget_ms = run.read("latency_budget_ms")["latency_budget_ms"]
    if budget_ms is None:
        parser.error(f"{run.path} has no latency budget, which the reference point needs; give another run")
    problem = problem_of(run, budget_ms)
    start_loss = float(problem.evaluate(problem.start_C[None])["loss"][0])
    reference = (start_loss, budget_ms)
    print(f"reference point: loss {start_loss:.4f} (fastest architecture), {budget_ms:.4f} ms (budget)")
    volumes: dict[str, list[list[float]]] = {name: [] for name in arguments.strategies}
    for seed in range(arguments.seeds):
        for name in arguments.strategies:
            strategy = load_strategy_class(name)(evaluations=arguments.at[-1])  # type: ignore[call-arg]
            points_ND = searched(problem, strategy, seed).points_ND
            volumes[name].append([1e3 * hypervolume(points_ND[:count], reference) for count in arguments.at])
            print(f"seed {seed}: {name} {np.round(volumes[name][-1], 3)}", flush=True)
    print(f"hypervolume x 1000, median of {arguments.seeds} seeds (least)")
    print(f"| strategy | {' | '.join(f'after {count}' for count in arguments.at)} |\n|---|{'---|' * len(arguments.at)}")
    for name, lines in volumes.items():
        cells = [
            f"{median:.2f} ({least:.2f})" for median, least in zip(np.median(lines, 0), np.min(lines, 0), strict=True)
        ]
        print(f"| {name} | {' | '.join(cells)} |")


def problem_of(run: RunFolder, budget_ms: float) -> Problem:
    """Returns the problem of loss and latency under the limits of a run; an architecture is evaluated once for all searches."""
    _, request, space = reopen(run.path, {})
    checked = checked_request(request, space, run)
    predictors = {
        need.name: LatencyPredictor.load(run.predictor_of(need.kind, need.target.name))
        for need in checked.sources.needs
    }
    costs = made_costs(checked, predictors)
    latency = costs.predicted["latency"]
    bounds = [*request.goal.bounds(), ("latency", budget_ms)]
    limits = tuple(Limit(costs.all[name], bound) for name, bound in bounds)
    evaluator, losses = RunWeights(run, checked, Silent()).evaluator, dict[Arch, float]()

    def evaluate(rows_NC: IntArray) -> dict[str, FloatArray]:
        archs = [space.decode(row_C) for row_C in rows_NC]
        new = [arch for arch in archs if arch not in losses]
        losses.update(zip(new, (metrics["loss"] for metrics in evaluator.evaluate(new)), strict=True))
        return {"loss": np.array([losses[arch] for arch in archs])}

    return Problem(
        space=space,
        objectives=("loss", "latency"),
        metrics=checked.task.metrics,
        costs={"latency": latency},
        evaluate=evaluate,
        limits=limits,
        start_C=space.encode([fastest(space, latency, limits)])[0],
    )


if __name__ == "__main__":
    main()
