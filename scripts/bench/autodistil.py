"""Compares one supernet with a supernet for each of three parts of its space, trained without labels by relations of attention.

    python scripts/bench/autodistil.py --data text:shakespeare.txt

A small GPT is trained on text and made elastic, the width of its token stream, too. Three parts of the space have the narrow, the
middle and the wide streams (`core.operations.keep`). Arms, all from slices of the GPT, which is the teacher:

    sliced         no training at all
    one            one supernet of the whole space, recipe `autodistil`, for three times --epochs
    three          one supernet for each part, recipe `autodistil`, for --epochs each
    outputs        as three, but students imitate the outputs of the teacher instead of relations

Of each part --networks random networks are judged, the same for all arms: the divergence of relations on held-out text, and the
loss on held-out text before and after --final-epochs of training alone on the labels. Kendall's tau compares the relations before
this training with the loss after it, over all networks of an arm, and within parts (the mean).
"""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import mkdtemp
from time import perf_counter
from typing import Final

import numpy as np
import torch
from scipy.stats import kendalltau
from torch import nn

import hwnas
from hwnas.core.arch import Arch
from hwnas.core.operations import keep
from hwnas.core.reporter import Reporter
from hwnas.core.space import SearchSpace
from hwnas.data.dataset import Dataset, load_data
from hwnas.elastic.elasticity import Elasticity
from hwnas.evaluate.split import SplitScore
from hwnas.modules.assemble import network
from hwnas.supernet.network import Supernet
from hwnas.tasks.registry import load_task
from hwnas.terminal import TerminalReporter
from hwnas.train.alone import train_network
from hwnas.train.imitation import Relations
from hwnas.train.recipes import BY_OPTIMIZER, RECIPES, Recipe, SupernetRecipe
from hwnas.train.supernet import train_supernet

LENGTH: Final = 64
VOCABULARY: Final = 128
STREAM: Final = "tokens.output"
# The widths of the stream in each part.
PARTS: Final[Mapping[str, tuple[int, ...]]] = {"narrow": (16, 24), "middle": (32, 40), "wide": (48, 64)}
RELATIONS: Final = RECIPES["autodistil"]
LANGUAGE: Final = load_task("language")
# By arm: what it is trained by, and whether the parts have a supernet each.
ARMS: Final[Mapping[str, tuple[SupernetRecipe | None, bool]]] = {
    "sliced": (None, False),
    "one": (RELATIONS, False),
    "three": (RELATIONS, True),
    "outputs": (replace(RELATIONS, imitation="outputs"), True),
}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """The values that all arms of one seed share."""

    arguments: argparse.Namespace
    data: Dataset
    seed: int
    held_out: SplitScore
    folder: Path = field(default_factory=lambda: Path(mkdtemp()))
    reporter: Reporter = field(default_factory=TerminalReporter)

    def recipe(self, epochs: int, rate: float, supernet: SupernetRecipe | None = None) -> Recipe:
        recipe = replace(BY_OPTIMIZER["adamw"], epochs=epochs, learning_rate=rate, batch_size=32)
        return recipe if supernet is None else replace(recipe, supernet=supernet)

    def trained(self, module: nn.Module, epochs: int, rate: float, name: str) -> nn.Module:
        train_network(
            module,
            self.data,
            LANGUAGE,
            self.recipe(epochs, rate),
            seed=self.seed,
            checkpoint=self.folder / f"{name}.pt",
            reporter=self.reporter,
            what=name,
        )
        return module.eval()

    def supernet(
        self, space: SearchSpace, teacher: nn.Module, shared: SupernetRecipe, epochs: int, name: str
    ) -> Supernet:
        supernet = Supernet(space)
        train_supernet(
            supernet,
            self.data,
            LANGUAGE,
            self.recipe(epochs, self.arguments.rate, shared),
            seed=self.seed,
            checkpoint=self.folder / f"{name}.pt",
            reporter=self.reporter,
            teacher=teacher,
        )
        return supernet

    def relations(self, student: nn.Module, teacher: nn.Module) -> float:
        """Returns the divergence of relations on held-out text, which needs no labels."""
        relations, x = Relations(), self.data.inputs(self.data.validation.raw[:200])
        with torch.no_grad():
            seen, wanted = (relations.run(module, x)[1] for module in (student, teacher))
            return float(relations.distance(LANGUAGE, seen, wanted))


