"""Gradient search on frozen and on joint weights: `mobilenet` on scikit-learn's digits, amd-epyc's shipped predictor.

    python scripts/bench/gradient_frozen.py budgets --out DIR                     # frozen against 200 evaluations of NSGA-II
    python scripts/bench/gradient_frozen.py budgets --searches joint --out DIR    # weights and probabilities trained in turn
    python scripts/bench/gradient_frozen.py ranking --out DIR                     # do probabilities rank networks?

Every seed has one supernet, trained by --recipe for 30 epochs, and losses are one-shot: of its networks on the
validation split. Budgets are shares of the largest network's latency; a share of a budget is the upper end of a network's
interval over it. Under the same --out nothing is trained or evaluated again.
"""

import argparse
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

import numpy as np
import torch
from scipy.stats import kendalltau

import hwnas
from hwnas.core.arch import Arch
from hwnas.core.optimum import minimise
from hwnas.core.reporter import Silent
from hwnas.core.space import SearchSpace
from hwnas.costs.cost import Limit
from hwnas.costs.predicted import PredictedCost
from hwnas.data.dataset import Dataset, load_data
from hwnas.evaluate.network_evaluator import NetworkEvaluator
from hwnas.evaluate.networks import StagedNetworks
from hwnas.evaluate.sources import SupernetSource
from hwnas.evaluate.split import SplitScore
from hwnas.evaluate.stages import Recalibrate
from hwnas.predict.predictor import LatencyPredictor
from hwnas.predict.shipped import predictor_file, shipped_devices
from hwnas.strategies.gradient.frozen import learn
from hwnas.strategies.gradient.relaxation import Relaxation
from hwnas.strategies.gradient.samplers import sampler
from hwnas.strategies.gradient.strategy import GradientSearchStrategy
from hwnas.strategies.nsga2 import Nsga2
from hwnas.strategies.problem import Problem, Strategy
from hwnas.strategies.workshop import Training, Workshop
from hwnas.supernet.network import Supernet
from hwnas.tasks.classification import Classification
from hwnas.train.recipes import BY_OPTIMIZER, RECIPES
from hwnas.train.supernet import train_supernet
from hwnas.train.weights import load_supernet, save_supernet

SHARES: Final = (0.25, 0.4, 0.6)
CPU: Final = torch.device("cpu")
# Networks that probabilities are compared with.
RANKED: Final = 100
# Epochs of the joint search, after the warm-up's.
JOINT: Final = {"warmup_epochs": 4, "epochs": 12}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=STEPS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--evaluations", type=int, default=60)
    parser.add_argument("--recipe", default="sandwich", choices=RECIPES, help="how the supernet is trained")
    parser.add_argument("--searches", nargs="+", default=["nsga2", "frozen"], choices=("nsga2", "frozen", "joint"))
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out = arguments.out or Path(mkdtemp())
    STEPS[arguments.step](arguments)


@dataclass
class Bench:
    """The supernet of a seed, and the one-shot losses of its networks, by row; both are kept in a folder."""

    seed: int
    folder: Path
    recipe: str
    losses: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.losses |= json.loads(self._file.read_text()) if self._file.exists() else {}

    @cached_property
    def space(self) -> SearchSpace:
        return hwnas.space("mobilenet")

    @cached_property
    def data(self) -> Dataset:
        return load_data("digits", self.space.input_shape, outputs=self.space.classes, seed=self.seed)

    @cached_property
    def cost(self) -> PredictedCost:
        path = predictor_file("amd-epyc/mobilenet", shipped_devices())
        return PredictedCost(LatencyPredictor.load(path), "median", "latency")

    @cached_property
    def supernet(self) -> Supernet:
        path = self.folder / "supernet.safetensors"
        torch.manual_seed(self.seed)
        supernet = Supernet(self.space)
        if path.exists():
            load_supernet(supernet, path)
        else:
            checkpoint = self.folder / "supernet.ckpt"
            task, recipe = Classification(), replace(BY_OPTIMIZER["sgd"], supernet=RECIPES[self.recipe])
            train_supernet(supernet, self.data, task, recipe, seed=self.seed, checkpoint=checkpoint, reporter=Silent())
            save_supernet(supernet, path)
        return supernet

    @cached_property
    def evaluator(self) -> NetworkEvaluator:
        networks = StagedNetworks(SupernetSource(self.supernet), (Recalibrate(self.data, CPU),))
        return NetworkEvaluator(networks, SplitScore(self.data, Classification(), CPU))

    @property
    def _file(self) -> Path:
        return self.folder / "losses.json"

    def loss(self, row_C: np.ndarray) -> float:
        """Returns the one-shot loss of an architecture."""
        key = ",".join(map(str, row_C))
        if key not in self.losses:
            (metrics,) = self.evaluator.evaluate([self.space.decode(row_C)])
            self.losses[key] = metrics["loss"]
        return self.losses[key]

    def save(self) -> None:
        self._file.write_text(json.dumps(self.losses))

    def bound_ms(self, share: float) -> float:
        return share * float(self.cost.upper(self.space.encode([self.space.largest()]))[0])

    def workshop(self, epochs: int) -> Workshop:
        training = Training(
            data=self.data,
            task=Classification(),
            recipe=replace(BY_OPTIMIZER["sgd"], epochs=epochs),
            device=CPU,
            new_supernet=self.fresh,
            supernet=lambda: self.supernet,
        )
        return Workshop(seed=self.seed, folder=self.folder, training=training)

    def fresh(self) -> Supernet:
        torch.manual_seed(self.seed)
        return Supernet(self.space)


