"""What a plot of a front shows, as plain values. Knows no plotting library and no run folder."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from hwnas.errors import HwnasError, UnknownNameError
from hwnas.runs.front import FrontRow, named

STATISTICS: Final[Mapping[str, str]] = {"p10": "10th percentile", "median": "median", "p90": "90th percentile"}

# Okabe & Ito, "Color Universal Design" (2008): told apart with every common kind of colour blindness.
COLOURS: Final[Mapping[str, str]] = {
    "evaluated": "#BBBBBB",
    "measured": "#0072B2",
    "predicted": "#E69F00",
    "budget": "#D55E00",
}

# The error of a prediction that a plot marks as small.
TOLERANCE: Final = 0.05

# Where a logarithmic axis of losses has numbers: plotting libraries write powers of ten, and there is one or none.
LOSS_TICKS: Final = tuple(float(f"{digits}e{power}") for power in range(-4, 3) for digits in (1, 1.5, 2, 3, 5, 7))


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontPlot:
    """A front to draw. `evaluated` has (predicted_ms, loss_val) of every architecture evaluated on the way.

    Raises HwnasError for a front without points, UnknownNameError for a budget on an unknown statistic.
    """

    title: str
    points: tuple[FrontRow, ...]
    evaluated: tuple[tuple[float, float], ...]
    budget_ms: float | None
    budget_on: str
    device: str

    def __post_init__(self) -> None:
        if not self.points:
            raise HwnasError(f"{self.title}: the front has no points to draw; search again, or with a larger budget")
        if self.budget_on not in STATISTICS:
            raise UnknownNameError("latency statistic", self.budget_on, list(STATISTICS))

    @property
    def timed(self) -> bool:
        """Whether the front was measured. Where its device was not at hand, it is drawn at predicted latencies."""
        return all(point.measured_ms is not None for point in self.points)

    @property
    def subtitle(self) -> str:
        """The device, and where nothing was measured on it, that."""
        return self.device if self.timed else f"not timed: predicted for {self.device}"

    @property
    def latency_kind(self) -> str:
        """What the latencies of the front are, in words."""
        return "as measured (p10)" if self.timed else "as predicted"

    @property
    def budget_label(self) -> str:
        """The budget in words; empty where there is none."""
        return "" if self.budget_ms is None else f"budget {self.budget_ms:.4g} ms ({STATISTICS[self.budget_on]})"

    @property
    def accuracy_of_predictions(self) -> str:
        """How well the measured latencies were predicted, in words."""
        inside = sum(point.in_interval for point in self.points)
        worst = max(abs(point.error or 0.0) for point in self.points)
        return f"largest error {100 * worst:.1f} %\n{inside} of {len(self.points)} in their interval"

    @property
    def latencies_ms(self) -> tuple[float, float]:
        """Ends of an axis that holds every measurement and every prediction interval of the front."""
        least = min(min(point.latency_ms, point.interval_low_ms) for point in self.points)
        most = max(max(point.latency_ms, point.interval_high_ms) for point in self.points)
        return with_margin(least, most)

    @property
    def losses(self) -> tuple[float, float]:
        """Ends of an axis that holds every loss."""
        least, most = self._extreme_losses
        if not self.logarithmic:
            return with_margin(least, most)
        margin = (most / least) ** 0.07
        return least / margin, most * margin

    @property
    def logarithmic(self) -> bool:
        """Whether losses want a logarithmic axis: they differ so much that the low ones would touch each other."""
        least, most = self._extreme_losses
        return 0 < 4 * least < most

    @property
    def _extreme_losses(self) -> tuple[float, float]:
        losses = [loss for _, loss in self.evaluated] + [point.loss_val for point in self.points]
        return min(losses), max(losses)

    @property
    def attained(self) -> tuple[FrontRow, ...]:
        """The points that no other beats in latency and loss, fastest first.

        Fewer than `points` where the measurement reorders what the prediction had put on the front.
        """
        kept: list[FrontRow] = []
        for point in sorted(self.points, key=lambda point: (point.latency_ms, point.loss_val)):
            if not kept or point.loss_val < kept[-1].loss_val:
                kept.append(point)
        return tuple(kept)

    @property
    def staircase(self) -> tuple[tuple[float, float], ...]:
        """Corners (latency_ms, loss_val) of the line below which nothing was found."""
        attained = self.attained
        corners = [(attained[0].latency_ms, attained[0].loss_val)]
        for point in attained[1:]:
            corners += [(point.latency_ms, corners[-1][1]), (point.latency_ms, point.loss_val)]
        return tuple(corners)

    @property
    def highlights(self) -> tuple[FrontRow, ...]:
        """The fastest point, the knee and the best, as far as they differ."""
        return tuple(dict.fromkeys(named(self.attained).values()))


def with_margin(least: float, most: float) -> tuple[float, float]:
    """Ends of a linear axis that holds both."""
    margin = 0.06 * (most - least) + 0.01 * most
    return max(least - margin, 0.0), most + margin
