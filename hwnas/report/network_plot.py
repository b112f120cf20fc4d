"""Networks of a run drawn as blocks, with the latency of each block, as plain values. Knows no plotting library."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, final

from hwnas.report.axes import metric_text
from hwnas.report.layer_times import Alternative, LayerTimes
from hwnas.runs.front import FrontRow
from hwnas.runs.objectives import RunGoal

# The row of all that a prediction adds to its blocks: a constant, trees, corrections of pairs of layers.
OTHER: Final = "other"


@final
@dataclass(frozen=True, eq=False)
class NetworksPlot:
    """Networks side by side. `layers` have their predicted latencies by name, of which the picture shows the first.

    `names` are those that people give to the networks: `knee`, or an id. `device` says, in words, what is predicted.
    """

    title: str
    device: str
    names: tuple[str, ...]
    rows: tuple[FrontRow, ...]
    layers: tuple[LayerTimes, ...]
    goal: RunGoal

    @cached_property
    def latency(self) -> str:
        """The name of the latency that the picture shows."""
        return next(iter(self.layers[0].alternatives[0].latencies_ms))

    @property
    def places(self) -> tuple[str, ...]:
        """The blocks that at least one of the networks has, from input to output, and a row for all else, where there is some."""
        blocks = [
            layer.name
            for layer in self.layers
            if layer.is_place and any(self._is_there(layer, number) for number in range(len(self.rows)))
        ]
        return (*blocks, OTHER) if any(self.between_ms(number) for number in range(len(self.rows))) else tuple(blocks)

    def block(self, place: str, number: int) -> tuple[str, float] | None:
        """Returns the operator of a network's block in words, and its milliseconds; None where the network has no such block."""
        if place == OTHER:
            return "", self.between_ms(number)
        layer = next(layer for layer in self.layers if layer.name == place)
        one = layer.alternatives[layer.numbers_N[number]]
        return (one.words, one.latencies_ms[self.latency]) if self._is_there(layer, number) else None

    def between_ms(self, number: int) -> float:
        """Returns what a network's prediction adds to its blocks, in milliseconds."""
        others = (layer for layer in self.layers if not layer.is_place)
        return sum(self._alternative(layer, number).latencies_ms[self.latency] for layer in others)

    def heading(self, number: int) -> str:
        """Returns the name of a network, its quality, and its latency as predicted and, where it was measured, as measured."""
        row, metric = self.rows[number], self.goal.quality
        split, end = ("test", "_test") if f"{metric.name}_test" in row.metrics else ("validation", "_val")
        value = row.metrics.get(metric.name + end)
        quality = (
            f"{metric.name} unknown" if value is None else f"{split} {metric.name} {metric_text(value, metric.unit)}"
        )
        latency = row.latency_of(self.latency)
        measured = "" if latency.measured_ms is None else f", measured {latency.measured_ms:.3g} (p10)"
        name = self.names[number]
        return (
            f"{name}{'' if name == row.arch_id else f' ({row.arch_id})'}\n"
            f"{quality}\n"
            f"predicted {latency.predicted_ms:.3g} ms{measured}"
        )

    def csv(self) -> str:
        """Returns the table behind the picture: a line for each part of each network's prediction, on every device."""
        latencies = list(self.layers[0].alternatives[0].latencies_ms)
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["network", "name", "layer", "is_block", "operator", *(f"{name}_ms" for name in latencies)])
        for number, row in enumerate(self.rows):
            for layer in self.layers:
                one = self._alternative(layer, number)
                if any(one.latencies_ms.values()):
                    times_ms: Sequence[float] = [one.latencies_ms[name] for name in latencies]
                    writer.writerow([row.arch_id, self.names[number], layer.name, layer.is_place, one.words, *times_ms])
        return text.getvalue()

    def _alternative(self, layer: LayerTimes, number: int) -> Alternative:
        return layer.alternatives[layer.numbers_N[number]]

    def _is_there(self, layer: LayerTimes, number: int) -> bool:
        one = self._alternative(layer, number)
        return bool(one.words) or any(one.latencies_ms.values())
