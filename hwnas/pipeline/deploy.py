"""From evaluated architectures to a front of ONNX files, each network timed as its runtime runs it, on every device that is here.

A latency depends on the network, not on its weights, so candidates are timed before final training, and what misses a budget
is replaced before anything is trained for it.
"""

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, final

import numpy as np

from hwnas.core.arch import Arch
from hwnas.core.arrays import BoolArray, FloatArray
from hwnas.core.files import replace_file
from hwnas.core.reporter import Reporter
from hwnas.core.space import SearchSpace
from hwnas.costs.predicted import PredictedCost
from hwnas.data.dataset import Dataset
from hwnas.evaluate.evaluator import Networks
from hwnas.pipeline.models import Exporter, answers, loaded_model, test_metrics
from hwnas.pipeline.preflight import Goal
from hwnas.pipeline.target import Target, by_precision
from hwnas.pipeline.timing import timed_models
from hwnas.profiler.protocol import Session
from hwnas.profiler.runtime import Model
from hwnas.runs.database import Evaluation, Latencies, RunDatabase
from hwnas.runs.folder import RunFolder
from hwnas.strategies.pareto import non_dominated
from hwnas.tasks.task import ByClass, Task

GROUP_SIZE: Final = 16  # models loaded at a time
# The latencies that a front is one in, where they were measured.
LATENCIES: Final = ("predicted", "p10", "median")
PREDICTED: Final = LATENCIES[:1]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """The values that measuring and exporting share. `networks` returns the networks of an evaluation, by its stages."""

    run: RunFolder
    space: SearchSpace
    data: Dataset
    task: Task
    goal: Goal
    latencies: Mapping[str, tuple[Target, PredictedCost]]
    networks: Callable[[Evaluation], Networks]
    database: RunDatabase
    exporter: Exporter
    seed: int
    reporter: Reporter

    @property
    def timed(self) -> dict[str, tuple[Target, PredictedCost]]:
        """The latencies on devices that are here."""
        return {name: (target, cost) for name, (target, cost) in self.latencies.items() if target.timed}

    def predicted(self, name: str, arch: Arch) -> float:
        """Returns a cost as predicted."""
        return float(self.goal.costs[name].values(self.space.encode([arch]))[0])

    def predicted_ms(self, arch: Arch) -> dict[str, float]:
        """Returns the predicted latency on every device, by the device's name."""
        return {target.name: self.predicted(name, arch) for name, (target, _) in self.latencies.items()}

    def judged_ms(self, name: str, arch: Arch, measured: Mapping[tuple[str, str], Latencies]) -> float:
        """Returns what a budget is held against: the statistic as measured, or the upper end of its interval."""
        target, cost = self.latencies[name]
        latencies = measured.get((arch.id, target.name))
        if latencies is not None:
            return latencies.statistic_ms(self.goal.budget_on)
        return float(cost.upper(self.space.encode([arch]))[0])

    def is_measured(self, arch: Arch, measured: Mapping[tuple[str, str], Latencies]) -> bool:
        """True where nothing is left to measure of an architecture, on any device that is here."""
        return all((arch.id, target.name) in measured for target, _ in self.timed.values())


def candidates(
    job: Deployment, evaluations: Mapping[str, Evaluation], budget_ms: Mapping[str, float]
) -> list[Evaluation]:
    """Returns the evaluations that no other beats in the objectives, among those not known, or expected, to miss a budget.

    An architecture that is not measured yet is expected to miss a budget where the worst so far missed it by as much.
    """
    everything, measured = list(evaluations.values()), job.database.measurements()
    within_N = _may_be_within(job, everything, budget_ms, measured)
    kept = [evaluation for evaluation, within in zip(everything, within_N, strict=True) if within]
    points = objective_points(job, kept, measured, "predicted")
    return [evaluation for evaluation, stays in zip(kept, non_dominated(points), strict=True) if stays]


