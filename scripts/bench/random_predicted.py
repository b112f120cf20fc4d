"""Random search's hypervolume as a fit predicts it, against the hypervolume of a random search on the same supernet.

    hwnas search --strategy nsga2 --device amd-epyc --epochs 3 --evaluations 100 --limit-images 600 --final none --out runs/nsga2
    hwnas search --device amd-epyc --supernet runs/nsga2 --strategy random --evaluations 100 --limit-images 600 --final none \
        --out runs/random
    python scripts/bench/random_predicted.py runs/nsga2 runs/random

The fit is to the first run's evaluations, and so is the scale. `really` is the mean over orders of what the second run
evaluated, `predicted` what `hypervolume.png` draws, `posterior` by draws from the posterior predictive distribution
instead. Both runs have two objectives, loss and latency, and no limits.

Shapes: N architectures, C choices, D objectives, E points of a curve.
"""

import argparse
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np

from hwnas.core.arrays import FloatArray, IntArray
from hwnas.core.factors import total
from hwnas.pipeline.reading import SearchEvaluations
from hwnas.pipeline.request import reopen
from hwnas.predict.additive import relative
from hwnas.predict.predictor import LatencyPredictor
from hwnas.report.hypervolume import Scale, predicted_random
from hwnas.report.metric_fit import MetricFit
from hwnas.runs.database import RunDatabase
from hwnas.runs.folder import RunFolder
from hwnas.tasks.task import Metric

LOSS = Metric(name="loss", unit="nats")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="the run whose evaluations are fitted")
    parser.add_argument("random", type=Path, help="a run of random search on the same supernet")
    arguments = parser.parse_args()
    known, random = evaluated(arguments.run), evaluated(arguments.random)
    latency = LatencyPredictor.load(RunFolder(arguments.run).predictor)
    fit = MetricFit.of(LOSS, known.space, known.rows(), known.values(LOSS))
    scale = Scale.of(points(latency, known.rows(), known.values(LOSS)), [True, False])
    rows_NC, loss_N = random.rows(), random.values(LOSS)
    counts_E = np.array([count for count in (5, 10, 20, 40, 70, 100, 200) if count <= len(rows_NC)])
    pool_NC = known.space.sample_rows(np.random.default_rng(1), 4 * len(rows_NC))
    by_row = {row_C.tobytes(): loss for row_C, loss in zip(rows_NC, loss_N, strict=True)}
    curves = {
        "really": (rows_NC, lambda some_NC, _: np.array([by_row[row_C.tobytes()] for row_C in some_NC])),
        "predicted": (pool_NC, fit.drawn),
        "posterior": (pool_NC, lambda some_NC, rng: from_posterior(fit, some_NC, rng)),
    }
    print(f"{len(known.evaluations)} evaluations explained to {fit.explained:.2f}; evaluations {counts_E.tolist()}")
    for name, (pool, losses) in curves.items():
        shares_RE = predicted_random(
            pool,
            partial(drawn_points, latency, losses),
            scale,
            counts_E,
            np.random.default_rng(0),
        )
        print(f"{name:<10}", " ".join(f"{share:.2f}" for share in shares_RE.mean(axis=0)))


def evaluated(path: Path) -> SearchEvaluations:
    run, _, space = reopen(path, {})
    with closing(RunDatabase.existing(run.database)) as database:
        return SearchEvaluations(space, database.evaluations())


def drawn_points(
    latency: LatencyPredictor,
    losses: Callable[[IntArray, np.random.Generator], FloatArray],
    rows_NC: IntArray,
    rng: np.random.Generator,
) -> FloatArray:
    """Returns drawn losses and predicted latencies; shape (N, 2)."""
    return points(latency, rows_NC, losses(rows_NC, rng))


def points(latency: LatencyPredictor, rows_NC: IntArray, loss_N: FloatArray) -> FloatArray:
    """Returns losses and predicted latencies; shape (N, 2)."""
    return np.stack([loss_N, latency.predict_ms(rows_NC)], axis=1)


def from_posterior(fit: MetricFit, rows_NC: IntArray, rng: np.random.Generator) -> FloatArray:
    """Returns losses drawn from the posterior predictive distribution; shape (N,)."""
    loss_N = total(fit.factors.drawn(rng), rows_NC, fit.space.columns)
    return np.asarray(loss_N + fit.factors.model.noise / relative(loss_N) * rng.standard_normal(len(rows_NC)))


if __name__ == "__main__":
    main()
