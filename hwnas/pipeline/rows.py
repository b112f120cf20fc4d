"""Rows of the front: what is known of each network that is handed out, in the units of files and tables.

Shapes: R rows, D objectives, L latencies.
"""

from collections.abc import Mapping, Sequence
from math import inf

import numpy as np

from hwnas.core.arrays import BoolArray
from hwnas.pipeline.deploy import Deployment
from hwnas.profiler.export import annotate
from hwnas.report.plots import draw
from hwnas.runs.database import Evaluation, Latencies
from hwnas.runs.front import DeviceLatency, FrontRow, read_front, write_front
from hwnas.runs.objectives import Objective, cost_column
from hwnas.strategies.pareto import non_dominated


def write_rows(job: Deployment, evaluations: Sequence[Evaluation]) -> list[FrontRow]:
    """Writes the front of finished evaluations, its pictures, and what was measured into the models; deletes other models."""
    before = job.database.evaluations("search")
    tests = {phase: job.database.tests(phase) for phase in ("search", "final")}
    measured = job.database.measurements()
    rows = [_row(job, evaluation, before[evaluation.arch.id], tests, measured) for evaluation in evaluations]
    for row in rows:
        _annotate(job, row)
    job.exporter.discard_others([row.arch_id for row in rows])
    write_front(job.run.front, rows)
    draw(job.run, "png")
    return read_front(job.run.front)


def are_beaten(rows: Sequence[FrontRow], objectives: Sequence[Objective]) -> BoolArray:
    """Returns True for each row that is dominated by another that is within the same budgets, or tighter ones; shape (R,)."""
    points_RD = np.array([[objective.minimised(row) for objective in objectives] for row in rows])
    budgets_RL = np.array([[latency.budget_ms or np.inf for latency in row.latencies] for row in rows])
    beaten_R = np.zeros(len(rows), dtype=bool)
    for budget_L in np.unique(budgets_RL, axis=0):
        rivals_R = np.flatnonzero((budgets_RL <= budget_L).all(axis=1))
        dominated_R = rivals_R[~non_dominated(points_RD[rivals_R])]
        own_R = (budgets_RL == budget_L).all(axis=1)
        beaten_R[dominated_R[own_R[dominated_R]]] = True
    return beaten_R


def _row(
    job: Deployment,
    evaluation: Evaluation,
    before: Evaluation,
    tests: Mapping[str, Mapping[str, Mapping[str, float]]],
    measured: Mapping[tuple[str, str], Latencies],
) -> FrontRow:
    arch = evaluation.arch
    latencies = tuple(_latency(job, name, evaluation, measured) for name in job.latencies)
    targets = [target for target, _ in job.latencies.values()]
    first, *others = [str(job.exporter.path(arch.id, target).relative_to(job.run.path)) for target in targets]
    return FrontRow(
        arch_id=arch.id,
        arch=arch.key,
        stages=" > ".join(evaluation.stages),
        metrics=_metrics(evaluation, before, tests),
        latencies=latencies,
        costs={
            cost_column(name, cost.unit): job.predicted(name, arch)
            for name, cost in job.goal.costs.items()
            if name not in job.latencies
        },
        onnx=first,
        further_onnx={target.name: path for target, path in zip(targets[1:], others, strict=True) if path != first},
    )


def _metrics(
    evaluation: Evaluation, before: Evaluation, tests: Mapping[str, Mapping[str, Mapping[str, float]]]
) -> dict[str, float]:
    """Metrics on the validation and the test split; those before final training too, where there was one."""
    arch_id = evaluation.arch.id
    was_trained = arch_id in tests["final"]
    columns = {f"{name}_val": value for name, value in evaluation.metrics.items()}
    columns |= _tests(tests["final" if was_trained else "search"][arch_id], "_test")
    if tests["final"]:
        columns |= {f"{name}_val_before": value for name, value in before.metrics.items()}
        columns |= _tests(tests["search"][arch_id], "_test_before")
    return columns


def _tests(metrics: Mapping[str, float], end: str) -> dict[str, float]:
    """Returns metrics on the test split by column; the device of NAME@DEVICE comes last."""
    parts = ((name.partition("@"), value) for name, value in metrics.items())
    return {f"{name}{end}{at}{device}": value for (name, at, device), value in parts}


def _latency(
    job: Deployment, name: str, evaluation: Evaluation, measured: Mapping[tuple[str, str], Latencies]
) -> DeviceLatency:
    target, cost = job.latencies[name]
    arch, predicted_ms = evaluation.arch, job.predicted(name, evaluation.arch)
    low, high = cost.predictor.interval
    latencies = measured.get((arch.id, target.name))
    judged_ms = job.judged_ms(name, arch, measured)
    budgets_ms = [budget_ms.get(name, inf) for budget_ms in job.goal.budgets_ms] or [inf]
    met_ms = [bound_ms for bound_ms in budgets_ms if judged_ms <= bound_ms]
    budget_ms = min(met_ms, default=max(budgets_ms))
    return DeviceLatency(
        device=target.name,
        predicted_ms=predicted_ms,
        interval_low_ms=predicted_ms * low,
        interval_high_ms=predicted_ms * high,
        measured_ms=latencies.p10_ms if latencies else None,
        measured_median_ms=latencies.median_ms if latencies else None,
        measured_p90_ms=latencies.p90_ms if latencies else None,
        budget_ms=None if budget_ms == inf else budget_ms,
        within_budget=bool(met_ms),
        within_noise=latencies is not None and cost.predictor.within_noise(judged_ms, budget_ms),
    )


def _annotate(job: Deployment, row: FrontRow) -> None:
    """Adds the measurement on the first device of each model file to its metadata: the runtime may be another than the file's."""
    by_device = {latency.device: latency for latency in row.latencies}
    for path, target in job.exporter.files(row.arch_id).items():
        measured_ms = by_device[target.name].measured_ms
        if measured_ms is not None:
            words = ", ".join(target.conditions[name] for name in ("runtime", "precision", "hardware"))
            annotate(path, {"hwnas.measured_ms": repr(measured_ms), "hwnas.measured_by": words})
