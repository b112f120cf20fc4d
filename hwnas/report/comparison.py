"""Predicted against measured latency of a front on one device, as plain values. Knows no plotting library."""

from dataclasses import dataclass
from typing import Final, final

from hwnas.report.axes import Place, with_margin
from hwnas.runs.front import DeviceLatency

# The error of a prediction that a plot marks as small.
TOLERANCE: Final = 0.05


@final
@dataclass(frozen=True, slots=True)
class Comparison:
    """Measured latencies of a front's points on one device, which labels name where there are others."""

    latencies: tuple[DeviceLatency, ...]
    names_device: bool = False

    @property
    def labels(self) -> tuple[str, str]:
        """The labels of the axes: measured, predicted."""
        on = f" on {self.latencies[0].device}" if self.names_device else ""
        return f"measured latency{on}, p10 (ms)", f"predicted latency{on} (ms)"

    @property
    def places(self) -> list[Place]:
        """The points: measured, predicted."""
        return [(latency.latency_ms, latency.predicted_ms) for latency in self.latencies]

    @property
    def intervals_ms(self) -> list[Place]:
        return [(latency.interval_low_ms, latency.interval_high_ms) for latency in self.latencies]

    @property
    def accuracy(self) -> str:
        """Says in words how well the measured latencies were predicted."""
        inside = sum(latency.in_interval for latency in self.latencies)
        worst = max(abs(latency.error or 0.0) for latency in self.latencies)
        return f"largest error {100 * worst:.1f} %\n{inside} of {len(self.latencies)} in their interval"

    @property
    def ends_ms(self) -> tuple[float, float]:
        """The ends of both axes, which hold every measurement and every interval."""
        ends = [end for place in (*self.places, *self.intervals_ms) for end in place]
        return with_margin(min(ends), max(ends))
