"""Hypervolume of NSGA-II's front against random search's with as many evaluations, on one trained supernet.

    python scripts/bench/hypervolume.py runs/demo

Both strategies search the run's space under the run's budget; both evaluate with the run's supernet and predict with
its predictor. The reference point is stated: the budget, and the validation loss of the fastest architecture, so
nothing counts that is slower than allowed or worse than the fastest.
"""

import argparse
from functools import cache
from pathlib import Path

import numpy as np

from hwnas.core.arch import Arch
from hwnas.core.arrays import FloatArray, IntArray
from hwnas.pipeline.config import Budget
from hwnas.pipeline.limits import limits_of
from hwnas.pipeline.predict import preflight
from hwnas.pipeline.request import load_for, reopen
from hwnas.pipeline.search import search_problem
from hwnas.predict.predictor import LatencyPredictor
from hwnas.strategies.pareto import hypervolume
from hwnas.strategies.registry import STRATEGIES
from hwnas.supernet.network import Supernet
from hwnas.train.loop import SubnetJudge, load_supernet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--evaluations", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()

    run, config, space = reopen(arguments.run, {})
    predictor = LatencyPredictor.load(run.predictor)
    budget = Budget(milliseconds=run.read()["latency_budget_ms"])
    ready = preflight(predictor, space, budget, config.budget_on, largest_ms=0.0, limits=limits_of(config))
    supernet = Supernet(space)
    load_supernet(supernet, run.supernet)
    judge = SubnetJudge(supernet, load_for(space, config, run))

    @cache
    def loss_of(arch: Arch) -> float:
        return judge.validation(arch).loss

    reference = (loss_of(ready.fastest), ready.budget_ms)
    print(f"reference point: loss {reference[0]:.4f} (fastest architecture), {ready.budget_ms:.4f} ms (budget)")
    volumes: dict[str, list[float]] = {name: [] for name in STRATEGIES}
    for seed in range(arguments.seeds):
        for name, strategy in STRATEGIES.items():
            points: list[tuple[float, float]] = []

            def loss(rows_NC: IntArray, points: list[tuple[float, float]] = points) -> FloatArray:
                losses = np.array([loss_of(space.decode(row)) for row in rows_NC])
                points.extend(zip(losses, predictor.predict_ms(rows_NC), strict=True))
                return losses

            problem = search_problem(config, space, predictor, ready, loss)
            strategy(problem, evaluations=arguments.evaluations, seed=seed)
            volumes[name].append(hypervolume(np.array(points), reference))
        print(f"seed {seed}: " + ", ".join(f"{name} {values[-1]:.6f}" for name, values in volumes.items()), flush=True)
    medians = {name: float(np.median(values)) for name, values in volumes.items()}
    print(f"median of {arguments.seeds} seeds, {arguments.evaluations} evaluations each: {medians}")
    print(f"ratio nsga2 / random: {medians['nsga2'] / medians['random']:.3f}")


if __name__ == "__main__":
    main()
