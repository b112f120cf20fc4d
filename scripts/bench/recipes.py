"""Compares recipes of supernet training, one switch after the other, by networks without further training.

    python scripts/bench/recipes.py --data digits --epochs 30 --seeds 3

Every arm trains one supernet; the smallest, a median and the largest network are taken from it, their batch-norms are
recalibrated, and their accuracies on validation and test split are printed. The same networks, each trained alone
from new weights for the same epochs, are the last arm; `gap` is the mean over the three networks of its test accuracy
less the arm's, in points. `one pass` is `single-path` with one pass over the data in an epoch, not four. The median
network has the FLOPs in the middle of 101 random ones. Seconds are those of training on one thread: of the supernet,
or of all three networks alone. Figures are means over seeds. `+` arms add their switch to those of the arm above.
"""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import mkdtemp
from time import perf_counter
from typing import Final

import numpy as np
import torch

from hwnas.core.arch import Arch
from hwnas.core.reporter import Reporter
from hwnas.core.space import SearchSpace
from hwnas.data.dataset import Dataset, Split, load_data
from hwnas.evaluate.networks import StagedNetworks
from hwnas.evaluate.sources import AloneSource, SupernetSource, UntrainedSource
from hwnas.evaluate.split import SplitScore
from hwnas.evaluate.stages import Recalibrate
from hwnas.evaluate.training import NetworkTraining
from hwnas.spaces import load_space
from hwnas.supernet.network import Supernet
from hwnas.tasks.registry import load_task
from hwnas.tasks.task import Task
from hwnas.terminal import TerminalReporter
from hwnas.train.recipes import BY_OPTIMIZER, RECIPES, Recipe, SupernetRecipe
from hwnas.train.step import usual_optimizer
from hwnas.train.supernet import train_supernet

SANDWICH: Final = SupernetRecipe(distillation=0.0)
ZERO: Final = SupernetRecipe(distillation=1.0, zero_init=True)
# By name: the supernet's recipe, and the decay of the average.
ARMS: Final[Mapping[str, tuple[SupernetRecipe, float]]] = {
    "one pass": (replace(RECIPES["single-path"], passes=1), 0.0),
    "single-path": (RECIPES["single-path"], 0.0),
    "sandwich": (SANDWICH, 0.0),
    "+distillation": (replace(SANDWICH, distillation=1.0), 0.0),
    "+zero-init": (ZERO, 0.0),
    "+largest-only": (replace(ZERO, regularised="largest"), 0.0),
    "+ending": (RECIPES["bignas"], 0.0),
    "progressive": (RECIPES["progressive"], 0.0),
    "alternating": (RECIPES["alternating"], 0.0),
    "ema": (RECIPES["sandwich"], 0.99),
    "bignas-ema": (RECIPES["bignas"], 0.99),
}
ALONE: Final = "alone"
SIZES: Final = ("smallest", "median", "largest")
CPU: Final = torch.device("cpu")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """The values that all arms of one seed share. `archs` are the networks that are scored, smallest first."""

    space: SearchSpace
    data: Dataset
    task: Task
    recipe: Recipe
    archs: tuple[Arch, ...]
    judged: Split
    seed: int
    folder: Path
    reporter: Reporter

    def supernet(self, arm: str) -> tuple[float, np.ndarray]:
        """Trains a supernet by an arm; returns seconds and accuracies, (3, 2)."""
        shared, ema = ARMS[arm]
        recipe = replace(self.recipe, supernet=shared, ema=ema)
        torch.manual_seed(self.seed)
        supernet = Supernet(self.space)
        start, checkpoint = perf_counter(), self.folder / f"{arm}.pt"
        train_supernet(
            supernet, self.data, self.task, recipe, seed=self.seed, checkpoint=checkpoint, reporter=self.reporter
        )
        seconds = perf_counter() - start
        return seconds, self._scores(StagedNetworks(SupernetSource(supernet)))

    def alone(self) -> tuple[float, np.ndarray]:
        """Trains each network alone; returns seconds and accuracies, (3, 2)."""
        training = NetworkTraining(
            data=self.data,
            task=self.task,
            recipe=self.recipe,
            seed=self.seed,
            device=CPU,
            folder=self.folder,
            reporter=self.reporter,
        )
        source, start = AloneSource(UntrainedSource(self.space, self.seed), training), perf_counter()
        modules = {arch: source.network(arch) for arch in self.archs}
        seconds = perf_counter() - start
        return seconds, self._scores(StagedNetworks(_Kept(modules)))

    def _scores(self, networks: StagedNetworks) -> np.ndarray:
        """Returns the accuracies on validation and test split after recalibration; (3, 2)."""
        calibrated = networks.then(Recalibrate(self.data, CPU))
        splits = [SplitScore(self.data, self.task, CPU), SplitScore(self.data, self.task, CPU, split=self.judged)]
        modules = [calibrated.network(arch) for arch in self.archs]
        return np.array([[split.score(module)["accuracy"] for split in splits] for module in modules])


