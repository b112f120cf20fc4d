"""Values of a plot of a front. Knows no plotting library and no run folder."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, islice
from typing import Final, final

import numpy as np

from hwnas.errors import HwnasError, UnknownNameError
from hwnas.report.axes import SHARE, WORDS, Axis, finite, metric_text, with_margin, with_unit
from hwnas.runs.front import DeviceLatency, FrontRow, named
from hwnas.runs.objectives import UNITS, Objective, RunGoal
from hwnas.strategies.pareto import non_dominated
from hwnas.tasks.task import Metric

STATISTICS: Final[Mapping[str, str]] = {"p10": "10th percentile", "median": "median", "p90": "90th percentile"}

# Okabe & Ito, "Color Universal Design" (2008): told apart with every common kind of colour blindness.
COLOURS: Final[Mapping[str, str]] = {
    "evaluated": "#BBBBBB",
    "before": "#56B4E9",
    "measured": "#0072B2",
    "predicted": "#E69F00",
    "budget": "#D55E00",
}

# The error of a prediction that a plot marks as small.
TOLERANCE: Final = 0.05
# The panels of one picture: more are too small to read.
MOST_PANELS: Final = 6

Place = tuple[float, float]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class FrontPlot:
    """A front to draw. `evaluated` has the metrics and predicted costs of every architecture evaluated on the way, by name.

    `devices` describe, in words, the devices of the points' latencies. `axes` are the two objectives to draw; without them
    every pair of the goal's objectives is drawn. Raises HwnasError for a front without points, UnknownNameError for a budget
    on an unknown statistic.
    """

    title: str
    points: tuple[FrontRow, ...]
    goal: RunGoal
    devices: tuple[str, ...]
    evaluated: tuple[Mapping[str, float], ...] = ()
    axes: tuple[Objective, Objective] | None = None

    def __post_init__(self) -> None:
        if not self.points:
            raise HwnasError(f"{self.title}: the front has no points to draw; search again, or with a larger budget")
        if self.goal.budget_on not in STATISTICS:
            raise UnknownNameError("latency statistic", self.goal.budget_on, list(STATISTICS))

    @property
    def pairs(self) -> tuple["Pair", ...]:
        """The pairs of objectives to draw, at most six."""
        if self.axes:
            return (Pair(self, *self.axes),)
        pairs = combinations(self.goal.objectives, 2)
        return tuple(Pair(self, *_arranged(*pair)) for pair in islice(pairs, MOST_PANELS))

    @property
    def comparisons(self) -> tuple["Comparison", ...]:
        """The devices that were measured, predicted against measured, as far as there are panels left."""
        compared = (Comparison(self, index) for index in range(len(self.devices)) if self.timed(index))
        return tuple(islice(compared, MOST_PANELS - len(self.pairs)))

    def timed(self, device: int) -> bool:
        """True where the whole front was measured on a device, by its index."""
        return all(point.latencies[device].measured_ms is not None for point in self.points)

    @property
    def device_names(self) -> tuple[str, ...]:
        return tuple(latency.device for latency in self.points[0].latencies)

    @property
    def subtitle(self) -> str:
        """The devices, a line for each, and where nothing was measured on one, that."""
        names = [f"{name}: " if len(self.devices) > 1 else "" for name in self.device_names]
        lines = (
            f"{name}{words}" if self.timed(index) else f"{name}not timed: predicted for {words}"
            for index, (name, words) in enumerate(zip(names, self.devices, strict=True))
        )
        return "\n".join(lines)

    @property
    def latency_kind(self) -> str:
        """Says, in words, which latencies the front is drawn at; empty where its axes have none, or say it themselves."""
        latencies = {axis.name for pair in self.pairs for axis in (pair.x, pair.y) if axis.is_latency}
        if not latencies or len(self.devices) > 1:
            return ""
        return ", as measured (p10)" if self.timed(0) else ", as predicted"

    @property
    def evaluated_label(self) -> str:
        """Says how many architectures were evaluated, and where they are drawn."""
        latencies = any(axis.is_latency for pair in self.pairs for axis in (pair.x, pair.y))
        return f"evaluated: {len(self.evaluated)}{', at predicted latency' if latencies else ''}"

    def tested(self, point: FrontRow) -> str:
        """Returns the quality of a point in words: on the test split, where it was tested."""
        metric = self.goal.quality
        split = "test" if f"{metric.name}_test" in point.metrics else "val"
        value = metric_text(point.metrics[f"{metric.name}_{split}"], metric.unit)
        return f"{'validation' if split == 'val' else split} {metric.name} {value}"

    @property
    def attained(self) -> tuple[FrontRow, ...]:
        """The points that no other beats in all objectives, fastest first.

        Fewer than `points` where the measurement reorders what the prediction had put on the front.
        """
        points = sorted(self.points, key=lambda point: (point.latency_ms, point.arch_id))
        rows = np.array([[objective.minimised(point) for objective in self.goal.objectives] for point in points])
        return tuple(point for point, kept in zip(points, non_dominated(rows), strict=True) if kept)

    @property
    def highlights(self) -> dict[str, FrontRow]:
        """The fastest point, the knee and the best by name, as far as they differ."""
        by_name = named(self.attained, self.goal.objectives)
        ids = [point.arch_id for point in by_name.values()]
        return {name: point for index, (name, point) in enumerate(by_name.items()) if point.arch_id not in ids[:index]}


@final
@dataclass(frozen=True, slots=True)
class Pair:
    """Two objectives of a front, the axes of one panel."""

    plot: FrontPlot
    x: Objective
    y: Objective

    def place(self, point: FrontRow) -> Place:
        """Returns where a point is: at its measured latency where it was measured."""
        return self.x.value(point) * _factor(self.x), self.y.value(point) * _factor(self.y)

    @property
    def places(self) -> list[Place]:
        return [self.place(point) for point in self.plot.points]

    @property
    def has_latency(self) -> bool:
        return self.x.is_latency or self.y.is_latency

    def predicted(self, point: FrontRow) -> Place:
        """Returns where a point is expected to be."""
        x, y = (
            point.latency_of(axis.name).predicted_ms if axis.is_latency else at
            for axis, at in zip((self.x, self.y), self.place(point), strict=True)
        )
        return x, y

    def interval(self, point: FrontRow, axis: Objective) -> Place:
        """Returns the ends of a point's interval on an axis of latencies."""
        latency = point.latency_of(axis.name)
        return latency.interval_low_ms, latency.interval_high_ms

    def before(self, point: FrontRow) -> Place | None:
        """Returns where a point was before its final training; None where there was none, or it makes no difference here."""
        x, y = (
            point.metrics.get(f"{axis.name}_val_before", None) if axis.metric else axis.value(point)
            for axis in (self.x, self.y)
        )
        if x is None or y is None or not (self.x.metric or self.y.metric):
            return None
        return x * _factor(self.x), y * _factor(self.y)

    @property
    def evaluated(self) -> list[Place]:
        """The evaluated architectures, as far as both objectives of them are known."""
        return [
            (values[self.x.name] * _factor(self.x), values[self.y.name] * _factor(self.y))
            for values in self.plot.evaluated
            if self.x.name in values and self.y.name in values
        ]

    def found(self, *, within: bool, kept: bool) -> list[FrontRow]:
        """Returns the points within budget, or those over, that are kept to in these two objectives, or the others.

        Where there are no other objectives, all points are kept: the front is theirs.
        """
        corners = set(self.staircase)
        several = len(self.plot.goal.objectives) > 2
        return [
            point
            for point in self.plot.points
            if point.within_budget == within and (not several or self.place(point) in corners) == kept
        ]

    @property
    def staircase(self) -> tuple[Place, ...]:
        """The corners of the line beyond which nothing was found, from the best to the worst on the axis of x."""
        steps = sorted((self.x.minimised(point), self.y.minimised(point), index) for index, point in self._finite)
        corners: list[Place] = []
        least = np.inf
        for _, y, index in steps:
            if y < least:
                place, least = self.place(self.plot.points[index]), y
                corners += [(place[0], corners[-1][1]), place] if corners else [place]
        return tuple(corners)

    @property
    def _finite(self) -> Iterator[tuple[int, FrontRow]]:
        for index, point in enumerate(self.plot.points):
            if len(finite(self.place(point))) == 2:
                yield index, point

    def budgets_ms(self, axis: Objective) -> tuple[float, ...]:
        """Returns the budgets on an axis of latencies, least first."""
        if not axis.is_latency:
            return ()
        budgets = {point.latency_of(axis.name).budget_ms for point in self.plot.points}
        return tuple(sorted(budget for budget in budgets if budget is not None))

    def budget_label(self, axis: Objective) -> str:
        """Returns the budgets on an axis in words; empty where there is none."""
        budgets = ", ".join(f"{budget:.4g}" for budget in self.budgets_ms(axis))
        plural = "s" if "," in budgets else ""
        return f"budget{plural} {budgets} ms ({STATISTICS[self.plot.goal.budget_on]})" if budgets else ""

    @property
    def x_axis(self) -> Axis:
        return self._axis(self.x, 0)

    @property
    def y_axis(self) -> Axis:
        return self._axis(self.y, 1)

    def _axis(self, objective: Objective, at: int) -> Axis:
        before = [place for point in self.plot.points if (place := self.before(point)) is not None]
        places = [*self.places, *before, *self.evaluated, *map(self.predicted, self.plot.points)]
        values = [place[at] for place in places] + list(self.budgets_ms(objective))
        if objective.is_latency:
            values += [end for point in self.plot.points for end in self.interval(point, objective)]
        return Axis(
            label=self._label(objective),
            values=finite(values) or (0.0,),
            may_be_logarithmic=not objective.is_latency and not objective.highest,
        )

    def _label(self, objective: Objective) -> str:
        if objective.metric is not None:
            return with_unit(f"validation {objective.name}", objective.metric.unit)
        if not objective.is_latency:
            column = objective.column(self.plot.points[0]).removeprefix(objective.name)
            return with_unit(WORDS.get(objective.name, objective.name), UNITS.get(column, ""))
        if len(self.plot.devices) == 1:
            return "latency (ms)"
        latency = self.plot.points[0].latency_of(objective.name)
        timed = self.plot.timed(self.plot.device_names.index(latency.device))
        return f"latency on {latency.device}, {'measured, p10' if timed else 'predicted'} (ms)"


