"""Precisions searched together with the architecture, against the architecture first and all of it in int8 afterwards.

    python scripts/bench/mixed_precision.py --out DIR

Space `mobilenet` for 16 px at half width, with fewer kernels and expansions, on digits; three seeds of everything but the
latency table. All searches are by `--strategy surrogate` with equal evaluations, on one supernet, once for accuracy and
bytes, once for accuracy and latency: of architectures and the precision of each block, of architectures and one precision, and of
architectures in fp32. The networks of the last one's front are then scored in int8, too: these evaluations come on top.

Accuracies are those of the test images by the model file, milliseconds are measured side by side. A hypervolume is a share of the
box between the reference point (guessing; the largest network in fp32) and the best point (no errors; the smallest network in
int8): mean and range over seeds with the cost on a logarithmic scale, then the mean with the cost as it is. Also prints how
well latencies of networks of random precisions are predicted, and the seconds of an evaluation.
"""

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import hwnas
from hwnas.core.arch import Arch
from hwnas.core.arrays import FloatArray, IntArray
from hwnas.core.operations import drop, fix, precision_choices, tie
from hwnas.core.space import SearchSpace
from hwnas.costs.cost import Cost
from hwnas.costs.predicted import PredictedCost
from hwnas.costs.sizes import SizeCost
from hwnas.data.dataset import load_data
from hwnas.evaluate.networks import StagedNetworks
from hwnas.evaluate.sources import SupernetSource
from hwnas.evaluate.split import SplitScore
from hwnas.evaluate.stages import Quantise, Recalibrate
from hwnas.pipeline.precisions import saved_ms, slower_words
from hwnas.pipeline.predict import fit_table
from hwnas.pipeline.timing import timed_models
from hwnas.profiler.device import Conditions, conditions_here
from hwnas.profiler.profile import Profiling, network_subject, profile
from hwnas.profiler.protocol import Protocol
from hwnas.spaces import with_precisions
from hwnas.strategies.pareto import hypervolume, non_dominated
from hwnas.strategies.problem import Problem
from hwnas.strategies.surrogate import Surrogate
from hwnas.strategies.workshop import Workshop
from hwnas.supernet.network import Supernet
from hwnas.tasks.registry import load_task
from hwnas.terminal import TerminalReporter
from hwnas.train.recipes import BY_OPTIMIZER
from hwnas.train.step import usual_optimizer
from hwnas.train.supernet import train_supernet