def judged(setting: Setting, teacher: nn.Module, student: nn.Module, name: str) -> tuple[float, float, float]:
    """Returns the divergence of relations, and the losses before and after training alone, on held-out text."""
    distance, before = setting.relations(student, teacher), setting.held_out.score(student)["loss"]
    trained = setting.trained(student, setting.arguments.final_epochs, setting.arguments.rate, name)
    return distance, before, setting.held_out.score(trained)["loss"]


def arms_of(setting: Setting) -> dict[str, tuple[float, np.ndarray]]:
    """Returns the seconds of training of each arm, and what was judged: parts, networks, three numbers."""
    arguments, results = setting.arguments, dict[str, tuple[float, np.ndarray]]()
    original = hwnas.space(
        "gpt",
        length=LENGTH,
        vocabulary=VOCABULARY,
        embeddings=(64,),
        layers=(4,),
        heads=(4,),
        ratios=(4,),
        head_size=16,
    )
    torch.manual_seed(setting.seed)
    teacher = setting.trained(network(original, original.largest()), arguments.first_epochs, 2e-3, "teacher")
    print(
        f"seed {setting.seed}: the teacher's held-out loss is {setting.held_out.score(teacher)['loss']:.3f}", flush=True
    )
    elasticity = Elasticity(streams=True, widths=(0.25, 0.375, 0.5, 0.625, 0.75, 1.0))
    space, sliced = hwnas.elasticize(teacher, torch.zeros(2, LENGTH, dtype=torch.int64), elasticity)
    parts = {part: keep(space, STREAM, widths) for part, widths in PARTS.items()}
    rng = np.random.default_rng(0)
    archs = {part: [one.sample(rng) for _ in range(arguments.networks)] for part, one in parts.items()}
    for arm in arguments.arms:
        shared, is_split = ARMS[arm]
        start = perf_counter()
        supernets = dict.fromkeys(parts, sliced)
        if shared is not None and is_split:
            supernets = {
                part: setting.supernet(one, teacher, shared, arguments.epochs, f"{arm} {part}")
                for part, one in parts.items()
            }
        elif shared is not None:
            supernets = dict.fromkeys(parts, setting.supernet(space, teacher, shared, 3 * arguments.epochs, arm))
        seconds = perf_counter() - start
        rows = [
            [row(setting, teacher, supernets[part], arch, f"{arm} {arch.id}") for arch in archs[part]] for part in parts
        ]
        results[arm] = (seconds, np.array(rows))
        print("\n".join(lines(setting.seed, arm, results[arm])), flush=True)
    return results


def row(setting: Setting, teacher: nn.Module, supernet: Supernet, arch: Arch, name: str) -> tuple[float, float, float]:
    """Returns what is judged of one network of a supernet."""
    return judged(setting, teacher, supernet.uncalibrated(arch).eval(), name)


def lines(seed: int, arm: str, result: tuple[float, np.ndarray]) -> list[str]:
    """Returns the rows of the table of one arm."""
    seconds, rows_PN3 = result
    within = np.mean([kendalltau(rows_N3[:, 0], rows_N3[:, 2]).statistic for rows_N3 in rows_PN3])
    over = kendalltau(*rows_PN3.reshape(-1, 3)[:, (0, 2)].T).statistic
    means = [" | ".join(f"{value:.3f}" for value in rows_N3.mean(0)) for rows_N3 in rows_PN3]
    best = [f"{rows_N3[:, 2].min():.3f}" for rows_N3 in rows_PN3]
    return [
        f"| {seed} | {arm} | {part} | {mean} | {least} | {over:.2f}, {within:.2f} | {seconds:.0f} |"
        for part, mean, least in zip(PARTS, means, best, strict=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--limit", type=int, default=1600, help="windows of text")
    parser.add_argument("--first-epochs", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--final-epochs", type=int, default=1)
    parser.add_argument("--networks", type=int, default=6, help="of each part")
    parser.add_argument("--rate", type=float, default=5e-4)
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results = {}
    for seed in arguments.seeds:
        data = load_data(arguments.data, (LENGTH,), vocabulary=VOCABULARY, limit=arguments.limit, seed=seed)
        held_out = SplitScore(data, LANGUAGE, torch.device("cpu"), split=data.test)
        results[seed] = arms_of(Setting(arguments=arguments, data=data, seed=seed, held_out=held_out))
    print("\n| seed | arm | part | relations | loss before | loss after | best after | tau, within parts | s |")
    print("|---|---|---|---|---|---|---|---|---|")
    for seed, arms in results.items():
        for arm, result in arms.items():
            print("\n".join(lines(seed, arm, result)))


if __name__ == "__main__":
    main()
