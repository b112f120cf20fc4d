"""What a plot of held-out predictions shows, as plain values. Knows no plotting library and no predictor."""

from dataclasses import dataclass
from typing import Final

from hwnas.errors import HwnasError
from hwnas.report.front import with_margin

# The relative errors that a plot marks by bands, smallest first.
BANDS: Final = (0.05, 0.10)

# Where in each decade a logarithmic axis has numbers: the first of these that leaves room between them.
_DIGITS: Final = ((1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0), (1.0, 2.0, 5.0), (1.0,))
_MOST_TICKS: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOutPlot:
    """Predictions to draw: `points` has (measured, predicted) of networks the prediction was not fitted to, in milliseconds,
    or the `unit` of another `cost`.

    `repeat_noise` is None where no network was measured twice, `kendall` where there is no order. Raises HwnasError for
    no points.
    """

    title: str
    device: str
    points: tuple[tuple[float, float], ...]
    mape: float
    kendall: float | None
    repeat_noise: float | None
    cost: str = "latency"
    statistic: str = "p10"
    unit: str = "ms"

    @property
    def labels(self) -> tuple[str, str]:
        """Of what was measured, and what was predicted."""
        return f"measured {self.cost}, {self.statistic} ({self.unit})", f"predicted {self.cost} ({self.unit})"

    def __post_init__(self) -> None:
        if not self.points:
            raise HwnasError(f"{self.title}: no held-out networks to draw; fit again, to whole networks")

    @property
    def accuracy(self) -> str:
        """How well the networks were predicted, beside what could be known of them, in words."""
        said = [f"MAPE {100 * self.mape:.2f} %"]
        if self.kendall is not None:
            said.append(f"Kendall {self.kendall:.3f}")
        if self.repeat_noise is not None:
            said.append(f"repeat noise {100 * self.repeat_noise:.2f} %")
        return ", ".join([f"{len(self.points)} networks, held out", *said])

    def share_within(self, tolerance: float) -> float:
        """The share of networks whose prediction is off by no more than that."""
        return sum(abs(predicted / measured - 1) <= tolerance for measured, predicted in self.points) / len(self.points)

    @property
    def logarithmic(self) -> bool:
        """Whether latencies differ so much that the low ones would touch each other on a linear axis."""
        least, most = self._extremes_ms
        return 0 < 4 * least < most

    @property
    def latencies_ms(self) -> tuple[float, float]:
        """Ends of both axes."""
        least, most = self._extremes_ms
        if not self.logarithmic:
            return with_margin(least, most)
        margin = (most / least) ** 0.06
        return least / margin, most * margin

    @property
    def ticks_ms(self) -> tuple[float, ...]:
        """Where logarithmic axes have numbers."""
        low, high = self.latencies_ms
        for digits in _DIGITS:
            every = (float(f"{digit}e{power}") for power in range(-6, 7) for digit in digits)
            ticks = tuple(tick for tick in every if low <= tick <= high)
            if len(ticks) <= _MOST_TICKS:
                break
        return ticks

    @property
    def _extremes_ms(self) -> tuple[float, float]:
        every = [latency_ms for point in self.points for latency_ms in point]
        return min(every), max(every)
