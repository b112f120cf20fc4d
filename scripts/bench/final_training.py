"""Compares ways of final training: the same fronts, finished by each, beside the weights of the search.

    python scripts/bench/final_training.py --device amd-epyc --epochs 10 --evaluations 50 --seeds 1 --out DIR

Each seed runs one search without final training. Every variant then goes on with a copy of that run (`--from`), so it trains the
same networks. Accuracies are those of all networks of the front in torch, on the validation and the test split, mean and
best. The hypervolume is that of
loss and latency on the validation split, as a share of the one before. The reference point is 1.1 times the greatest loss
and latency before. All figures are means over seeds. Runs stay in --out; a bench that was stopped goes on from there.
"""

import argparse
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Final

import numpy as np
import torch

from hwnas.core.reporter import Silent
from hwnas.evaluate.split import SplitScore
from hwnas.pipeline.checked import checked_request
from hwnas.pipeline.request import reopen, search_request
from hwnas.pipeline.search import branch, resume, start
from hwnas.pipeline.weights import RunWeights
from hwnas.runs.database import FINAL, Evaluation, RunDatabase
from hwnas.runs.folder import RunFolder
from hwnas.runs.front import read_front
from hwnas.strategies.pareto import hypervolume
from hwnas.terminal import TerminalReporter

VARIANTS: Final = [
    {"final": final, "final_epochs": epochs, "final_teacher": teacher}
    for epochs in (5, 15, 30)
    for final in ("finetune", "scratch")
    for teacher in ("none", "largest")
]
COLUMNS: Final = ("val mean", "val best", "test mean", "test best", "hypervolume", "seconds")


@dataclass(frozen=True, slots=True)
class Finished:
    """The networks of a front by one kind of weights: metrics by name, (N,) each, and seconds."""

    validation: Mapping[str, np.ndarray]
    test: Mapping[str, np.ndarray]
    latency_ms: np.ndarray
    seconds: float

    def figures(self, before: "Finished") -> np.ndarray:
        """Returns one figure for each of `COLUMNS`; (6,)."""
        reference = 1.1 * before.points.max(axis=0)
        volume = hypervolume(self.points, reference) / hypervolume(before.points, reference)
        accuracies = [self.validation["accuracy"], self.test["accuracy"]]
        return np.array([*(f(a) for a in accuracies for f in (np.mean, np.max)), volume, self.seconds])

    @property
    def points(self) -> np.ndarray:
        """Loss and latency of every network; (N, 2)."""
        return np.stack([self.validation["loss"], self.latency_ms], axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="mobilenet")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--limit", type=int, help="examples of the data, the default is all")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--evaluations", type=int, default=200)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--predictor", help="the default is to measure one, or the shipped one of --device")
    parser.add_argument("--budget", help="as --latency-budget of `hwnas search`; the default is none")
    parser.add_argument("--final-epochs", type=int, nargs="+", default=[5, 15, 30], choices=(5, 15, 30))
    parser.add_argument("--final", nargs="+", default=["finetune", "scratch"], choices=("finetune", "scratch"))
    parser.add_argument("--final-teacher", nargs="+", default=["none", "largest"], choices=("none", "largest"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    out = arguments.out or Path(mkdtemp())
    chosen = [
        variant for variant in VARIANTS if all(value in getattr(arguments, name) for name, value in variant.items())
    ]
    rows: dict[str, list[np.ndarray]] = {}
    for seed in range(arguments.seeds):
        base = searched(out / f"seed{seed}", arguments, seed)
        before = finished(base)
        rows.setdefault("none | | |", []).append(before.figures(before))
        for variant in chosen:
            name = "{final} | {final_epochs} | {final_teacher} |".format(**variant)
            after = finished(trained(base, variant))
            rows.setdefault(name, []).append(after.figures(before))
            print(line(name, rows[name]), flush=True)
        print(f"seed {seed}: {len(before.latency_ms)} networks", flush=True)
    print(f"| final | epochs | teacher | {' | '.join(COLUMNS)} |\n|{'---|' * (3 + len(COLUMNS))}")
    print("\n".join(line(name, figures) for name, figures in rows.items()))


def line(name: str, figures: list[np.ndarray]) -> str:
    """Returns a row of the table: means over seeds."""
    *accuracies, volume, seconds = np.mean(figures, axis=0)
    cells = [*(f"{accuracy:.2%}" for accuracy in accuracies), f"{volume:.4f}", f"{seconds:.0f}"]
    return f"| {name} {' | '.join(cells)} |"


def searched(path: Path, arguments: argparse.Namespace, seed: int) -> RunFolder:
    """Returns a finished search without final training."""
    if (path / "run.json").exists():
        return resume(path, TerminalReporter(), {}).run
    options: dict[str, Any] = {
        "space": arguments.space,
        "data": arguments.data,
        "limit_images": arguments.limit,
        "epochs": arguments.epochs,
        "evaluations": arguments.evaluations,
        "device": (arguments.device,),
        "predictor": (arguments.predictor,) if arguments.predictor else (),
        "latency_budget": arguments.budget,
        "final": "none",
        "seed": seed,
    }
    request = search_request(options)
    return start(request, request.space.load(), path, TerminalReporter()).run


def trained(base: RunFolder, variant: Mapping[str, Any]) -> RunFolder:
    """Returns a copy of a search, finished by a variant of final training."""
    words = "-".join(str(value) for value in variant.values())
    path = base.path.with_name(f"{base.path.name}-{words}")
    if path.exists():
        return resume(path, TerminalReporter(), variant).run
    return branch(base.path, path, TerminalReporter(), variant).run


def finished(run: RunFolder) -> Finished:
    """Returns the networks that final training was given, by the weights that it left them with."""
    _, request, space = reopen(run.path, {})
    checked = checked_request(request, space, run)
    with closing(RunDatabase.existing(run.database)) as database:
        after = list(database.evaluations(FINAL).values())
        before = database.evaluations("search")
    evaluations = after or [before[row.arch_id] for row in read_front(run.front)]
    weights = RunWeights(run, checked, Silent())
    test = SplitScore(checked.data, checked.task, weights.device, split=checked.data.test)
    tests = [score(weights, test, evaluation) for evaluation in evaluations]
    return Finished(
        validation=columns([evaluation.metrics for evaluation in evaluations]),
        test=columns(tests),
        latency_ms=latencies_ms(run, evaluations),
        seconds=run.read()["stages"]["final training"]["seconds"],
    )


def score(weights: RunWeights, test: SplitScore, evaluation: Evaluation) -> Mapping[str, float]:
    """Returns the metrics of an evaluation's network on the test split."""
    return test.score(weights.networks(evaluation).network(evaluation.arch).to(weights.device))


def latencies_ms(run: RunFolder, evaluations: list[Evaluation]) -> np.ndarray:
    """Returns p10 as measured on the first device, or as predicted where it was not measured; (N,)."""
    with closing(RunDatabase.existing(run.database)) as database:
        predicted = {arch_id: costs["latency"] for arch_id, costs in database.costs().items()}
        first = run.read()["devices"][0]["name"]
        measured = {
            arch_id: latency.p10_ms for (arch_id, device), latency in database.measurements().items() if device == first
        }
    return np.array([(predicted | measured)[evaluation.arch.id] for evaluation in evaluations])


def columns(metrics: list[Mapping[str, float]]) -> dict[str, np.ndarray]:
    """Returns every metric by name; (N,) each."""
    return {name: np.array([one[name] for one in metrics]) for name in metrics[0]}


if __name__ == "__main__":
    main()
