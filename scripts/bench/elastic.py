"""Compares networks cut from a trained one with pruning, a width multiplier, and new weights, at equal measured latency.

    python scripts/bench/elastic.py --weights mobilenet_v2.pth --data parquet:DIR --limit 2500 --resolution 64 --out DIR

The network is MobileNetV2 with weights for ImageNet, first fine-tuned on the examples for --tuned-epochs. Arms, each at every
share of its measured latency:

    new           a search with --model and new weights
    inherited     the same with the tuned weights
    winners       the same without training of the supernet (--epochs 0)
    distilled     as inherited, by the recipe `instatune`, and with the largest network as teacher of final training
    pruned        Torch-Pruning (`pip install torch-pruning`): the tuned network pruned by group norms to the ratio that meets the
                  latency, and fine-tuned
    width         MobileNetV2 with the width multiplier that meets the latency, from new weights

A search trains its supernet for --epochs of 4 passes, and its winners for --final-epochs; pruned and width networks are trained
for as many passes as both. Accuracies are those of --judge test examples, by the exported file. Latencies are medians,
measured side by side at the end (`hwnas measure`).
"""

import argparse
import copy
import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, Final

import numpy as np
import onnxruntime
import torch
from safetensors.torch import save_file
from torch import nn

from hwnas.core.references import resolve
from hwnas.data.dataset import Dataset, load_data
from hwnas.elastic.sources import load_model, load_weights, with_classes
from hwnas.errors import SpaceError
from hwnas.pipeline.search import resume, search
from hwnas.profiler.export import export_onnx
from hwnas.spaces import load_space
from hwnas.tasks.registry import load_task
from hwnas.terminal import TerminalReporter
from hwnas.train.alone import train_network
from hwnas.train.recipes import BY_OPTIMIZER, RECIPES, TRAINED_RATE, Recipe

