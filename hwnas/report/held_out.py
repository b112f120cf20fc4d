"""The content of a plot of held-out predictions, as plain values. Knows no plotting library and no predictor."""

from dataclasses import dataclass
from typing import Final

from hwnas.errors import HwnasError
from hwnas.report.axes import logarithmic_ticks, with_margin

# The relative errors that a plot marks by bands, smallest first.
BANDS: Final = (0.05, 0.10)


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
        """The labels of the axes: measured, predicted."""
        return f"measured {self.cost}, {self.statistic} ({self.unit})", f"predicted {self.cost} ({self.unit})"

    def __post_init__(self) -> None:
        if not self.points:
            raise HwnasError(f"{self.title}: no held-out networks to draw; fit again, to whole networks")

    @property
    def accuracy(self) -> str:
        """Says in words how well the networks were predicted, and how well measurements repeat."""
        said = [f"MAPE {100 * self.mape:.2f} %"]
        if self.kendall is not None:
            said.append(f"Kendall {self.kendall:.3f}")
        if self.repeat_noise is not None:
            said.append(f"repeat noise {100 * self.repeat_noise:.2f} %")
        return ", ".join([f"{len(self.points)} networks, held out", *said])

    def share_within(self, tolerance: float) -> float:
        """Returns the share of networks whose prediction is off by no more than a tolerance."""
        return sum(abs(predicted / measured - 1) <= tolerance for measured, predicted in self.points) / len(self.points)

    @property
    def logarithmic(self) -> bool:
        """True where latencies differ so much that the low ones would touch each other on a linear axis."""
        least, most = self._extremes_ms
        return 0 < 4 * least < most

    @property
    def latencies_ms(self) -> tuple[float, float]:
        """The ends of both axes."""
        least, most = self._extremes_ms
        if not self.logarithmic:
            return with_margin(least, most)
        margin = (most / least) ** 0.06
        return least / margin, most * margin

    @property
    def ticks_ms(self) -> tuple[float, ...]:
        """The numbers of logarithmic axes."""
        return logarithmic_ticks(*self.latencies_ms)

    @property
    def _extremes_ms(self) -> tuple[float, float]:
        every = [latency_ms for point in self.points for latency_ms in point]
        return min(every), max(every)
