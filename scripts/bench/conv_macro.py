"""Gradient searches of the conv_macro space on CIFAR-10, compared by the table of stand-alone accuracies.

    HWNAS_BENCH_DATA=DIR python scripts/bench/conv_macro.py --methods drnas uniform --seeds 0 1 --images 5000 --scale 0.1 \
        --warmup 0.5 --rate 1e-3 --evaluations 60 --out DIR
    HWNAS_BENCH_DATA=DIR python scripts/bench/conv_macro.py --device cuda --seeds 0 1 2 --batch 256 --out DIR
    HWNAS_BENCH_DATA=DIR python scripts/bench/conv_macro.py --methods frozen --epochs 3 --threads 2 --seeds 0 1 2 --out DIR
    HWNAS_BENCH_DATA=DIR python scripts/bench/conv_macro.py --methods --out DIR    # the baselines alone

Each method trains a supernet of its own and derives one network without a budget. The rank is that of the network's
accuracy among all 6,561; the best has rank 1. `uniform` (SPOS) is followed by evolution over the supernet.
`frozen` learns probabilities in 100 steps on the frozen weights of a supernet that single paths have trained for --epochs
passes over the images; an epoch of `hwnas search` has four passes. Three passes over all images take as long as thirty over
5,000, and rank networks far better.

Epochs of the others are the published ones (100 of drnas, 50 of darts, 250 of gdas and uniform) times --scale. A search that was
killed goes on from its last epoch under the same --out.
"""

import argparse
import json
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import torch

from hwnas.benchmarks.tabular import TabularBenchmark, conv_macro
from hwnas.core.arch import Arch
from hwnas.core.optimum import minimise
from hwnas.core.space import SearchSpace
from hwnas.data.dataset import Dataset, load_data
from hwnas.data.options import ImageOptions
from hwnas.evaluate.network_evaluator import NetworkEvaluator
from hwnas.evaluate.networks import StagedNetworks
from hwnas.evaluate.sources import SupernetSource
from hwnas.evaluate.split import SplitScore
from hwnas.evaluate.stages import Recalibrate
from hwnas.strategies.gradient.derive import derive, log_scores
from hwnas.strategies.gradient.frozen import learn
from hwnas.strategies.gradient.penalties import penalty
from hwnas.strategies.gradient.relaxation import Relaxation
from hwnas.strategies.gradient.samplers import sampler
from hwnas.strategies.gradient.schedule import Schedule
from hwnas.strategies.gradient.search import GradientSearch
from hwnas.strategies.gradient.strategy import GradientSearchStrategy
from hwnas.strategies.loss_factors import LossFactors
from hwnas.strategies.nsga2 import Nsga2
from hwnas.strategies.problem import Problem
from hwnas.strategies.workshop import Training, Workshop
from hwnas.supernet.network import Supernet
from hwnas.tasks.classification import Classification
from hwnas.train.devices import TRAINS_ON, training_device
from hwnas.train.recipes import BY_OPTIMIZER, Recipe

PUBLISHED = {"drnas": 100, "darts": 50, "sparsemax": 50, "gates": 100, "gdas": 250, "uniform": 250}
METHODS = ("frozen", *PUBLISHED)
# The ranks of TangleNAS's own searches, from the architectures in its code (toy_search_spaces/conv_macro/train.py).
TANGLENAS = {"DrNAS": (94,), "DARTS": (588, 56), "SPOS and evolution": (680, 74), "random search": (781, 1694)}
# The share of the data that teaches the weights in TangleNAS's code for this space.
SHARE = 0.8