@final
@dataclass(frozen=True, slots=True)
class Comparison:
    """Predicted against measured latency of a front on one device, by its index."""

    plot: FrontPlot
    device: int

    @property
    def labels(self) -> tuple[str, str]:
        """The labels of the axes: measured, predicted."""
        on = f" on {self.plot.device_names[self.device]}" if len(self.plot.devices) > 1 else ""
        return f"measured latency{on}, p10 (ms)", f"predicted latency{on} (ms)"

    @property
    def places(self) -> list[Place]:
        """The points: measured, predicted."""
        return [(latency.latency_ms, latency.predicted_ms) for latency in self._latencies]

    @property
    def intervals_ms(self) -> list[Place]:
        return [(latency.interval_low_ms, latency.interval_high_ms) for latency in self._latencies]

    @property
    def accuracy(self) -> str:
        """Says in words how well the measured latencies were predicted."""
        inside = sum(latency.in_interval for latency in self._latencies)
        worst = max(abs(latency.error or 0.0) for latency in self._latencies)
        return f"largest error {100 * worst:.1f} %\n{inside} of {len(self.plot.points)} in their interval"

    @property
    def ends_ms(self) -> tuple[float, float]:
        """The ends of both axes, which hold every measurement and every interval."""
        ends = [end for place in (*self.places, *self.intervals_ms) for end in place]
        return with_margin(min(ends), max(ends))

    @property
    def _latencies(self) -> list[DeviceLatency]:
        return [point.latencies[self.device] for point in self.plot.points]


