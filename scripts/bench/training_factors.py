"""Do the losses of supernet training rank networks, and does a search gain by them?

    python scripts/bench/training_factors.py --recipes single-path sandwich --seeds 0 1 --searches 4

Every step of supernet training gives the losses of its networks for nothing. Here those of the random networks in the second
half of a training on digits (`mobilenet`, 30 epochs) are fitted by the factors of a loss. What a batch has in common is
taken off first: the loss of the step's first network under `sandwich`, a running mean over 51 steps under `single-path`.
The first table has Kendall's tau of fits with the one-shot validation losses of 60 random networks: of FLOPs, of the
training steps, and of other networks that were evaluated. The second has the hypervolume (x 1000, loss and amd-epyc's latency
within 60 %) of the strategy `surrogate`, without and with the predictions of the training steps as one more feature; means
over --searches seeds of the strategy.
"""

import argparse
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Final

import numpy as np
import torch
from scipy.ndimage import uniform_filter1d
from scipy.stats import kendalltau
from torch import Tensor

import hwnas.train.supernet as training
from hwnas.benchmarks.tabular import searched
from hwnas.core.arch import Arch
from hwnas.core.arrays import FloatArray, IntArray
from hwnas.core.reporter import Silent
from hwnas.core.space import SearchSpace
from hwnas.costs.cost import Limit
from hwnas.costs.predicted import PredictedCost
from hwnas.data.dataset import load_data
from hwnas.evaluate.network_evaluator import NetworkEvaluator
from hwnas.evaluate.networks import StagedNetworks
from hwnas.evaluate.sources import SupernetSource
from hwnas.evaluate.split import SplitScore
from hwnas.evaluate.stages import Recalibrate
from hwnas.predict.predictor import LatencyPredictor
from hwnas.predict.shipped import predictor_file, shipped_devices
from hwnas.spaces import load_space
from hwnas.strategies.loss_factors import LossFactors
from hwnas.strategies.loss_features import LossFeatures
from hwnas.strategies.pareto import hypervolume
from hwnas.strategies.problem import Problem
from hwnas.strategies.surrogate import Surrogate
from hwnas.supernet.network import Supernet
from hwnas.tasks.classification import Classification
from hwnas.train.recipes import BY_OPTIMIZER, RECIPES

RANKED: Final = 60
COUNTS: Final = (6, 12, 25, 50)
AFTER: Final = (8, 10, 15, 20, 30)
# Networks of training steps that are fitted: the fit is cubic in their number.
MOST: Final = 1500
CPU: Final = torch.device("cpu")
TASK: Final = Classification()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--recipes", nargs="+", default=["single-path", "sandwich"], choices=("single-path", "sandwich")
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1], help="of the supernet")
    parser.add_argument("--searches", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=30)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    benches = [Bench(recipe, seed, arguments.epochs) for recipe in arguments.recipes for seed in arguments.seeds]
    print(f"| recipe | seed | FLOPs | training steps | {' | '.join(f'{n} evaluations' for n in COUNTS)} |")
    print("|---|---|---|---|" + "---|" * len(COUNTS))
    for bench in benches:
        print(f"| `{bench.recipe}` | {bench.seed} | {' | '.join(f'{tau:.2f}' for tau in bench.taus())} |", flush=True)
    print(
        f"\n| recipe | seed | feature | {' | '.join(f'after {n}' for n in AFTER)} |\n|---|---|---|{'---|' * len(AFTER)}"
    )
    for bench in benches if arguments.searches else ():
        for words, prior in (("no", None), ("yes", bench.prior)):
            volumes = np.mean([bench.volumes(prior, seed) for seed in range(arguments.searches)], axis=0)
            cells = " | ".join(f"{volume:.2f}" for volume in volumes)
            print(f"| `{bench.recipe}` | {bench.seed} | {words} | {cells} |", flush=True)