@dataclass(frozen=True, slots=True)
class Watched:
    """Writes notes to stdout."""

    name: str

    def track(self, items: Sequence[Any], what: str) -> Iterable[Any]:
        return items

    def note(self, text: str) -> None:
        print(f"{self.name}: {text}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--methods", nargs="*", default=["frozen", "drnas", "darts", "gdas", "uniform"], choices=METHODS
    )
    parser.add_argument("--epochs", type=int, default=30, help="epochs of the supernet of frozen")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--images", type=int)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the published epochs")
    parser.add_argument("--warmup", type=float, default=0.0, help="share of the epochs that trains weights alone")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=3e-4)
    parser.add_argument("--evaluations", type=int, default=200, help="evaluations of the evolution after uniform")
    parser.add_argument("--device", default="cpu", choices=TRAINS_ON, help="the device to train on")
    parser.add_argument("--mixed-precision", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--data", type=Path, default=os.environ.get("HWNAS_BENCH_DATA"))
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("give the folder of the tables with --data or HWNAS_BENCH_DATA")

    benchmark = conv_macro(arguments.data)
    out = arguments.out or Path(mkdtemp())
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(arguments.threads)
    print_baselines(benchmark)
    if not arguments.methods:
        return
    lines = []
    for method in arguments.methods:
        for seed in arguments.seeds:
            lines.append(searched(benchmark, method, seed, arguments, out))
            print(json.dumps(lines[-1]), flush=True)
    (out / f"conv_macro-{'-'.join(arguments.methods)}.json").write_text(json.dumps(lines, indent=1))
    print(
        "| method | epochs | accuracy of the derived networks | ranks of 6,561 | median | hours |\n|---|---|---|---|---|---|"
    )
    for method in arguments.methods:
        runs = [line for line in lines if line["method"] == method]
        found = ", ".join(f"{100 * run['accuracy']:.2f} %" for run in runs)
        ranks = [run["rank"] for run in runs]
        hours = np.mean([run["seconds"] for run in runs]) / 3600
        print(
            f"| {method} | {runs[0]['epochs']} | {found} | {', '.join(map(str, ranks))} | {np.median(ranks):.0f} | {hours:.2f} |"
        )


def print_baselines(benchmark: TabularBenchmark) -> None:
    """Prints the ranks that need no search: naive networks, a fit to the whole table, and TangleNAS's own."""
    space, accuracy_T = benchmark.space, benchmark.results[benchmark.accuracy]
    largest = space.largest()
    error_T = 100.0 - 100.0 * accuracy_T / max(1.0, accuracy_T.max())
    fitted = minimise(space.choices, LossFactors.fit(space, benchmark.rows_TC, error_T).mean)
    naive = {
        "largest": largest,
        "all channels, middle kernels": middle(space, largest),
        "an additive fit to the whole table": fitted,
    }
    print(f"accuracy: median {np.median(accuracy_T):.4f}, best {accuracy_T.max():.4f}\n| baseline | ranks |\n|---|---|")
    for name, arch in naive.items():
        accuracy = float(benchmark.values(benchmark.accuracy, space.encode([arch]))[0])
        print(f"| {name} | {ranked(benchmark, accuracy)} |")
    for name, ranks in TANGLENAS.items():
        print(f"| TangleNAS's own {name} | {', '.join(map(str, ranks))} |")


def middle(space: SearchSpace, largest: Arch) -> Arch:
    """Returns the architecture of all channels whose kernels are the middle ones."""
    kernels = {c.name: c.options[len(c.options) // 2] for c in space.choices if c.name.endswith("kernel")}
    return space.arch({**largest, **kernels})


def ranked(benchmark: TabularBenchmark, accuracy: float) -> int:
    """Returns the rank of an accuracy among those of the table; the best has rank 1."""
    return 1 + int((benchmark.results[benchmark.accuracy] > accuracy).sum())


def searched(
    benchmark: TabularBenchmark, method: str, seed: int, arguments: argparse.Namespace, out: Path
) -> dict[str, Any]:
    """Returns the facts of one search: its derived network, and that network's accuracy in the table."""
    space = benchmark.space
    data = load_data(
        f"parquet:{arguments.data / 'cifar10'}",
        space.input_shape,
        outputs=10,
        seed=seed,
        limit=arguments.images,
        images=ImageOptions(augmentation="shift+flip"),
    )
    torch.manual_seed(seed)
    device = training_device(arguments.device)
    supernet = Supernet(space).to(device)
    frozen = method == "frozen"
    draws = sampler("uniform" if frozen else method)
    relaxation = Relaxation(space, draws, torch.Generator().manual_seed(seed)).to(device)
    epochs = arguments.epochs if frozen else max(1, round(arguments.scale * PUBLISHED[method]))
    warmup = round(arguments.warmup * epochs) if relaxation.learns else 0
    recipe = replace(BY_OPTIMIZER["adamw"], epochs=epochs - warmup, batch_size=arguments.batch)
    if not frozen:
        recipe = replace(recipe, optimizer="adam", learning_rate=arguments.rate, weight_decay=5e-4)
    search = GradientSearch(
        supernet=supernet,
        relaxation=relaxation,
        data=data,
        task=Classification(),
        recipe=recipe,
        schedule=Schedule(warmup_epochs=warmup, weights_share=SHARE, mixed_precision=arguments.mixed_precision),
        penalty=penalty("none"),
        constraints=[],
        seed=seed,
        reporter=Watched(f"{method} {seed}"),
    )
    began, began_cpu = time.perf_counter(), time.process_time()
    search.run(out / f"{method}-{seed}.pt")
    trained_after = time.perf_counter() - began
    if frozen:
        relaxation = learnt(supernet, data, recipe, seed, device)
    learns, evaluations = relaxation.learns, arguments.evaluations
    arch = derived(space, relaxation) if learns else evolved(supernet, data, seed, evaluations, device)
    accuracy = float(benchmark.values(benchmark.accuracy, space.encode([arch]))[0])
    return {
        "method": method,
        "seed": seed,
        "epochs": epochs,
        "accuracy": accuracy,
        "rank": ranked(benchmark, accuracy),
        "seconds": time.perf_counter() - began,
        "seconds_of_weights": trained_after,
        "cpu_seconds": time.process_time() - began_cpu,
        "arch": arch.key,
    }


def learnt(supernet: Supernet, data: Dataset, recipe: Recipe, seed: int, device: torch.device) -> Relaxation:
    """Returns the probabilities that `--scheme frozen` learns by default."""
    relaxation = Relaxation(supernet.space, sampler("darts"), torch.Generator().manual_seed(seed)).to(device)
    training = Training(
        data=data, task=Classification(), recipe=recipe, device=device, new_supernet=lambda: Supernet(supernet.space)
    )
    steps = GradientSearchStrategy().steps
    learn(supernet, relaxation, training, steps, Workshop(seed=seed, reporter=Watched(f"frozen {seed}")))
    return relaxation


def derived(space: SearchSpace, relaxation: Relaxation) -> Arch:
    """Returns the likeliest architecture."""
    probabilities = {name: p_K.detach().double().cpu().numpy() for name, p_K in relaxation.probabilities().items()}
    return derive(space, log_scores(probabilities))


def evolved(supernet: Supernet, data: Dataset, seed: int, evaluations: int, device: torch.device) -> Arch:
    """Returns the network of least validation loss that NSGA-II breeds; each is evaluated with the supernet's weights."""
    space, task = supernet.space, Classification()
    networks = StagedNetworks(SupernetSource(supernet), (Recalibrate(data, device),))
    evaluator = NetworkEvaluator(networks, SplitScore(data, task, device))
    losses: dict[Arch, float] = {}

    def evaluate(rows_NC: np.ndarray) -> dict[str, np.ndarray]:
        archs = [space.decode(row_C) for row_C in rows_NC]
        of_archs = [metrics["loss"] for metrics in evaluator.evaluate(archs)]
        losses.update(zip(archs, of_archs, strict=True))
        return {"loss": np.array(of_archs)}

    problem = Problem(
        space=space,
        objectives=("loss",),
        metrics=task.metrics,
        costs={},
        evaluate=evaluate,
        start_C=space.encode([space.smallest()])[0],
    )
    Nsga2(evaluations=evaluations).search(problem, Workshop(seed=seed))
    return min(losses, key=losses.__getitem__)


if __name__ == "__main__":
    main()