def described(point: FrontRow, metrics: Sequence[Metric]) -> list[str]:
    """Returns all that is known of a point, line by line."""
    lines = [_metric_line(point, metric) for metric in metrics]
    for latency in point.latencies:
        on = f" on {latency.device}" if len(point.latencies) > 1 else ""
        interval = f"{latency.interval_low_ms:.4g} to {latency.interval_high_ms:.4g}"
        lines.append(f"predicted{on}: {latency.predicted_ms:.4g} ms [{interval}]")
        lines.append(
            f"not timed{on}"
            if latency.measured_ms is None
            else f"measured{on}: p10 {latency.measured_ms:.4g}, median {latency.measured_median_ms:.4g}, "
            f"p90 {latency.measured_p90_ms:.4g} ms"
        )
    lines.append(", ".join(_cost_text(column, value) for column, value in point.costs.items()))
    return [*(line for line in lines if line), f"within budget: {'yes' if point.within_budget else 'no'}", point.stages]


def _metric_line(point: FrontRow, metric: Metric) -> str:
    """Returns a metric on both splits, with the values before final training in brackets."""
    said = []
    for split, words in (("val", "validation"), ("test", "test")):
        value, before = (point.metrics.get(f"{metric.name}_{split}{end}") for end in ("", "_before"))
        if value is not None:
            was = "" if before is None else f" (before {metric_text(before, metric.unit, 2)})"
            said.append(f"{words} {metric_text(value, metric.unit, 2)}{was}")
    unit = f" {metric.unit}" if metric.unit not in ("", SHARE) else ""
    return f"{metric.name}: {', '.join(said)}{unit}" if said else ""


def _cost_text(column: str, value: float) -> str:
    end = next((end for end in UNITS if column.endswith(end)), "")
    name = column.removesuffix(end)
    number = f"{int(value):,}" if float(value).is_integer() else f"{value:.4g}"
    return f"{WORDS.get(name, name)}: {number}{f' {UNITS[end]}' if end else ''}"


def _arranged(first: Objective, second: Objective) -> tuple[Objective, Objective]:
    """Returns x and y: latencies before other costs before metrics; the first metric, and the second cost, on y."""
    ranks = [2 if one.metric else int(not one.is_latency) for one in (first, second)]
    swapped = ranks[0] > ranks[1] or ranks == [2, 2]
    return (second, first) if swapped else (first, second)


def _factor(objective: Objective) -> float:
    """Returns 100 for shares, which are drawn in percent."""
    return 100.0 if objective.metric is not None and objective.metric.unit == SHARE else 1.0