def _may_be_within(
    job: Deployment,
    evaluations: Sequence[Evaluation],
    budget_ms: Mapping[str, float],
    measured: Mapping[tuple[str, str], Latencies],
) -> BoolArray:
    """Returns True for each evaluation that is known, or may be expected, to be within a budget on every device; (N,)."""
    archs = [evaluation.arch for evaluation in evaluations]
    rows_NC, within_N = job.space.encode(archs), np.ones(len(archs), dtype=bool)
    for name, bound_ms in budget_ms.items():
        target, cost = job.latencies[name]
        known_N = np.array([not target.timed or (arch.id, target.name) in measured for arch in archs], dtype=bool)
        judged_N = np.array([job.judged_ms(name, arch, measured) for arch in archs])
        predicted_N = cost.values(rows_NC)
        over_N = known_N & (judged_N > bound_ms)
        worst = float((judged_N[over_N] / predicted_N[over_N]).max(initial=0.0))
        within_N &= np.where(known_N, judged_N <= bound_ms, predicted_N * worst < bound_ms)
    return within_N


def objective_points(
    job: Deployment, evaluations: Sequence[Evaluation], measured: Mapping[tuple[str, str], Latencies], latency: str
) -> FloatArray:
    """Returns the objectives of evaluations, all to be minimised; shape (N, D).

    `latency` says which one is meant: `predicted`, or where a device was measured, `p10` or `median`.
    """
    by_metric = {metric.name: metric for metric in job.goal.metrics}
    rows_NC = job.space.encode([evaluation.arch for evaluation in evaluations])

    def column(objective: str) -> FloatArray:
        if objective in by_metric:
            minimised = by_metric[objective].minimised
            return np.array([minimised(evaluation.metrics[objective]) for evaluation in evaluations], dtype=float)
        if objective in job.timed and latency != "predicted":
            target, _ = job.timed[objective]
            found = [measured[evaluation.arch.id, target.name].statistic_ms(latency) for evaluation in evaluations]
            return np.array(found, dtype=float)
        return job.goal.costs[objective].values(rows_NC)

    return np.stack([column(objective) for objective in job.goal.objectives], axis=1)