@dataclass
class Bench:
    """A supernet, trained, with the factors of its training steps and the one-shot losses of its networks."""

    recipe: str
    seed: int
    epochs: int
    known: dict[bytes, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.space: SearchSpace = load_space("mobilenet", {})
        data = load_data("digits", self.space.input_shape, outputs=self.space.classes, seed=self.seed)
        torch.manual_seed(self.seed)
        supernet = Supernet(self.space)
        recipe = replace(BY_OPTIMIZER["sgd"], supernet=RECIPES[self.recipe], epochs=self.epochs)
        checkpoint = Path(mkdtemp()) / "supernet.ckpt"
        with_losses = Recorded(training.supernet_losses)
        training.supernet_losses = with_losses
        training.train_supernet(supernet, data, TASK, recipe, seed=self.seed, checkpoint=checkpoint, reporter=Silent())
        training.supernet_losses = with_losses.losses
        archs, excess_N = excess(with_losses.steps, self.recipe)
        self.prior = LossFactors.fit(self.space, self.space.encode(archs), excess_N)
        networks = StagedNetworks(SupernetSource(supernet), (Recalibrate(data, CPU),))
        self.evaluator = NetworkEvaluator(networks, SplitScore(data, TASK, CPU))

    def losses(self, rows_NC: IntArray, _evaluator: object = None) -> FloatArray:
        new = {row_C.tobytes(): self.space.decode(row_C) for row_C in rows_NC if row_C.tobytes() not in self.known}
        found = self.evaluator.evaluate(list(new.values()))
        self.known.update({row: metrics["loss"] for row, metrics in zip(new, found, strict=True)})
        return np.array([self.known[row_C.tobytes()] for row_C in rows_NC])

    def taus(self) -> list[float]:
        """Returns Kendall's tau with the losses of random networks: of FLOPs, of training steps, and of evaluated networks."""
        space, rng = self.space, np.random.default_rng(self.seed)
        others_NC, rows_NC = space.sample_rows(rng, RANKED), space.sample_rows(rng, max(COUNTS))
        loss_N = self.losses(rows_NC)
        predictions = [-np.array([space.cost("flops", space.decode(row_C)) for row_C in others_NC])]
        predictions.append(self.prior.predict(others_NC))
        predictions += [LossFactors.fit(space, rows_NC[:n], loss_N[:n]).predict(others_NC) for n in COUNTS]
        truth_N = self.losses(others_NC)
        return [float(kendalltau(prediction_N, truth_N).statistic) for prediction_N in predictions]

    def volumes(self, prior: LossFactors | None, seed: int) -> list[float]:
        """Returns the hypervolume of a search after each of `AFTER` evaluations."""
        space = self.space
        predictor = LatencyPredictor.load(predictor_file("amd-epyc/mobilenet", shipped_devices()))
        cost = PredictedCost(predictor, "median", "latency")
        bound_ms = 0.6 * float(cost.upper(space.encode([space.largest()]))[0])
        limits, smallest_1C = (Limit(cost, bound_ms),), space.encode([space.smallest()])
        problem = Problem(
            space=space,
            objectives=("loss", "latency"),
            metrics=TASK.metrics[:1],
            costs={"latency": cost},
            evaluate=lambda rows_NC, _evaluator=None: {"loss": self.losses(rows_NC)},
            limits=limits,
            asked=limits,
            start_C=smallest_1C[0],
        )
        reference = (float(self.losses(smallest_1C)[0]), bound_ms)
        usual = LossFeatures._raw
        if prior is not None:
            LossFeatures._raw = with_feature(prior, usual)  # type: ignore[method-assign]
        points_ND = searched(problem, Surrogate(evaluations=max(AFTER)), seed).points_ND
        LossFeatures._raw = usual  # type: ignore[method-assign]
        return [1e3 * hypervolume(points_ND[:count], reference) for count in AFTER]


def with_feature(prior: LossFactors, usual: Any) -> Any:
    """Returns the features of architectures with the prediction of training steps as the last one."""

    def raw(features: LossFeatures, rows_NC: IntArray) -> tuple[FloatArray, IntArray]:
        raw_NF, used_NC = usual(features, rows_NC)
        return np.concatenate([raw_NF, prior.predict(rows_NC)[:, None]], axis=1), used_NC

    return raw


@dataclass
class Recorded:
    """The losses of a step as `supernet_losses` gives them; `steps` has each step's networks with theirs."""

    losses: Any
    steps: list[list[tuple[Arch, float]]] = field(default_factory=list)

    def __call__(
        self, supernet: Supernet, batch: Any, task: Any, archs: Iterable[Arch], *more: Any, **named: Any
    ) -> Iterator[Tensor]:
        taken, archs = list[tuple[Arch, float]](), list(archs)
        self.steps.append(taken)
        for arch, loss in zip(archs, self.losses(supernet, batch, task, archs, *more, **named), strict=True):
            taken.append((arch, float(loss.detach())))
            yield loss


def excess(steps: Sequence[Sequence[tuple[Arch, float]]], recipe: str) -> tuple[list[Arch], FloatArray]:
    """Returns random networks of the second half of all steps, and by how much each one's loss exceeds its batch's."""
    late = steps[len(steps) // 2 :]
    if recipe == "sandwich":
        pairs = [(arch, loss - step[0][1]) for step in late for arch, loss in step[2:]]
    else:
        loss_N = np.array([step[0][1] for step in late])
        smooth_N = uniform_filter1d(loss_N, 51)
        pairs = [(step[0][0], loss) for step, loss in zip(late, loss_N - smooth_N, strict=True)]
    return [arch for arch, _ in pairs[-MOST:]], np.array([loss for _, loss in pairs[-MOST:]])


if __name__ == "__main__":
    main()
