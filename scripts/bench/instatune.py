"""Compares plain with elastic fine-tuning of one trained network, by the networks that are cut from it without further training.

    python scripts/bench/instatune.py --data parquet:DIR

A small vision transformer first learns by how many quarters its images are turned, which takes no labels, and then the classes of
--limit of them. Every arm below fine-tunes the same network with a new last layer for --epochs passes over the examples:

    plain          the network alone, on the labels; then it is made elastic
    largest        recipe `instatune`: the largest network on the labels, a random one on these and the largest's outputs (g = 0)
    tuned          the same, where the network of the arm `plain` teaches both (g = 1)
    tuned, half    the same, where that teacher leaves after half of the steps
    alternating    the largest network and random ones in turn, on the labels, for twice as many steps
    single-path    random networks on the labels, for twice as many steps

So every arm but `plain` trains as many networks; `plain` trains half of them, and `plain, twice` all, too. Accuracies are those
of --judge test images by 50 random networks, the same for every arm, the smallest and the largest.
"""

import argparse
import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import mkdtemp
from time import perf_counter
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

import hwnas
from hwnas.core.arch import Arch
from hwnas.core.reporter import Reporter
from hwnas.data.dataset import Dataset, Split, load_data
from hwnas.elastic.sources import LoadedModel, with_classes
from hwnas.evaluate.split import SplitScore
from hwnas.modules.assemble import network
from hwnas.supernet.network import Supernet
from hwnas.tasks.registry import load_task
from hwnas.terminal import TerminalReporter
from hwnas.train.alone import train_network
from hwnas.train.recipes import BY_OPTIMIZER, RECIPES, Recipe, SupernetRecipe
from hwnas.train.supernet import train_supernet

