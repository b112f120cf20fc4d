"""Hypervolume of NSGA-II's front against random search's with as many evaluations, on one trained supernet.

    python scripts/bench/hypervolume.py runs/demo

Both strategies search the run's space under the run's budget; both evaluate with the run's supernet and predict with
its predictor. The reference point is stated: the budget, and the validation loss of the fastest architecture, so
nothing counts that is slower than allowed or worse than the fastest.
"""

import argparse
from pathlib import Path

import numpy as np

from hwnas.core.cost import FloatArray, IntArray
from hwnas.core.optimum import minimise
from hwnas.latency.predictor import LatencyPredictor
from hwnas.pipeline.search import load_for, reopen
from hwnas.strategies.pareto import hypervolume
from hwnas.strategies.problem import Problem
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
    budget_ms = run.read()["latency_budget_ms"]
    supernet = Supernet(space)
    load_supernet(supernet, run.supernet)
    judge = SubnetJudge(supernet, load_for(space, config))
    known: dict[str, float] = {}

    def loss(rows_NC: IntArray) -> FloatArray:
        archs = [space.decode(row) for row in rows_NC]
        return np.array([known.setdefault(a.id, known.get(a.id) or judge.validation(a).loss) for a in archs])

    fastest_C = space.encode([minimise(space, predictor.factors)])[0]
    reference = (float(loss(fastest_C[None])[0]), budget_ms)
    print(f"reference point: loss {reference[0]:.4f} (fastest architecture), {budget_ms:.4f} ms (budget)")
    volumes: dict[str, list[float]] = {name: [] for name in STRATEGIES}
    for seed in range(arguments.seeds):
        for name, strategy in STRATEGIES.items():
            points: list[tuple[float, float]] = []

            def recorded(rows_NC: IntArray, points: list[tuple[float, float]] = points) -> FloatArray:
                losses = loss(rows_NC)
                points.extend(zip(losses, predictor.predict_ms(rows_NC), strict=True))
                return losses

            problem = Problem(
                space=space,
                latency_ms=predictor.predict_ms,
                loss=recorded,
                limits={"latency": lambda rows: predictor.upper_ms(rows, config.budget_on) / budget_ms - 1},
                fastest_C=fastest_C,
            )
            strategy(problem, evaluations=arguments.evaluations, seed=seed)
            volumes[name].append(hypervolume(np.array(points), reference))
        print(f"seed {seed}: " + ", ".join(f"{name} {values[-1]:.6f}" for name, values in volumes.items()), flush=True)
    medians = {name: float(np.median(values)) for name, values in volumes.items()}
    print(f"median of {arguments.seeds} seeds, {arguments.evaluations} evaluations each: {medians}")
    print(f"ratio nsga2 / random: {medians['nsga2'] / medians['random']:.3f}")


if __name__ == "__main__":
    main()
