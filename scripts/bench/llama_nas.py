"""Searches a Llama-style model's layers and widths after elastic fine-tuning, and after plain fine-tuning (LLaMA-NAS).

    python scripts/bench/llama_nas.py --text tinyshakespeare.txt --out DIR

A Llama of transformers with new weights learns the characters of the first half of a text. Then three arms learn the second
half, in equally many steps:

    plain         the whole network alone; its smaller networks are slices of the result
    instatune     all networks in one set of weights, by the recipe `instatune`
    alternating   the same by the recipe `alternating`

Each strategy evaluates as many networks of each arm on the validation split, for loss and parameters. The table has the network
of the fewest parameters whose loss is within 2 % of the plain arm's whole network, the best network at least 1.5 times smaller,
and the median latencies of both steps of inference, measured side by side.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

import hwnas
from hwnas.benchmarks.tabular import searched
from hwnas.core.arch import Arch
from hwnas.core.arrays import FloatArray, IntArray
from hwnas.core.reporter import Silent
from hwnas.core.space import SearchSpace
from hwnas.costs.sizes import SizeCost
from hwnas.data.dataset import Dataset, load_data
from hwnas.evaluate.split import SplitScore
from hwnas.pipeline.timing import setup_of
from hwnas.profiler.device import STEPS, conditions_here
from hwnas.profiler.measure import timed
from hwnas.profiler.profile import network_subject
from hwnas.strategies.problem import Problem
from hwnas.strategies.registry import load_strategy_class
from hwnas.supernet.network import Supernet
from hwnas.tasks.registry import load_task
from hwnas.train.alone import train_network
from hwnas.train.recipes import BY_OPTIMIZER, RECIPES, TRAINED_RATE, Recipe
from hwnas.train.supernet import train_supernet

TASK: Final = load_task("language")
CPU: Final = torch.device("cpu")
PLAIN: Final = "plain"
ARMS: Final = (PLAIN, "instatune", "alternating")
# How much a loss may exceed the whole network's, and how much smaller a network has to be.
WITHIN: Final = 0.02
SMALLER: Final = 1.5
RATE: Final = 3e-3


class Logits(nn.Module):
    """A model of transformers as a network from token ids (N, L) to logits (N, L, V)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor) -> Tensor:
        return self.model(ids).logits  # type: ignore[no-any-return]


@dataclass
class Setting:
    """The values that all arms of one seed share."""

    arguments: argparse.Namespace
    seed: int
    folder: Path
    halves: tuple[Path, Path]

    def data(self, half: int, limit: int | None) -> Dataset:
        vocabulary = self.arguments.vocabulary
        return load_data(
            f"text:{self.halves[half]}",
            (self.arguments.length,),
            outputs=vocabulary,
            vocabulary=vocabulary,
            limit=limit,
            seed=0,
        )

    def recipe(self, epochs: int, *, is_trained: bool, supernet: str = "single-path") -> Recipe:
        rate = RATE * (TRAINED_RATE if is_trained else 1.0)
        return replace(BY_OPTIMIZER["adamw"], epochs=epochs, learning_rate=rate, supernet=RECIPES[supernet])

    def trained(self, start: Path | None, data: Dataset, epochs: int, name: str) -> Path:
        """Trains a Llama alone, from a folder or from new weights. Returns the folder of the result."""
        out = self.folder / name
        if not out.exists():
            from transformers import LlamaConfig, LlamaForCausalLM

            arguments = self.arguments
            torch.manual_seed(self.seed)
            config = LlamaConfig(
                vocab_size=arguments.vocabulary,
                hidden_size=arguments.width,
                num_hidden_layers=arguments.layers,
                num_attention_heads=4,
                num_key_value_heads=2,
                intermediate_size=arguments.hidden,
                max_position_embeddings=arguments.length,
                tie_word_embeddings=False,
                use_cache=False,
            )
            model = LlamaForCausalLM(config) if start is None else LlamaForCausalLM.from_pretrained(start)
            train_network(
                Logits(model),
                data,
                TASK,
                self.recipe(epochs, is_trained=start is not None),
                seed=self.seed,
                checkpoint=self.folder / f"{name}.ckpt",
                reporter=Silent(),
                what=name,
            )
            model.save_pretrained(out)
        return out