@dataclass
class Search:
    """The networks that one search evaluated, and those that it probed, in order."""

    bench: Bench
    bound_ms: float
    earlier_NC: np.ndarray
    evaluated: list[np.ndarray] = field(default_factory=list)
    probed: list[np.ndarray] = field(default_factory=list)

    def evaluate(self, rows_NC: np.ndarray, _evaluator: object = None) -> Mapping[str, np.ndarray]:
        self.evaluated += list(rows_NC)
        return self._metrics(rows_NC)

    def probe(self, rows_NC: np.ndarray) -> Mapping[str, np.ndarray]:
        self.probed += list(rows_NC)
        return self._metrics(rows_NC)

    def _metrics(self, rows_NC: np.ndarray) -> Mapping[str, np.ndarray]:
        loss_N = np.array([self.bench.loss(row_C) for row_C in rows_NC])
        return {"loss": loss_N, "accuracy": np.full(len(rows_NC), np.nan)}

    def run(self, strategy: Strategy, epochs: int = 30) -> tuple[float, float, float]:
        """Returns the least one-shot loss of the evaluated networks, its share of the budget, and seconds."""
        bench = self.bench
        limits = (Limit(bench.cost, self.bound_ms),)
        fastest = minimise(bench.space.choices, bench.cost.factors, [bench.cost.program(self.bound_ms)])
        problem = Problem(
            space=bench.space,
            objectives=("loss", "latency"),
            metrics=Classification().metrics,
            costs={"latency": bench.cost},
            evaluate=self.evaluate,
            probe=self.probe,
            earlier_NC=self.earlier_NC,
            limits=limits,
            asked=limits,
            start_C=bench.space.encode([fastest])[0],
        )
        began = time.perf_counter()
        strategy.search(problem, bench.workshop(epochs))
        seconds = time.perf_counter() - began
        best_C = min(self.evaluated, key=bench.loss)
        bench.save()
        return bench.loss(best_C), float(bench.cost.upper(best_C[None])[0]) / self.bound_ms, seconds


def budgets(arguments: argparse.Namespace) -> None:
    """Prints, by seed and budget, the one-shot loss and the share of the budget of what each search comes to."""
    print(
        "| seed | budget | search | one-shot loss | over NSGA-II's best | share of the budget | evaluations | seconds |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for seed in arguments.seeds:
        bench = Bench(seed, arguments.out / f"{arguments.recipe}-{seed}", arguments.recipe)
        earlier_NC = np.zeros((0, len(bench.space.choices)), dtype=np.int64)
        for share in SHARES:
            bound_ms, best = bench.bound_ms(share), float("nan")
            for name in arguments.searches:
                strategy, epochs = strategy_of(name, arguments.evaluations)
                search, known = Search(bench, bound_ms, earlier_NC), len(earlier_NC)
                loss, used, seconds = search.run(strategy, epochs)
                best = loss if name == "nsga2" else best
                if name == "frozen":
                    earlier_NC = np.unique([*earlier_NC, *search.probed], axis=0)
                new = len(search.probed) - known if search.probed else len(search.evaluated)
                cells = (
                    f"{100 * share:.0f} %",
                    name,
                    f"{loss:.4f}",
                    "" if np.isnan(best) else f"{100 * (loss / best - 1):+.1f} %",
                )
                print(f"| {seed} | {' | '.join(cells)} | {100 * used:.0f} % | {new} | {seconds:.0f} |", flush=True)


def strategy_of(name: str, evaluations: int) -> tuple[Strategy, int]:
    """Returns a search to compare, and the epochs of its recipe."""
    if name == "nsga2":
        return Nsga2(evaluations=200), 30
    if name == "frozen":
        return GradientSearchStrategy(evaluations=evaluations), 30
    return GradientSearchStrategy(scheme="joint", warmup_epochs=JOINT["warmup_epochs"]), JOINT["epochs"]


def ranking(arguments: argparse.Namespace) -> None:
    """Prints Kendall's tau of log-probabilities, and of FLOPs, with minus the one-shot losses of random networks."""
    print("| seed | tau of log-probabilities after 100 steps | of FLOPs | entropy |\n|---|---|---|---|")
    for seed in arguments.seeds:
        bench = Bench(seed, arguments.out / f"{arguments.recipe}-{seed}", arguments.recipe)
        space, workshop = bench.space, bench.workshop(30)
        supernet = Supernet(space)
        supernet.load_state_dict(bench.supernet.state_dict())
        relaxation = Relaxation(space, sampler("darts"), torch.Generator().manual_seed(seed))
        assert workshop.training is not None
        learn(supernet, relaxation, workshop.training, 100, workshop)
        rows_NC = space.sample_rows(np.random.default_rng(seed), RANKED)
        loss_N = [bench.loss(row_C) for row_C in rows_NC]
        bench.save()
        scores = [score_of(relaxation, space.decode(row_C)) for row_C in rows_NC]
        flops = [space.cost("flops", space.decode(row_C)) for row_C in rows_NC]
        taus = [-float(kendalltau(values, loss_N).statistic) for values in (scores, flops)]
        print(f"| {seed} | {taus[0]:.2f} | {taus[1]:.2f} | {relaxation.entropy():.2f} |", flush=True)


def score_of(relaxation: Relaxation, arch: Arch) -> float:
    """Returns the mean log-probability of an architecture's options; choices that are off have their first option."""
    space, known = hwnas.space("mobilenet"), relaxation.probabilities()
    on = [(name, space.choice(name).options.index(arch[name])) for name in known]
    return float(np.mean([known[name][option].log().item() for name, option in on]))


STEPS: Final = {"budgets": budgets, "ranking": ranking}


if __name__ == "__main__":
    main()