@dataclass(frozen=True, slots=True)
class _Kept:
    """Networks that are there already, as a source."""

    modules: Mapping[Arch, torch.nn.Module]
    name: str = "alone"

    def network(self, arch: Arch) -> torch.nn.Module:
        return self.modules[arch]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="mobilenet")
    parser.add_argument("--width", type=float, help="the space's option, for smaller networks")
    parser.add_argument("--resolution", type=int, default=32)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--limit", type=int, help="examples of the data, the default is all")
    parser.add_argument("--judge", type=int, help="test examples, the default is those that go with --limit")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--arms", nargs="+", default=[*ARMS, ALONE], choices=[*ARMS, ALONE])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results: dict[str, list[tuple[float, np.ndarray]]] = {arm: [] for arm in arguments.arms}
    for seed in range(arguments.seeds):
        given = setting(arguments, seed)
        for arm in arguments.arms:
            results[arm].append(given.alone() if arm == ALONE else given.supernet(arm))
            print(f"seed {seed}, {line(arm, results)}", flush=True)
    columns = [f"{size} {split}" for size in SIZES for split in ("val", "test")]
    print(f"\n| arm | seconds | {' | '.join(columns)} | gap |\n|{'---|' * (3 + len(columns))}")
    print("\n".join(line(arm, results) for arm in arguments.arms))


def setting(arguments: argparse.Namespace, seed: int) -> Setting:
    """Returns what all arms of a seed share."""
    options = {"resolution": arguments.resolution, **({"width": arguments.width} if arguments.width else {})}
    space = load_space(arguments.space, options)
    data = load_data(arguments.data, space.input_shape, limit=arguments.limit, seed=seed)
    most = (
        arguments.limit if arguments.judge is None else 4 * arguments.judge
    )  # a quarter of a limit is read for the test
    rows = space.sample_rows(np.random.default_rng(0), 101)
    median = space.decode(rows[np.argsort(space.costs("flops", rows), kind="stable")[len(rows) // 2]])
    return Setting(
        space=space,
        data=data,
        task=load_task(data.task),
        recipe=replace(BY_OPTIMIZER[usual_optimizer(Supernet(space))], epochs=arguments.epochs),
        archs=(space.smallest(), median, space.largest()),
        judged=load_data(arguments.data, space.input_shape, limit=most, seed=seed).test,
        seed=seed,
        folder=Path(mkdtemp()),
        reporter=TerminalReporter(),
    )


def line(arm: str, results: Mapping[str, list[tuple[float, np.ndarray]]]) -> str:
    """Returns a row of the table: means over the seeds that are done; the gap once the networks alone are trained."""
    seconds = np.mean([each for each, _ in results[arm]])
    scores = np.mean([each for _, each in results[arm]], axis=0)
    alone = [each for _, each in results.get(ALONE, [])]
    gap = f"{100 * float((np.mean(alone, axis=0) - scores)[:, 1].mean()):+.2f}" if alone else ""
    cells = [f"{seconds:.0f}", *(f"{score:.2%}" for score in scores.flatten()), gap]
    return f"| {arm} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
