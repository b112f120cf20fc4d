"""The fronts of several runs in one picture, as plain values. Knows no plotting library and no run folder."""

from dataclasses import dataclass
from typing import final

from hwnas.errors import HwnasError
from hwnas.report.axes import Axis, finite
from hwnas.report.front import Pair
from hwnas.runs.front import FrontRow


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class NamedFront:
    """The front of a run on two axes. `data` is the digest of the run's data set, empty where there is none."""

    name: str
    pair: Pair
    data: str = ""

    @property
    def devices(self) -> tuple[str, ...]:
        """The devices of the latencies on the axes, in words."""
        plot, rows = self.pair.plot, self.pair.plot.points
        names = [rows[0].latency_of(axis.name).device for axis in (self.pair.x, self.pair.y) if axis.is_latency]
        return tuple(plot.devices[plot.device_names.index(name)] for name in dict.fromkeys(names))

    @property
    def points(self) -> tuple[FrontRow, ...]:
        """The networks of the front that both axes can show, in the order of the axis of x."""
        points = (point for point in self.pair.plot.points if len(finite(self.pair.place(point))) == 2)
        return tuple(sorted(points, key=lambda point: (self.pair.place(point), point.arch_id)))

    @property
    def kind(self) -> str:
        """`measured` or `predicted`, as the latencies on the axes are; empty where there are none."""
        plot = self.pair.plot
        if not self.devices:
            return ""
        return "measured" if all(plot.timed(plot.devices.index(device)) for device in self.devices) else "predicted"


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
        """The device, where all runs share one, and a warning where metrics are of different examples."""
        devices = {front.devices for front in self.fronts}
        shared = ["; ".join(*devices)] if len(devices) == 1 else []
        has_metric = any(axis.metric for axis in (self.fronts[0].pair.x, self.fronts[0].pair.y))
        if has_metric and len({front.data for front in self.fronts}) > 1:
            shared.append("the runs have different data, or split it differently: compare their metrics with care")
        return tuple(note for note in shared if note)

    def label(self, front: NamedFront) -> str:
        """Returns the entry of a front in the legend: its run, and all that other entries may have differently."""
        parts = [f"{len(front.points)} networks"]
        if len({one.pair.plot.title for one in self.fronts}) > 1:
            parts.append(front.pair.plot.title)
        if front.kind:
            parts.append(f"{front.kind}{' (p10)' if front.kind == 'measured' else ''}")
        if len({one.devices for one in self.fronts}) > 1:
            parts += front.devices
        parts += [label for axis in (front.pair.x, front.pair.y) if (label := front.pair.budget_label(axis))]
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
        label = "latency (ms)" if objective.is_latency else (pairs[0].x_axis, pairs[0].y_axis)[at].label
        return Axis(
            label=label,
            values=tuple(values) or (0.0,),
            may_be_logarithmic=not objective.is_latency and not objective.highest,
        )