def undominated(job: Deployment, evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """Returns the evaluations that no other beats in the objectives, be latency the predicted or a measured one.

    Under every budget only those within that budget are compared: a better network over the budget does not replace one
    that is within.
    """
    measured, kept = job.database.measurements(), set[str]()
    for budget_ms in job.goal.budgets_ms or ({},):
        within = [
            evaluation
            for evaluation in evaluations
            if all(job.judged_ms(name, evaluation.arch, measured) <= bound_ms for name, bound_ms in budget_ms.items())
        ]
        for latency in LATENCIES if job.timed else PREDICTED:
            points = objective_points(job, within, measured, latency)
            within = [evaluation for evaluation, stays in zip(within, non_dominated(points), strict=True) if stays]
        kept |= {evaluation.arch.id for evaluation in within}
    return [evaluation for evaluation in evaluations if evaluation.arch.id in kept]


def thinned(job: Deployment, evaluations: Sequence[Evaluation], most: int) -> list[Evaluation]:
    """Returns `most` evaluations of a front, spread over it; all where there are fewer.

    The best of every objective, and of the first objective within every budget, stay in any case, even where these are more
    than `most`. Each further one is the farthest from those that stay, in objectives scaled to 0..1 over the front.
    """
    if len(evaluations) <= most:
        return list(evaluations)
    measured = job.database.measurements()
    points_ND = np.nan_to_num(objective_points(job, evaluations, measured, "predicted"), nan=np.finfo(float).max)
    scaled_ND = (points_ND - points_ND.min(axis=0)) / np.maximum(np.ptp(points_ND, axis=0), 1e-300)
    stay = points_ND.argmin(axis=0).tolist()
    for budget_ms in job.goal.budgets_ms:
        within_N = _may_be_within(job, evaluations, budget_ms, measured)
        stay += [int(np.where(within_N, points_ND[:, 0], np.inf).argmin())] if within_N.any() else []
    stay = list(dict.fromkeys(stay))
    while len(stay) < most:
        distance_N = np.linalg.norm(scaled_ND[:, None] - scaled_ND[stay], axis=2).min(axis=1)
        distance_N[stay] = -1.0
        stay.append(int(distance_N.argmax()))
    return [evaluations[number] for number in sorted(stay)]


def measure(job: Deployment, evaluations: Sequence[Evaluation]) -> None:
    """Exports architectures with the weights of the search, and measures what is not known of them: latencies on every device
    that is here, and metrics on the test split."""
    known_tests, measured = job.database.tests("search"), job.database.measurements()
    new = [
        evaluation
        for evaluation in evaluations
        if evaluation.arch.id not in known_tests or not job.is_measured(evaluation.arch, measured)
    ]
    for start in range(0, len(new), GROUP_SIZE):
        group = new[start : start + GROUP_SIZE]
        for evaluation in job.reporter.track(group, "exporting models"):
            job.exporter.export(evaluation, job.networks(evaluation), job.predicted_ms(evaluation.arch))
        test(job, "search", group)
        for name in job.timed:
            _time(job, name, group)


def test(job: Deployment, phase: str, evaluations: Iterable[Evaluation]) -> None:
    """Runs exported models on the test split, and keeps their metrics, those of a further precision as NAME@DEVICE."""
    first, *others = by_precision(target for target, _ in job.latencies.values())
    known = job.database.tests(phase)
    for evaluation in evaluations:
        if evaluation.arch.id not in known:
            metrics = dict(_tested(job, first, evaluation))
            for target in others:
                metrics |= {f"{name}@{target.name}": value for name, value in _tested(job, target, evaluation).items()}
            job.database.add_tests(phase, {evaluation.arch.id: metrics})


def write_classes(job: Deployment, evaluations: Iterable[Evaluation]) -> None:
    """Writes what becomes of each class of the test split, network by network, where the task tells (`ByClass`); models run in
    the precision of the first device."""
    target, _ = next(iter(job.latencies.values()))
    if not isinstance(job.task, ByClass):
        return
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = ("labels", "predictions", "recall", "precision")
    writer.writerow(["arch_id", "class", *(f"{column}_test" for column in columns)])
    names = job.run.read()["data"].get("classes")
    named: Sequence[Any] = names if isinstance(names, list) else []
    for evaluation in evaluations:
        rows = job.task.class_rows(answers(_loaded(job, target, evaluation), job.data, target.here.batch))
        for number, row in enumerate(rows):
            name = named[number] if number < len(named) else number
            writer.writerow([evaluation.arch.id, name, *(row[column] for column in columns)])
    replace_file(job.run.classes, text.getvalue())


def _tested(job: Deployment, target: Target, evaluation: Evaluation) -> Mapping[str, float]:
    return test_metrics(_loaded(job, target, evaluation), job.data, job.task, target.here.batch)


def _time(job: Deployment, name: str, evaluations: Sequence[Evaluation]) -> None:
    """Times what is not timed yet on a device: a search may have been killed between two devices."""
    target, cost = job.latencies[name]
    measured = job.database.measurements()
    missing = [evaluation for evaluation in evaluations if (evaluation.arch.id, target.name) not in measured]
    if not missing:
        return
    models = [_loaded(job, target, evaluation) for evaluation in missing]
    session = timed_models(job.space, target.here, models, cost.predictor, seed=job.seed, reporter=job.reporter)
    _record_session(job.run, target.name, session, cost.predictor.report.get("reference_ms"))
    job.database.add_measurements(
        {
            (evaluation.arch.id, target.name): Latencies(timing.p10_ms, timing.median_ms, timing.p90_ms)
            for evaluation, timing in zip(missing, session.timings, strict=True)
        }
    )


def _record_session(run: RunFolder, device: str, session: Session, profiled_ms: float | None) -> None:
    """Adds what a session tells of drift and noise to run.json, for the page of the run."""
    facts = run.read()
    told = {
        "device": device,
        "networks": len(session.timings),
        "reference_ms": session.reference.p10_ms,
        "profiled_ms": profiled_ms,
        "unconverged": sum(not timing.converged for timing in session.timings),
        "discarded_rounds": session.discarded_rounds,
    }
    run.write(facts | {"sessions": [*facts.get("sessions", ()), told]})


def _loaded(job: Deployment, target: Target, evaluation: Evaluation) -> Model:
    path: Path = job.exporter.path(evaluation.arch.id, target)
    return loaded_model(target.here, path, partial(job.networks(evaluation).network, evaluation.arch), job.space)