SHAPE: Final = (3, 32, 32)
TURNS: Final = 4
NETWORKS: Final = 50
# By name: the recipe, and whether the network of the arm `plain` teaches.
ARMS: Final[Mapping[str, tuple[SupernetRecipe, bool]]] = {
    "largest": (replace(RECIPES["instatune"], passes=1), False),
    "tuned": (replace(RECIPES["instatune"], passes=1), True),
    "tuned, half": (replace(RECIPES["instatune"], passes=1, taught_until=0.5), True),
    "alternating": (replace(RECIPES["alternating"], passes=2), False),
    "single-path": (replace(RECIPES["single-path"], passes=2), False),
}
CPU: Final = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class Turned:
    """Training images that are turned by 0 to 3 quarters, which are the labels."""

    data: Dataset

    @property
    def train(self) -> Split:
        return self.data.train

    def training_batch(self, indices: Any, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        x, _ = self.data.training_batch(indices, rng)
        turns = rng.integers(TURNS, size=len(x))
        return torch.stack([one.rot90(int(k), (1, 2)) for one, k in zip(x, turns, strict=True)]), torch.from_numpy(
            turns
        )


@dataclass(frozen=True, kw_only=True)
class Setting:
    """The values that all arms of one seed share."""

    arguments: argparse.Namespace
    data: Dataset
    judged: SplitScore
    seed: int
    folder: Path = field(default_factory=lambda: Path(mkdtemp()))
    reporter: Reporter = field(default_factory=TerminalReporter)

    def recipe(self, epochs: int, rate: float, supernet: SupernetRecipe | None = None) -> Recipe:
        recipe = replace(BY_OPTIMIZER["adamw"], epochs=epochs, learning_rate=rate)
        return recipe if supernet is None else replace(recipe, supernet=supernet)

    def trained(self, module: nn.Module, data: Any, recipe: Recipe, name: str) -> nn.Module:
        train_network(
            module,
            data,
            load_task("classification"),
            recipe,
            seed=self.seed,
            checkpoint=self.folder / f"{name}.pt",
            reporter=self.reporter,
            what=name,
        )
        return module.eval()

    def scores(self, supernet: Supernet, archs: Sequence[Arch]) -> np.ndarray:
        modules = (supernet.uncalibrated(arch).eval() for arch in archs)
        return np.array([self.judged.score(module)["accuracy"] for module in modules])


def pretrained(setting: Setting, pictures: Dataset) -> nn.Module:
    """Returns the transformer after it has learnt to tell how images are turned, with a new last layer for the classes."""
    arguments = setting.arguments
    space = hwnas.space(
        "vit",
        classes=TURNS,
        patch=arguments.patch,
        embeddings=(96,),
        depths=(6,),
        heads=(6,),
        ratios=(3,),
        head_size=16,
    )
    torch.manual_seed(setting.seed)
    module = network(space, space.largest())
    recipe = setting.recipe(arguments.first_epochs, 1e-3)
    setting.trained(module, Turned(pictures), recipe, "rotations")
    return with_classes(LoadedModel(module=module, input_shape=SHAPE), setting.data.outputs).module


def arms_of(setting: Setting, original: nn.Module) -> dict[str, tuple[float, np.ndarray]]:
    """Returns the seconds of training of each arm, and the accuracies of the random networks, the smallest and the largest."""
    arguments, results = setting.arguments, dict[str, tuple[float, np.ndarray]]()
    example = torch.zeros(2, *SHAPE)
    space, _ = hwnas.elasticize(original, example)
    rng = np.random.default_rng(0)
    archs = [*(space.sample(rng) for _ in range(NETWORKS)), space.smallest(), space.largest()]
    tuned: dict[str, nn.Module] = {}
    for name, epochs in (("plain", arguments.epochs), ("plain, twice", 2 * arguments.epochs)):
        start = perf_counter()
        recipe = setting.recipe(epochs, arguments.rate)
        tuned[name] = setting.trained(copy.deepcopy(original), setting.data, recipe, name)
        seconds = perf_counter() - start
        results[name] = (seconds, setting.scores(hwnas.elasticize(tuned[name], example)[1], archs))
        print(line(setting.seed, name, results[name]), flush=True)
    for name in arguments.arms:
        shared, is_taught = ARMS[name]
        supernet, start = Supernet(space), perf_counter()
        train_supernet(
            supernet,
            setting.data,
            load_task("classification"),
            setting.recipe(arguments.epochs, arguments.rate, shared),
            seed=setting.seed,
            checkpoint=setting.folder / f"{name}.pt",
            reporter=setting.reporter,
            teacher=tuned["plain"] if is_taught else None,
        )
        results[name] = (perf_counter() - start, setting.scores(supernet, archs))
        print(line(setting.seed, name, results[name]), flush=True)
    return results


def line(seed: int, arm: str, result: tuple[float, np.ndarray]) -> str:
    """Returns a row of the table."""
    seconds, scores = result
    *random, smallest, largest = scores
    cells = (f"{score:.1%}" for score in (np.mean(random), np.min(random), smallest, largest))
    return f"| {seed} | {arm} | {' | '.join(cells)} | {seconds:.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--first-limit", type=int, default=12_000, help="images of the rotations")
    parser.add_argument("--first-epochs", type=int, default=6)
    parser.add_argument("--limit", type=int, default=2500, help="images of the classes")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--rate", type=float, default=3e-4)
    parser.add_argument("--patch", type=int, default=8)
    parser.add_argument("--judge", type=int, default=2000, help="test images")
    parser.add_argument("--arms", nargs="*", default=list(ARMS), choices=list(ARMS), help="beside both plain ones")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results = {}
    for seed in arguments.seeds:
        data = load_data(arguments.data, SHAPE, limit=arguments.limit, seed=seed)
        test = load_data(arguments.data, SHAPE, limit=4 * arguments.judge, seed=seed).test
        judged = SplitScore(data, load_task("classification"), CPU, split=test)
        setting = Setting(arguments=arguments, data=data, judged=judged, seed=seed)
        pictures = load_data(arguments.data, SHAPE, limit=arguments.first_limit, seed=seed)
        results[seed] = arms_of(setting, pretrained(setting, pictures))
    print(f"\n| seed | arm | mean of {NETWORKS} | worst of {NETWORKS} | smallest | largest | s |\n|{'---|' * 7}")
    for seed, arms in results.items():
        print("\n".join(line(seed, arm, result) for arm, result in arms.items()))


if __name__ == "__main__":
    main()