CPU, TASK = torch.device("cpu"), load_task("classification")
JOINT, TIED, FIRST = "joint, one precision a block", "joint, one precision a network", "architecture first"
INT8, BOTH = f"{FIRST}, then int8", f"{FIRST}, then fp32 and int8"
ARMS: Mapping[str, Callable[[SearchSpace], SearchSpace]] = {
    JOINT: lambda space: space,
    TIED: lambda space: tie(space, "*.precision"),
    FIRST: lambda space: fix(space, "*.precision", "fp32"),
}
CHECKED = 24  # networks of random precisions that predictions are compared on


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--evaluations", type=int, default=24)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--networks", type=int, default=40)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--costs", nargs="+", choices=("latency", "model"), default=["latency", "model"])
    parser.add_argument("--out", type=Path, required=True, help="a folder for the latency table, which is used again")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    space = with_precisions(architectures(), ("fp32", "int8"))
    conditions, reporter = conditions_here("cpu"), TerminalReporter()
    table = arguments.out / "table.jsonl"
    profiling = Profiling(
        space=space, conditions=conditions, path=table, reporter=reporter, protocol=Protocol(rounds=6, patience_s=0)
    )
    profile(profiling, networks=arguments.networks)
    latency = PredictedCost(fit_table(table, space, allow_unconverged=True), "p10", "latency")
    rows_NC = space.sample_rows(np.random.default_rng(7), CHECKED)
    errors_N = np.abs(latency.values(rows_NC) / measured_ms(space, conditions, latency, rows_NC, reporter) - 1)
    costs: Mapping[str, Cost] = {"latency": latency, "model": SizeCost(space, "model")}
    volumes: dict[tuple[str, str], list[tuple[float, float]]] = {}
    seconds: list[float] = []
    for seed in range(arguments.seeds):
        judge = Judge.trained(space, arguments.epochs, seed)
        for cost in arguments.costs:
            fronts = searched(space, costs, cost, judge, arguments, seed)
            for arm, rows_NC in fronts.items():
                values_N = costs[cost].values(rows_NC)
                if cost == "latency":
                    values_N = measured_ms(space, conditions, latency, rows_NC, reporter)
                errors = 1 - np.array([judge.of(space.decode(row))[1]["accuracy"] for row in rows_NC])
                logarithmic, linear = (
                    volume(space, costs[cost], errors, values_N, scale) for scale in (np.log, np.asarray)
                )
                volumes.setdefault((cost, arm), []).append((logarithmic, linear))
                print(
                    f"seed {seed}, {cost}, {arm}: {logarithmic:.3f}, {linear:.3f}, {len(rows_NC)} networks", flush=True
                )
        seconds += judge.seconds
    print(f"\n{conditions.hardware}; {arguments.evaluations} evaluations, {arguments.seeds} seeds")
    for precision, saved in saved_ms(space, latency).items():
        print(slower_words(precision, saved, "here") or f"{precision} is slower for no block")
    told = f"median {100 * np.median(errors_N):.1f} %, p90 {100 * np.percentile(errors_N, 90):.1f} %"
    print(f"latency of {CHECKED} networks of random precisions, error of the prediction: {told}")
    print(f"seconds of an evaluation with blocks in int8: median {np.median(seconds):.2f}\n")
    words = {"latency": "accuracy, measured ms", "model": "accuracy, MiB"}
    print(f"| | {' | '.join(words[cost] for cost in arguments.costs)} |\n|---|{'---|' * len(arguments.costs)}")
    for arm in dict.fromkeys(arm for _, arm in volumes):
        print(f"| {arm} | {' | '.join(cell(volumes[cost, arm]) for cost in arguments.costs)} |")


def cell(volumes: Sequence[tuple[float, float]]) -> str:
    """Returns the hypervolumes of an arm in words."""
    logarithmic, linear = zip(*volumes, strict=True)
    return f"{np.mean(logarithmic):.3f} ({min(logarithmic):.3f} to {max(logarithmic):.3f}), {np.mean(linear):.3f}"


def architectures() -> SearchSpace:
    """Returns `mobilenet` for small images at half width, without its largest kernels and the middle expansion."""
    space = hwnas.space("mobilenet", resolution=16, channels=1, width=0.5)
    return drop(drop(space, "*.kernel", 7), "*.expansion", 4)


@dataclass(eq=False)
class Judge:
    """Scores networks of one trained supernet on the validation and the test split, each once."""

    networks: StagedNetworks
    quantise: Quantise
    scores: Sequence[SplitScore]
    known: dict[str, tuple[Mapping[str, float], Mapping[str, float]]] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)

    @classmethod
    def trained(cls, space: SearchSpace, epochs: int, seed: int) -> "Judge":
        torch.manual_seed(seed)
        supernet = Supernet(space)
        data = load_data("digits", space.input_shape, seed=seed)
        recipe = replace(BY_OPTIMIZER[usual_optimizer(supernet)], epochs=epochs)
        checkpoint = Path(f"mixed-precision-{seed}.pt")
        train_supernet(supernet, data, TASK, recipe, seed=seed, checkpoint=checkpoint, reporter=TerminalReporter())
        checkpoint.unlink(missing_ok=True)
        networks = StagedNetworks(SupernetSource(supernet), (Recalibrate(data, CPU),))
        scores = [SplitScore(data, TASK, CPU, split=split) for split in (data.validation, data.test)]
        return cls(networks, Quantise(data), scores)

    def of(self, arch: Arch) -> tuple[Mapping[str, float], Mapping[str, float]]:
        """Returns the metrics of a network on both splits."""
        if arch.id not in self.known:
            began = time.perf_counter()
            run = self.quantise(self.networks.network(arch))
            validation, test = (score.score(run) for score in self.scores)
            self.known[arch.id] = validation, test
            if "int8" in arch.values():
                self.seconds.append(time.perf_counter() - began)
        return self.known[arch.id]

    def evaluate(self, space: SearchSpace, rows_NC: IntArray) -> Mapping[str, FloatArray]:
        """Returns the metrics of networks on the validation split."""
        found = [self.of(space.decode(row))[0] for row in rows_NC]
        return {metric.name: np.array([metrics[metric.name] for metrics in found]) for metric in TASK.metrics}


