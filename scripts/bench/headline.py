"""Compares what a search hands out with the same networks trained alone, in accuracy and in time.

    python scripts/bench/headline.py --data parquet:DIR --limit 2000 --epochs 15 --device amd-epyc --budget 60% --out DIR

Each seed runs one search at its defaults. Then every network of its front is trained alone, from new weights, for
--alone-epochs. Both sides train on the same examples and are judged on --judge examples of the test split, which are
more than a search with --limit reads, so the data must have a test split of its own. `search / alone` is the time of
the whole search over the time of training three networks of the front alone, mean over the front. Times are the CPU
time of this process, which has one thread: other work on the machine does not count. Runs stay in --out; what a bench
that was stopped had taken until then is not in its times.
"""

import argparse
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Final

import numpy as np
import torch

from hwnas.core.reporter import Silent
from hwnas.data.dataset import load_data
from hwnas.evaluate.networks import StagedNetworks
from hwnas.evaluate.sources import AloneSource, UntrainedSource
from hwnas.evaluate.split import SplitScore
from hwnas.evaluate.training import NetworkTraining
from hwnas.pipeline.checked import checked_request
from hwnas.pipeline.request import reopen, search_request
from hwnas.pipeline.search import resume, start
from hwnas.pipeline.supernet import recipe_of
from hwnas.pipeline.weights import RunWeights
from hwnas.runs.database import FINAL, SEARCH, RunDatabase
from hwnas.runs.folder import RunFolder
from hwnas.runs.front import read_front
from hwnas.terminal import TerminalReporter

# The number of networks whose training alone is the measure of a search's time.
NETWORKS: Final = 3


@dataclass(frozen=True, slots=True)
class Point:
    """A network of a front: its latency, its accuracies on test examples, and the seconds that its training alone took."""

    latency_ms: float
    before: float
    after: float
    alone: float
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="mobilenet")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--limit", type=int, help="training examples, the default is all")
    parser.add_argument("--epochs", type=int, help="the default is that of `hwnas search`")
    parser.add_argument("--alone-epochs", type=int, default=60)
    parser.add_argument("--judge", type=int, default=10_000)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--budget", help="as --latency-budget of `hwnas search`; the default is none")
    parser.add_argument("--option", nargs="*", default=[], help="options of `hwnas search`, such as final_epochs=8")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    out = arguments.out or Path(mkdtemp())
    for seed in arguments.seeds:
        run, seconds = searched(out / f"seed{seed}", arguments, seed)
        points = list(compared(run, arguments))
        report(seed, run, points, seconds)


def report(seed: int, run: RunFolder, points: list[Point], seconds: float) -> None:
    """Prints a table of one seed."""
    print("| seed | latency, ms | the search's weights | after final training | trained alone | difference |")
    print("|---|---|---|---|---|---|")
    for point in points:
        cells = (f"{share:.1%}" for share in (point.before, point.after, point.alone, point.after - point.alone))
        print(f"| {seed} | {point.latency_ms:.4f} | {' | '.join(cells)} |")
    columns = np.array([[point.before, point.after, point.alone, point.after - point.alone] for point in points])
    print(f"| {seed} | mean | {' | '.join(f'{share:.1%}' for share in columns.mean(axis=0))} |")
    three = NETWORKS * float(np.mean([point.seconds for point in points]))
    stages = ", ".join(f"{name} {facts['seconds']:.0f} s" for name, facts in run.read()["stages"].items())
    print(
        f"seed {seed}: search {seconds:.0f} s (by the clock: {stages}); {NETWORKS} alone {three:.0f} s; "
        f"search / alone {seconds / three:.2f}"
    )
    print(f"at least as accurate: {sum(point.after >= point.alone for point in points)} of {len(points)}", flush=True)


def searched(path: Path, arguments: argparse.Namespace, seed: int) -> tuple[RunFolder, float]:
    """Returns a finished search, and the seconds of CPU time that it took."""
    began = time.process_time()
    if (path / "run.json").exists():
        run = resume(path, TerminalReporter(), {}).run
    else:
        options: dict[str, Any] = {
            "space": arguments.space,
            "data": arguments.data,
            "limit_images": arguments.limit,
            "epochs": arguments.epochs,
            "device": (arguments.device,),
            "latency_budget": arguments.budget,
            "seed": seed,
        }
        options = {name: value for name, value in options.items() if value is not None}
        request = search_request(options | dict(text.split("=", 1) for text in arguments.option))
        run = start(request, request.space.load(), path, TerminalReporter()).run
    return run, time.process_time() - began


def compared(run: RunFolder, arguments: argparse.Namespace) -> Iterator[Point]:
    """Yields the networks of a front, fastest first."""
    _, request, space = reopen(run.path, {})
    checked = checked_request(request, space, run)
    judged = load_data(
        arguments.data, space.input_shape, outputs=checked.data.outputs, seed=request.seed, limit=4 * arguments.judge
    ).test
    with closing(RunDatabase.existing(run.database)) as database:
        final, search = database.evaluations(FINAL), database.evaluations(SEARCH)
    weights = RunWeights(run, checked, Silent())
    score = SplitScore(checked.data, checked.task, weights.device, split=judged)
    for row in read_front(run.front):
        before, after = search[row.arch_id], final.get(row.arch_id, search[row.arch_id])
        training = NetworkTraining(
            data=checked.data,
            task=checked.task,
            recipe=replace(recipe_of(request.training, space), epochs=arguments.alone_epochs, distillation=0.0),
            seed=request.seed,
            device=weights.device,
            folder=run.path.with_name(f"{run.path.name}-alone"),
            reporter=TerminalReporter(),
            words="training alone",
        )
        began = time.process_time()
        alone = StagedNetworks(AloneSource(UntrainedSource(space, request.seed), training), (weights.recalibrate,))
        module = alone.network(before.arch)
        seconds = time.process_time() - began
        modules = [weights.networks(evaluation).network(evaluation.arch) for evaluation in (before, after)]
        searched_, finished, trained = (score.score(one.to(weights.device))["accuracy"] for one in (*modules, module))
        yield Point(row.latency_ms, searched_, finished, trained, seconds)


if __name__ == "__main__":
    main()
