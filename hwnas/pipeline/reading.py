"""Reads the evaluations of a run: the importance of choices, and hypervolume over evaluations.

Shapes: N architectures, C choices, D objectives.
"""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

import numpy as np

from hwnas.core.arrays import BoolArray, FloatArray, IntArray
from hwnas.core.files import replace_file
from hwnas.core.space import SearchSpace
from hwnas.costs.proxies import ProxyCost
from hwnas.errors import RunError, SpaceError
from hwnas.pipeline.deploy import Deployment
from hwnas.pipeline.preflight import Goal, latency_names
from hwnas.pipeline.request import reopen
from hwnas.pipeline.target import known_targets
from hwnas.predict.predictor import LatencyPredictor
from hwnas.report.hypervolume import HypervolumePlot, Scale, counts_up_to, predicted_random
from hwnas.report.importance import Importance, importance_of
from hwnas.report.metric_fit import FEWEST, MetricFit
from hwnas.runs.database import SEARCH, Evaluation, RunDatabase
from hwnas.runs.objectives import LATENCY, read_goal
from hwnas.tasks.task import Metric

# Rows drawn in a search for networks within the limits, at a time and at most.
_DRAW: Final = 4096
_DRAWN: Final = 16 * _DRAW
# The networks that a predicted random search draws from, as a multiple of those it evaluates.
_POOL: Final = 4


@final
@dataclass(frozen=True, slots=True)
class SearchEvaluations:
    """The networks that a run has evaluated, in the order in which it did, with the weights of the search."""

    space: SearchSpace
    evaluations: Mapping[str, Evaluation]

    def rows(self) -> IntArray:
        """Returns the networks as rows; shape (N, C)."""
        return self.space.encode([evaluation.arch for evaluation in self.evaluations.values()])

    def values(self, metric: Metric) -> FloatArray:
        """Returns a metric as it was reported, NaN where an earlier version did not evaluate it; shape (N,)."""
        found = [evaluation.metrics.get(metric.name, np.nan) for evaluation in self.evaluations.values()]
        return np.array(found, dtype=float)

    def fit(self, metric: Metric) -> MetricFit | None:
        """Returns the additive model of a metric; None where `why_no_fit` says why there is none."""
        if self.why_no_fit:
            return None
        return MetricFit.of(metric, self.space, self.rows(), self.values(metric))

    @property
    def why_no_fit(self) -> str:
        """The reason why options cannot be told apart, in words; empty where they can be."""
        if not self.space.layers or not any(layer.scope for layer in self.space.layers):
            return f"{self.space.name} has no layers that its choices decide, so nothing can be said of single options"
        count = len(self.evaluations)
        return f"too few networks were evaluated: {count}, at least {FEWEST} are needed" if count < FEWEST else ""


def importance_of_run(path: Path) -> Importance:
    """Returns the importance of the choices of a finished run, on its first metric and all latencies.

    Raises RunError where too few networks were evaluated, SpaceError for a space without layers.
    """
    run, request, space = reopen(path, {})
    with closing(RunDatabase.existing(run.database)) as database:
        evaluated = SearchEvaluations(space, database.evaluations(SEARCH))
    goal = read_goal(run)
    metric = next((one.metric for one in goal.objectives if one.metric is not None), goal.metrics[0])
    fit = evaluated.fit(metric)
    if fit is None:
        if len(evaluated.evaluations) >= FEWEST:
            raise SpaceError(f"{path}: {evaluated.why_no_fit}; give a run of another space")
        raise RunError(
            f"{path}: {evaluated.why_no_fit}; `hwnas search --resume --out {path} --evaluations {2 * FEWEST}` evaluates more"
        )
    targets = known_targets(run, request.devices.devices())
    predictors = {
        name: LatencyPredictor.load(run.predictor_of(LATENCY, target.name)).for_space(space)
        for name, target in zip(latency_names(targets), targets, strict=True)
    }
    importance = importance_of(run.read("title")["title"], fit, predictors, np.random.default_rng(request.seed))
    if not importance.effects:
        raise RunError(
            f"{path}: no choice is free in the networks that are drawn to compare options; free some choices"
        )
    return importance


