"""The fronts of several runs in one picture, as plain values. Knows no plotting library and no run folder."""

from dataclasses import dataclass
from typing import final

from hwnas.errors import HwnasError
from hwnas.report.axes import Axis, finite
from hwnas.report.front import Pair
from hwnas.runs.front import FrontRow
from hwnas.runs.objectives import Objective


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class NamedFront:
    """The front of a run on two axes. `data` is the digest of the run's data set, empty where there is none."""

    name: str
    pair: Pair
    data: str = ""

    @property
    def latencies(self) -> tuple[Objective, ...]:
        """The axes that are latencies."""
        return tuple(axis for axis in (self.pair.x, self.pair.y) if axis.is_latency)

    @property
    def devices(self) -> tuple[str, ...]:
        """The names of the devices of the latencies on the axes."""
        return tuple(self.pair.plot.points[0].latency_of(axis.name).device for axis in self.latencies)

    @property
    def described_devices(self) -> tuple[str, ...]:
        """The devices of the latencies on the axes, each by its name and in words."""
        plot = self.pair.plot
        words = (plot.devices[plot.device_names.index(name)] for name in self.devices)
        return tuple(f"{name}: {one}" for name, one in zip(self.devices, words, strict=True))

    @property
    def points(self) -> tuple[FrontRow, ...]:
        """The networks of the front that both axes can show, in the order of the axis of x."""
        points = (point for point in self.pair.plot.points if len(finite(self.pair.place(point))) == 2)
        return tuple(sorted(points, key=lambda point: (self.pair.place(point), point.arch_id)))

    def is_within(self, point: FrontRow) -> bool:
        """Returns True where a network is within the budgets on the axes; without latencies there, within all budgets."""
        if not self.latencies:
            return point.within_budget
        return all(point.latency_of(axis.name).within_budget for axis in self.latencies)

    def kind(self, axis: Objective) -> str:
        """Returns how the latencies on an axis are known: `measured (p10)`, `predicted`, or how many of each."""
        points = self.pair.plot.points
        measured = sum(point.latency_of(axis.name).measured_ms is not None for point in points)
        if measured in (0, len(points)):
            return "measured (p10)" if measured else "predicted"
        return f"{measured} of {len(points)} measured (p10), the others predicted"

    def said_of_latencies(self) -> list[str]:
        """Returns how the latencies are known, and the budgets; with the device's name where both axes are latencies."""
        said = []
        for axis, device in zip(self.latencies, self.devices, strict=True):
            parts = [part for part in (self.kind(axis), self.pair.budget_label(axis)) if part]
            said.append(f"{device} {', '.join(parts)}" if len(self.latencies) > 1 else ", ".join(parts))
        return said


@final
@dataclass(frozen=True, slots=True)
class FrontsPlot:
    """The fronts of several runs, of which each has the same two metrics or costs on its axes.

    Raises HwnasError where one name stands for metrics of different units.
    """

    fronts: tuple[NamedFront, ...]

    def __post_init__(self) -> None:
        for axis in ("x", "y"):
            metrics = {getattr(front.pair, axis).metric: front.name for front in self.fronts}
            if len(metrics) > 1:
                first, second = list(metrics.values())[:2]
                raise HwnasError(
                    f"{first} and {second} do not have the same {getattr(self.fronts[0].pair, axis).name}: "
                    "plot runs of one task, or give --axes of two costs"
                )

    @property
    def title(self) -> str:
        """The title that all runs share, or else the number of runs."""
        titles = {front.pair.plot.title for front in self.fronts}
        return titles.pop() if len(titles) == 1 else f"fronts of {len(self.fronts)} runs"

    @property
    def notes(self) -> tuple[str, ...]:
        """The devices, where all runs share them, and a warning where metrics are of different examples."""
        devices = {front.described_devices for front in self.fronts}
        notes = ["; ".join(*devices)] if len(devices) == 1 else []
        has_metric = any(axis.metric for axis in (self.fronts[0].pair.x, self.fronts[0].pair.y))
        if has_metric and len({front.data for front in self.fronts}) > 1:
            notes.append("the runs have different data, or split it differently: compare their metrics with care")
        return tuple(note for note in notes if note)

    def label(self, front: NamedFront) -> str:
        """Returns the entry of a front in the legend: its run, and all that other entries may have differently."""
        count, missing = len(front.points), len(front.pair.plot.points) - len(front.points)
        parts = [
            f"{count} network{'' if count == 1 else 's'}{f', {missing} without a finite value' if missing else ''}"
        ]
        if len({one.pair.plot.title for one in self.fronts}) > 1:
            parts.append(front.pair.plot.title)
        parts += front.said_of_latencies()
        if len({one.described_devices for one in self.fronts}) > 1:
            parts += front.described_devices
        return f"{front.name}: {', '.join(parts)}"

    @property
    def axes(self) -> tuple[Axis, Axis]:
        """The axes x and y, which hold the places of all fronts and their budgets."""
        x, y = (self._axis(at) for at in (0, 1))
        return x, y

    def _axis(self, at: int) -> Axis:
        pairs = [front.pair for front in self.fronts]
        objective = (pairs[0].x, pairs[0].y)[at]
        values = [front.pair.place(point)[at] for front in self.fronts for point in front.points]
        for pair in pairs:
            values += pair.budgets_ms((pair.x, pair.y)[at])
        label = (pairs[0].x_axis, pairs[0].y_axis)[at].label
        if objective.is_latency:
            names = {pair.plot.points[0].latency_of((pair.x, pair.y)[at].name).device for pair in pairs}
            label = f"latency on {names.pop()} (ms)" if len(names) == 1 else "latency (ms)"
        return Axis(
            label=label,
            values=tuple(values) or (0.0,),
            may_be_logarithmic=not objective.highest,
        )