def searched(
    space: SearchSpace,
    costs: Mapping[str, Cost],
    cost: str,
    judge: Judge,
    arguments: argparse.Namespace,
    seed: int,
) -> dict[str, IntArray]:
    """Returns the front of each arm by the validation split and the cost as searched."""
    fronts: dict[str, IntArray] = {}
    for arm in arguments.arms:
        part = ARMS[arm](space)
        asked: list[IntArray] = []

        def evaluate(rows_NC: IntArray, *_: Any, part: SearchSpace = part, asked: list[IntArray] = asked) -> Any:
            asked.append(space.encode([part.decode(row) for row in rows_NC]))
            return judge.evaluate(part, rows_NC)

        problem = Problem(
            space=part,
            objectives=("loss", cost),
            metrics=TASK.metrics,
            costs={name: _Part(space, part, known) for name, known in costs.items()},
            evaluate=evaluate,
            start_C=part.encode([part.smallest()])[0],
        )
        Surrogate(evaluations=arguments.evaluations).search(problem, Workshop(seed=seed))
        fronts[arm] = front(space, costs[cost], judge, np.concatenate(asked))
    if FIRST not in fronts:
        return fronts
    quantised = dict.fromkeys(precision_choices(space).values(), "int8")
    float_NC = fronts.pop(FIRST)
    int8_NC = space.encode([{**space.decode(row), **quantised} for row in float_NC])
    both_NC = np.concatenate([float_NC, int8_NC])
    after = {INT8: int8_NC, BOTH: both_NC}
    return fronts | {arm: front(space, costs[cost], judge, rows_NC) for arm, rows_NC in after.items()}


@dataclass(frozen=True)
class _Part:
    """A cost of a space for a part of it in which some choices have one option."""

    space: SearchSpace
    part: SearchSpace
    cost: Cost

    def __getattr__(self, name: str) -> Any:
        return getattr(self.cost, name)

    @property
    def factors(self) -> Any:
        """The factors, with the options that the part has."""
        factors = self.cost.factors
        if factors is None:
            return None
        return tuple(replace(factor, values=factor.values[np.ix_(*self._kept(factor.scope))]) for factor in factors)

    def _kept(self, scope: Sequence[str]) -> list[list[int]]:
        return [
            [self.space.choice(name).options.index(option) for option in self.part.choice(name).options]
            for name in scope
        ]

    def values(self, rows_NC: IntArray) -> FloatArray:
        return self.cost.values(self.space.encode([self.part.decode(row) for row in rows_NC]))

    upper = values


def front(space: SearchSpace, cost: Cost, judge: Judge, rows_NC: IntArray) -> IntArray:
    """Returns the rows that no other beats in loss and cost."""
    loss_N = judge.evaluate(space, rows_NC)["loss"]
    return rows_NC[non_dominated(np.stack([loss_N, cost.values(rows_NC)], axis=1))]


def measured_ms(
    space: SearchSpace, conditions: Conditions, cost: PredictedCost, rows_NC: IntArray, reporter: TerminalReporter
) -> FloatArray:
    """Returns the p10 latency of networks, timed side by side; (N,)."""
    models = [network_subject(space, space.decode(row), conditions).load()[0] for row in rows_NC]
    session = timed_models(space, conditions, models, cost.predictor, seed=0, reporter=reporter)
    return np.array([timing.p10_ms for timing in session.timings])


def volume(
    space: SearchSpace, cost: Cost, error_N: FloatArray, cost_N: FloatArray, scale: Callable[[FloatArray], FloatArray]
) -> float:
    """Returns the hypervolume of networks as a share of the box of the docstring above."""
    smallest = {**space.smallest(), **dict.fromkeys(precision_choices(space).values(), "int8")}
    low, high = scale(cost.values(space.encode([smallest, space.largest()])))
    points_N2 = np.stack([error_N / 0.9, (scale(cost_N) - low) / (high - low)], axis=1)
    return hypervolume(np.clip(points_N2, 0, None), (1.0, 1.0))


if __name__ == "__main__":
    main()