def write_reading(job: Deployment) -> None:
    """Writes importance.csv, hypervolume.csv and a picture of each into the run folder; says what cannot be told, and why.

    run.json keeps, as `reading`, how far each can be relied on.
    """
    from hwnas.report.figures import save_figure
    from hwnas.report.run_figures import draw_hypervolume

    evaluated, title = SearchEvaluations(job.space, job.database.evaluations(SEARCH)), job.run.read("title")["title"]
    fits: dict[str, MetricFit] = {}
    for metric in job.goal.metrics:
        if metric.name in job.goal.objectives or metric == job.goal.first_metric:
            fit = evaluated.fit(metric)
            fits |= {metric.name: fit} if fit is not None else {}
    plot = _hypervolume(job, evaluated, fits, title)
    notes: dict[str, list[str]] = {}
    if plot is not None:
        save_figure(draw_hypervolume(plot), job.run.hypervolume)
        replace_file(job.run.hypervolume_table, plot.csv())
        notes["hypervolume"] = [text for text in (plot.reference, plot.note) if text]
    importance = _written_importance(job, evaluated, fits, title)
    if importance is not None:
        notes["importance"] = [importance.reliability]
    job.run.write(job.run.read() | {"reading": notes})


def _written_importance(
    job: Deployment, evaluated: SearchEvaluations, fits: Mapping[str, MetricFit], title: str
) -> Importance | None:
    """Writes the importance of choices; returns None, and says why, where it cannot be told."""
    from hwnas.report.figures import save_figure
    from hwnas.report.run_figures import draw_importance

    if job.goal.first_metric.name not in fits:
        job.run.importance.unlink(missing_ok=True)
        job.run.importance.with_suffix(".png").unlink(missing_ok=True)
        job.reporter.note(f"importance of choices: {evaluated.why_no_fit}")
        return None
    predictors = {name: cost.predictor for name, (_, cost) in job.latencies.items()}
    importance = importance_of(title, fits[job.goal.first_metric.name], predictors, np.random.default_rng(job.seed))
    if not importance.effects:
        job.reporter.note("importance of choices: no choice is free in the networks that are drawn to compare options")
        return None
    replace_file(job.run.importance, importance.csv())
    save_figure(draw_importance(importance), job.run.importance.with_suffix(".png"))
    return importance


def _hypervolume(
    job: Deployment, evaluated: SearchEvaluations, fits: Mapping[str, MetricFit], title: str
) -> HypervolumePlot | None:
    """Returns the curves of what was evaluated within the limits, by the costs as predicted, and of random search.

    None where no evaluated network is within the limits by prediction: those of the front are then within when measured.
    """
    goal, rows_NC = job.goal, evaluated.rows()
    by_metric = {metric.name: metric for metric in goal.metrics}
    values = {name: evaluated.values(by_metric[name]) for name in goal.objectives if name in by_metric}
    points_ND = _points(
        goal, rows_NC, {name: by_metric[name].minimised(1.0) * value_N for name, value_N in values.items()}
    )
    counted_N = _within(job.space, goal, rows_NC) & np.isfinite(points_ND).all(axis=1)
    if not counted_N.any():
        return None
    points_ND, counts_E = points_ND[counted_N], counts_up_to(int(counted_N.sum()))
    scale = Scale.of(points_ND, [name in by_metric for name in goal.objectives])
    rng = np.random.default_rng(job.seed)
    pool_NC, note = _random_pool(job, evaluated, fits, int(counts_E[-1]), rng)

    def drawn(some_NC: IntArray, rng: np.random.Generator) -> FloatArray:
        return _points(goal, some_NC, {name: fits[name].drawn(some_NC, rng) for name in values})

    random_RE = predicted_random(pool_NC, drawn, scale, counts_E, rng) if len(pool_NC) else np.zeros((0, len(counts_E)))
    return HypervolumePlot(
        title=title,
        reference=_reference(goal, scale),
        counts_E=counts_E,
        evaluated_E=scale.shares(points_ND, counts_E),
        random_RE=random_RE,
        note=note,
    )