@dataclass
class Arm:
    """The networks of one set of weights. A network is evaluated once for all strategies."""

    supernet: Supernet
    data: Dataset
    losses: dict[Arch, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.space: SearchSpace = self.supernet.space
        self.score = SplitScore(self.data, TASK, CPU)

    def loss(self, arch: Arch) -> float:
        if arch not in self.losses:
            self.losses[arch] = self.score.score(self.supernet.uncalibrated(arch).eval())["loss"]
        return self.losses[arch]

    def evaluate(self, rows_NC: IntArray, _evaluator: object = None) -> dict[str, FloatArray]:
        return {"loss": np.array([self.loss(self.space.decode(row_C)) for row_C in rows_NC])}

    def searched(self, strategy: str, evaluations: int, seed: int) -> list[Arch]:
        """Returns the networks that a strategy evaluates for loss and parameters."""
        problem = Problem(
            space=self.space,
            objectives=("loss", "params"),
            metrics=TASK.metrics[:1],
            costs={"params": SizeCost(self.space, "params")},
            evaluate=self.evaluate,
            start_C=self.space.encode([self.space.smallest()])[0],
        )
        made = load_strategy_class(strategy)(evaluations=evaluations)  # type: ignore[call-arg]
        rows_NC = searched(problem, made, seed).rows_NC
        return [self.space.decode(row_C) for row_C in rows_NC]


def made(setting: Setting, name: str, base: Path, data: Dataset) -> Arm:
    """Returns an arm, fine-tuned."""
    arguments = setting.arguments
    passes = arguments.passes
    start = setting.trained(base, data, passes, "plain") if name == PLAIN else base
    space = hwnas.space("elastic", model=f"hf:{start}", length=arguments.length, widths=tuple(arguments.widths))
    supernet = Supernet(space)
    if name != PLAIN:
        train_supernet(
            supernet,
            data,
            TASK,
            setting.recipe(passes // RECIPES[name].passes, is_trained=True, supernet=name),
            seed=setting.seed,
            checkpoint=setting.folder / f"{name}.ckpt",
            reporter=Silent(),
        )
    return Arm(supernet, data)


def medians_ms(space: SearchSpace, archs: Sequence[Arch]) -> dict[str, list[float]]:
    """Returns the median latencies of networks, measured side by side, by the step of inference."""
    found = {}
    for step in STEPS:
        conditions = conditions_here("cpu", step=step)
        reference, *models = (network_subject(space, arch, conditions).load()[0] for arch in (archs[0], *archs))
        session = timed(models, reference, setup_of(conditions, 0, Silent()))
        found[step] = [timing.median_ms for timing in session.timings]
    return found


def halves(path: Path, out: Path) -> tuple[Path, Path]:
    """Writes the two halves of a text, in the characters that both have, and returns the files."""
    text = path.read_text()
    parts = text[: len(text) // 2], text[len(text) // 2 :]
    shared = set(parts[0]) & set(parts[1])
    files = out / "first.txt", out / "second.txt"
    for file, part in zip(files, parts, strict=True):
        file.write_text("".join(letter for letter in part if letter in shared))
    return files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--width", type=int, default=96)
    parser.add_argument("--hidden", type=int, default=256, help="intermediate size")
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--vocabulary", type=int, default=72)
    parser.add_argument("--widths", type=float, nargs="+", default=[0.25, 0.5, 0.75, 1.0])
    parser.add_argument("--epochs", type=int, default=4, help="passes over the first half")
    parser.add_argument("--passes", type=int, default=8, help="passes over the second half")
    parser.add_argument("--limit", type=int, default=1200, help="training windows of the second half")
    parser.add_argument("--evaluations", type=int, default=100)
    parser.add_argument("--strategies", nargs="+", default=["surrogate", "linas"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = [row for seed in arguments.seeds for row in rows_of(arguments, seed)]
    columns = ("seed", "weights", "strategy", "network", "parameters", "loss", "excess", "prefill ms", "decode ms")
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for row in rows:
        print(f"| {' | '.join(map(str, row))} |")


def rows_of(arguments: argparse.Namespace, seed: int) -> list[tuple[Any, ...]]:
    """Returns the table of one seed."""
    folder = arguments.out / f"seed{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    setting = Setting(arguments, seed, folder, halves(arguments.text, folder))
    base = setting.trained(None, setting.data(0, None), arguments.epochs, "base")
    data = setting.data(1, arguments.limit)
    chosen: list[tuple[str, str, str, Arch, float]] = []
    whole_loss = 0.0
    for name in ARMS:
        arm = made(setting, name, base, data)
        space, largest = arm.space, arm.space.largest()
        whole_loss = arm.loss(largest) if name == PLAIN else whole_loss
        chosen.append((name, "", "whole", largest, arm.loss(largest)))
        params = space.cost("params", largest)
        for strategy in arguments.strategies:
            archs = arm.searched(strategy, arguments.evaluations, seed)
            within = [arch for arch in archs if arm.loss(arch) <= (1 + WITHIN) * whole_loss] or [largest]
            least = min(within, key=lambda arch: space.cost("params", arch))
            smaller = [arch for arch in archs if SMALLER * space.cost("params", arch) <= params]
            best = min(smaller, key=arm.loss)
            chosen.append((name, strategy, f"smallest within {WITHIN:.0%}", least, arm.loss(least)))
            chosen.append((name, strategy, f"best {SMALLER} times smaller", best, arm.loss(best)))
            print(json.dumps(chosen[-2:], default=str), flush=True)
    whole = space.cost("params", space.largest())
    latencies = medians_ms(space, [arch for *_, arch, _ in chosen])
    rows = []
    for number, (name, strategy, what, arch, loss) in enumerate(chosen):
        params = space.cost("params", arch)
        times = [f"{latencies[step][number]:.3f}" for step in STEPS]
        size = f"{params:,} ({whole / params:.2f} times smaller)"
        rows.append((seed, name, strategy, what, size, f"{loss:.4f}", f"{loss / whole_loss - 1:+.1%}", *times))
    return rows


if __name__ == "__main__":
    main()
