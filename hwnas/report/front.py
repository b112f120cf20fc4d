"""The content of a plot of a front, as plain values. Knows no plotting library and no run folder."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations, islice
from typing import Final, final

import numpy as np

from hwnas.errors import HwnasError, UnknownNameError
from hwnas.report.axes import SHARE, WORDS, Axis, Place, finite, metric_text, with_unit
from hwnas.report.comparison import Comparison
from hwnas.runs.front import FrontRow, named
from hwnas.runs.objectives import UNIT_OF_COLUMN, Objective, RunGoal
from hwnas.strategies.pareto import non_dominated

STATISTICS: Final[Mapping[str, str]] = {"p10": "10th percentile", "median": "median", "p90": "90th percentile"}

# Okabe & Ito, "Color Universal Design" (2008): told apart with every common kind of colour blindness.
COLOURS: Final[Mapping[str, str]] = {
    "evaluated": "#BBBBBB",
    "before": "#56B4E9",
    "measured": "#0072B2",
    "predicted": "#E69F00",
    "budget": "#D55E00",
}

# The panels of one picture: more are too small to read.
MOST_PANELS: Final = 6


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class FrontPlot:
    """A front to draw. `evaluated` has the metrics and predicted costs of every architecture evaluated on the way, by name.

    `devices` describe, in words, the devices of the points' latencies. `axes` are the two objectives to draw; without them
    every pair of the goal's objectives is drawn. `warnings` say why the front may be worth nothing.

    Raises HwnasError for a front without points, UnknownNameError for a budget on an unknown statistic.
    """

    title: str
    points: tuple[FrontRow, ...]
    goal: RunGoal
    devices: tuple[str, ...]
    evaluated: tuple[Mapping[str, float], ...] = ()
    axes: tuple[Objective, Objective] | None = None
    warnings: tuple[str, ...] = ()

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
    def comparisons(self) -> tuple[Comparison, ...]:
        """The devices that were measured, predicted against measured, as far as there are panels left."""
        timed = (index for index in range(len(self.devices)) if self.timed(index))
        several = len(self.devices) > 1
        return tuple(
            Comparison(tuple(point.latencies[index] for point in self.points), names_device=several)
            for index in islice(timed, MOST_PANELS - len(self.pairs))
        )

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
        """Returns the place of a point: at its measured latency where it was measured."""
        return self.x.value(point) * _factor(self.x), self.y.value(point) * _factor(self.y)

    @property
    def places(self) -> list[Place]:
        return [self.place(point) for point in self.plot.points]

    @property
    def has_latency(self) -> bool:
        return self.x.is_latency or self.y.is_latency

    def predicted(self, point: FrontRow) -> Place:
        """Returns the place of a point at its predicted latencies."""
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
        """Returns the place of a point before its final training; None if there was none, or if no metric is on an axis."""
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
        """Returns the points within budget, or those over it, that no other beats in these two objectives, or the others.

        All points are kept where there are no other objectives: the front is theirs.
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
            return with_unit(WORDS.get(objective.name, objective.name), UNIT_OF_COLUMN.get(column, ""))
        if len(self.plot.devices) == 1:
            return "latency (ms)"
        latency = self.plot.points[0].latency_of(objective.name)
        timed = self.plot.timed(self.plot.device_names.index(latency.device))
        return f"latency on {latency.device}, {'measured, p10' if timed else 'predicted'} (ms)"


def _arranged(first: Objective, second: Objective) -> tuple[Objective, Objective]:
    """Returns x and y: latencies before other costs before metrics; the first metric, and the second cost, on y."""
    ranks = [2 if one.metric else int(not one.is_latency) for one in (first, second)]
    swapped = ranks[0] > ranks[1] or ranks == [2, 2]
    return (second, first) if swapped else (first, second)


def _factor(objective: Objective) -> float:
    """Returns 100 for shares, which are drawn in percent."""
    return 100.0 if objective.metric is not None and objective.metric.unit == SHARE else 1.0