def _random_pool(
    job: Deployment, evaluated: SearchEvaluations, fits: Mapping[str, MetricFit], count: int, rng: np.random.Generator
) -> tuple[IntArray, str]:
    """Returns random networks within the limits, and how good the fit of their metrics is; none, and why, where it cannot be."""
    goal, nothing_NC = job.goal, np.zeros((0, len(job.space.choices)), dtype=np.int64)
    used = [*goal.objectives, *(limit.cost.name for limit in goal.limits)]
    proxies = [name for name in used if isinstance(goal.costs.get(name), ProxyCost)]
    if proxies:
        return nothing_NC, f"random search is not predicted: {proxies[0]} of new networks would have to be computed"
    missing = [metric.name for metric in goal.metrics if metric.name in goal.objectives and metric.name not in fits]
    if missing:
        return nothing_NC, f"random search is not predicted: {evaluated.why_no_fit}"
    needed = [fits[name] for name in goal.objectives if name in fits]
    unexplained = [fit.metric.name for fit in needed if fit.explained <= 0]
    if unexplained:
        return nothing_NC, f"random search is not predicted: an additive fit explains nothing of {unexplained[0]}"
    pool_NC = _random_rows(job.space, goal, _POOL * count, rng)
    if len(pool_NC) < count:
        return nothing_NC, "random search is not predicted: random networks are seldom within the limits"
    shares = ", ".join(f"{100 * fit.explained:.0f} % of the variance of {fit.metric.name}" for fit in needed)
    told = f" An additive fit explains {shares} of networks left out of it." if shares else ""
    return pool_NC, f"random, predicted: mean and middle 80 % of random searches, not evaluated.{told}"


def _random_rows(space: SearchSpace, goal: Goal, count: int, rng: np.random.Generator) -> IntArray:
    """Returns up to `count` different random networks within the limits; shape (at most count, C)."""
    found: dict[bytes, IntArray] = {}
    for _ in range(0, _DRAWN, _DRAW):
        rows_NC = space.sample_rows(rng, _DRAW)
        for row_C in rows_NC[_within(space, goal, rows_NC)]:
            found.setdefault(row_C.tobytes(), row_C)
        if len(found) >= count:
            break
    rows = list(found.values())[:count]
    return np.array(rows, dtype=np.int64).reshape(len(rows), len(space.choices))


def _within(space: SearchSpace, goal: Goal, rows_NC: IntArray) -> BoolArray:
    """Returns True for the architectures that meet all limits, and one of the budgets, by prediction; shape (N,)."""
    met_N = np.zeros(len(rows_NC), dtype=bool)
    for budget_ms in goal.budgets_ms or ({},):
        over = [limit.over(rows_NC) for limit in goal.limits_under(budget_ms)]
        met_N |= np.max([np.full(len(rows_NC), -1.0), *over], axis=0) <= 0
    return np.asarray(met_N & space.choices.meets_requirements(rows_NC))


def _points(goal: Goal, rows_NC: IntArray, minimised: Mapping[str, FloatArray]) -> FloatArray:
    """Returns the objectives of architectures, given the metrics among them, lower is better; shape (N, D)."""
    columns = [minimised[name] if name in minimised else goal.costs[name].values(rows_NC) for name in goal.objectives]
    return np.stack(columns, axis=1).astype(float)


def _reference(goal: Goal, scale: Scale) -> str:
    """Returns the reference point in words."""
    by_metric = {metric.name: metric for metric in goal.metrics}
    said = []
    for name, value in zip(goal.objectives, scale.reference_D, strict=True):
        if name in by_metric:
            said.append(f"{name} {by_metric[name].minimised(float(value)):.4g} (median)")
        else:
            unit = goal.costs[name].unit
            said.append(f"{name} {value:.4g}{f' {unit}' if unit else ''} (highest)")
    return f"reference point, of what was evaluated within the limits: {', '.join(said)}; 1 is the best of each at once"