EXAMPLE: Final = Path(__file__).parents[1] / "examples" / "mobilenet_v2.py"
PASSES: Final = RECIPES["single-path"].passes
# Halvings of the interval in which a ratio, or a width, is sought.
HALVINGS: Final = 6
SEARCHES: Final[dict[str, dict[str, Any]]] = {
    "new": {"weights": "new"},
    "inherited": {},
    "winners": {"epochs": 0},
    "distilled": {"recipe": "instatune", "final_teacher": "largest"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """The values that all arms of one seed share."""

    arguments: argparse.Namespace
    seed: int
    folder: Path
    data: Dataset

    @property
    def shape(self) -> tuple[int, int, int]:
        return (3, self.arguments.resolution, self.arguments.resolution)

    def recipe(self, *, is_trained: bool) -> Recipe:
        """Returns the recipe that a search trains by."""
        recipe = BY_OPTIMIZER["sgd"]
        return replace(recipe, learning_rate=recipe.learning_rate * (TRAINED_RATE if is_trained else 1.0))

    def trained(self, module: nn.Module, epochs: int, name: str, *, is_trained: bool) -> nn.Module:
        """Trains a network alone and returns it."""
        train_network(
            module,
            self.data,
            load_task(self.data.task),
            replace(self.recipe(is_trained=is_trained), epochs=epochs),
            seed=self.seed,
            checkpoint=self.folder / f"{name}.pt",
            reporter=TerminalReporter(),
            what=name,
        )
        return module.eval()

    def exported(self, module: nn.Module, name: str) -> Path:
        """Writes a network's ONNX file and returns the path."""
        path = self.folder / f"{name}.onnx"
        export_onnx(module.eval(), self.shape, path)
        return path

    @property
    def passes(self) -> int:
        """The passes over the examples of a search and one of its winners."""
        return int(self.arguments.epochs * PASSES + self.arguments.final_epochs)

    @property
    def tuned_weights(self) -> Path:
        return self.folder / "tuned.safetensors"

    @property
    def model(self) -> str:
        """The network for the data's classes, as a reference to a file that is written here."""
        path = self.folder / "model.py"
        path.write_text(
            EXAMPLE.read_text() + f"\n\ndef tuned():\n    return MobileNetV2({len(self.data.classes)})\n"  # type: ignore[attr-defined]
        )
        return f"{path}:tuned"

    def tuned(self) -> nn.Module:
        """Returns the network, fine-tuned on the examples; writes its weights and its file."""
        loaded = replace(load_model(f"{EXAMPLE}:make", self.arguments.weights), input_shape=self.shape)
        torch.manual_seed(self.seed)
        module = with_classes(loaded, len(self.data.classes)).module  # type: ignore[attr-defined]
        if self.tuned_weights.exists():
            load_weights(module, self.tuned_weights)
        else:
            self.trained(module, self.arguments.tuned_epochs, "tuned", is_trained=True)
            save_file(module.state_dict(), self.tuned_weights)
            self.exported(module, "original")
        return module.eval()


def measured_ms(paths: list[Path]) -> list[float]:
    """Returns the median latencies of ONNX files, measured side by side."""
    command = [sys.executable, "-m", "hwnas", "measure", *map(str, paths), "--json"]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return [row["median_ms"] for row in json.loads(answer.stdout)["models"]]


def searched(setting: Setting, arm: str) -> dict[str, Path]:
    """Runs one search for all shares; returns the file of the best network within each."""
    arguments, out = setting.arguments, setting.folder / arm
    options: dict[str, Any] = {"weights": str(setting.tuned_weights), "epochs": arguments.epochs, **SEARCHES[arm]}
    model = {"model": str(setting.model), "weights": options.pop("weights"), "resolution": arguments.resolution}
    space = load_space("elastic", model)
    options_of_search: dict[str, Any] = dict(
        limit_images=arguments.limit,
        final_epochs=arguments.final_epochs,
        final_networks=len(arguments.budgets) + 1,
        learning_rate=setting.recipe(is_trained=arm != "new").learning_rate,
        latency_budget=",".join(arguments.budgets),
        evaluations=arguments.evaluations,
        seed=setting.seed,
        **({"predictor": (str(arguments.predictor),)} if arguments.predictor else {}),
        **options,
    )
    if (out / "run.json").exists():
        result = resume(out, TerminalReporter(), {})
    else:
        result = search(space, arguments.data, out=out, reporter=TerminalReporter(), **options_of_search)
    bounds = sorted(result.run.read()["latency_budgets_ms"])
    files = {}
    for budget, bound_ms in zip(sorted(arguments.budgets, key=share), bounds, strict=True):
        within = [row for row in result.front if row.latencies[0].measured_median_ms <= bound_ms]
        best = min(within, key=lambda row: row.metrics["loss_val"])
        files[budget] = result.run.path / best.onnx
    return files


def share(budget: str) -> float:
    return float(budget.rstrip("%")) / 100


def pruned(setting: Setting, original_onnx: Path) -> dict[str, Path]:
    """Prunes the tuned network by Torch-Pruning to the measured latency, and fine-tunes."""
    tp = importlib.import_module("torch_pruning")
    arguments, tuned = setting.arguments, setting.tuned()

    def at(ratio: float) -> nn.Module:
        module = copy.deepcopy(tuned).eval()
        last = next(one for one in reversed(list(module.modules())) if isinstance(one, nn.Linear))
        pruner = tp.pruner.MagnitudePruner(
            module,
            torch.randn(1, *setting.shape),
            importance=tp.importance.GroupMagnitudeImportance(p=2),
            pruning_ratio=ratio,
            global_pruning=False,
            round_to=8,
            ignored_layers=[last],
        )
        pruner.step()
        return module

    files = {}
    for budget in arguments.budgets:
        module = met(at, share(budget), original_onnx, setting)
        module = setting.trained(module, setting.passes, f"pruned{budget}", is_trained=True)
        files[budget] = setting.exported(module, f"pruned{budget.rstrip('%')}")
    return files


def narrowed(setting: Setting, original_onnx: Path) -> dict[str, Path]:
    """Trains MobileNetV2 with the width multiplier that meets the measured latency, from new weights."""
    network: Any = resolve("model", f"{EXAMPLE}:MobileNetV2", {}, SpaceError)
    arguments, files = setting.arguments, {}
    for budget in arguments.budgets:
        torch.manual_seed(setting.seed)
        module = met(
            lambda less: network(len(setting.data.classes), 1.0 - less),  # type: ignore[attr-defined]
            share(budget),
            original_onnx,
            setting,
        )
        module = setting.trained(module, setting.passes, f"width{budget}", is_trained=False)
        files[budget] = setting.exported(module, f"width{budget.rstrip('%')}")
    return files


OTHERS: Final = {"pruned": pruned, "width": narrowed}


def met(make: Callable[[float], nn.Module], wanted: float, original_onnx: Path, setting: Setting) -> nn.Module:
    """Returns the largest network whose measured latency is at most `wanted` of the original's, by halving the interval."""
    low, high = 0.0, 0.9
    with TemporaryDirectory() as folder:
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            path = Path(folder) / "tried.onnx"
            export_onnx(make(middle).eval(), setting.shape, path)
            original_ms, tried_ms = measured_ms([original_onnx, path])
            low, high = (low, middle) if tried_ms <= wanted * original_ms else (middle, high)
    return make(high)


def accuracy(path: Path, judged: Dataset) -> float:
    """Returns the share of test examples that an ONNX file classifies as labelled."""
    session = onnxruntime.InferenceSession(path)
    name = session.get_inputs()[0].name
    inputs = judged.inputs(judged.test.raw[:]).numpy()
    outputs = np.concatenate([session.run(None, {name: inputs[row : row + 1]})[0] for row in range(len(inputs))])
    return float((outputs.argmax(1) == judged.test.labels).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--limit", type=int, default=2500)
    parser.add_argument("--judge", type=int, default=4000, help="test examples")
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument("--tuned-epochs", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--final-epochs", type=int, default=15)
    parser.add_argument("--evaluations", type=int, default=60)
    parser.add_argument("--budgets", nargs="+", default=["60%", "40%"])
    parser.add_argument("--arms", nargs="+", default=[*SEARCHES, *OTHERS])
    parser.add_argument("--predictor", type=Path, help="of the elastic space, instead of profiling it in every search")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    shape = (3, arguments.resolution, arguments.resolution)
    judged = load_data(arguments.data, shape, limit=4 * arguments.judge, seed=0)
    for seed in arguments.seeds:
        folder = arguments.out / f"seed{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        data = load_data(arguments.data, shape, limit=arguments.limit, seed=seed)
        setting = Setting(arguments=arguments, seed=seed, folder=folder, data=data)
        setting.tuned()
        original_onnx, files, seconds = folder / "original.onnx", {}, {}
        for arm in arguments.arms:
            start = perf_counter()
            made = OTHERS.get(arm)
            files[arm] = searched(setting, arm) if made is None else made(setting, original_onnx)
            seconds[arm] = perf_counter() - start
            print(f"seed {seed}: {arm} took {seconds[arm]:.0f} s", file=sys.stderr)
        report(seed, arguments, original_onnx, files, seconds, replace_normalised(judged, data))


def replace_normalised(judged: Dataset, data: Dataset) -> Dataset:
    """Returns the test examples, to be normalised as the training examples of a seed are."""
    return replace(judged, normalise=data.normalise)  # type: ignore[type-var, attr-defined]


def report(
    seed: int,
    arguments: argparse.Namespace,
    original_onnx: Path,
    files: dict[str, dict[str, Path]],
    seconds: dict[str, float],
    judged: Dataset,
) -> None:
    """Prints a table of one seed."""
    rows = [(arm, budget, path) for arm, found in files.items() for budget, path in found.items()]
    original_ms, *medians = measured_ms([original_onnx, *(path for *_, path in rows)])
    print("| seed | arm | budget | accuracy of the file | median ms | share of the original's | seconds of the arm |")
    print("|---|---|---|---|---|---|---|")
    print(f"| {seed} | original, fine-tuned | | {accuracy(original_onnx, judged):.1%} | {original_ms:.3f} | 100 % | |")
    for (arm, budget, path), median in zip(rows, medians, strict=True):
        print(
            f"| {seed} | {arm} | {budget} | {accuracy(path, judged):.1%} | {median:.3f} | {median / original_ms:.0%} "
            f"| {seconds[arm]:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
