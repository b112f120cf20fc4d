"""Axes of plots as plain values: what they are called, where they end, where they have numbers. Knows no plotting library."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, final

# Costs whose name in files is no word.
WORDS: Final[Mapping[str, str]] = {
    "params": "parameters",
    "flops": "FLOPs",
    "model": "model size",
    "peak": "peak memory",
}
SHARE: Final = "share"  # the unit of fractions, which people read in percent
# The digits of a decade at which a logarithmic axis has numbers: the first set that leaves room between them.
_DIGITS: Final = ((1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0), (1.0, 2.0, 5.0), (1.0,))
_PREFIXES: Final = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


Place = tuple[float, float]  # x, y, as a panel shows them


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """An axis that holds `values`, of which it needs at least one. `may_be_logarithmic` is False for what must be compared by
    eye along straight lines."""

    label: str
    values: tuple[float, ...]
    may_be_logarithmic: bool = True
    most_ticks: int = 10

    @property
    def logarithmic(self) -> bool:
        """True where values differ so much that the low ones would touch each other on a linear axis."""
        return self.may_be_logarithmic and 0 < 4 * min(self.values) < max(self.values)

    @property
    def ends(self) -> tuple[float, float]:
        """The ends, with a margin around the values."""
        least, most = min(self.values), max(self.values)
        if not self.logarithmic:
            return with_margin(least, most)
        margin = (most / least) ** 0.07
        return least / margin, most * margin

    @property
    def ticks(self) -> tuple[float, ...]:
        """The numbers of a logarithmic axis: plotting libraries write powers of ten, and there is often one or none."""
        return logarithmic_ticks(*self.ends, self.most_ticks)


def with_margin(least: float, most: float) -> tuple[float, float]:
    """Returns ends of a linear axis that holds both; it does not go below zero for values that do not.

    >>> with_margin(0.0, 100.0)
    (0.0, 107.0)
    """
    margin = 0.06 * (most - least) + 0.01 * max(abs(most), abs(least))
    margin = margin or 1.0
    return (max(least - margin, 0.0) if least >= 0 else least - margin), most + margin


def logarithmic_ticks(low: float, high: float, most: int = 10) -> tuple[float, ...]:
    """Returns round numbers between two positive ends, at most so many where powers of ten are no more.

    >>> logarithmic_ticks(0.09, 1.2)
    (0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0)
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks: tuple[float, ...] = ()
    for digits in _DIGITS:
        ticks = tuple(
            tick for power in powers for digit in digits if low <= (tick := float(f"{digit}e{power}")) <= high
        )
        if len(ticks) <= most:
            break
    return ticks


def short(number: float) -> str:
    """Returns a number as an axis shows it.

    >>> short(0.15), short(1500.0), short(2e6)
    ('0.15', '1.5k', '2M')
    """
    for size, prefix in _PREFIXES:
        if abs(number) >= size:
            return f"{number / size:.4g}{prefix}"
    return f"{number:.4g}"


def with_unit(words: str, unit: str) -> str:
    """Returns a label with its unit, percent for shares.

    >>> with_unit("latency", "ms"), with_unit("accuracy", "share"), with_unit("parameters", "")
    ('latency (ms)', 'accuracy (%)', 'parameters')
    """
    unit = "%" if unit == SHARE else unit
    return f"{words} ({unit})" if unit else words


def metric_text(value: float, unit: str, digits: int = 1) -> str:
    """Returns the value of a metric as people read it: a share in percent, other values with four digits.

    >>> metric_text(0.9861, "share"), metric_text(4.6251, "")
    ('98.6 %', '4.625')
    """
    return f"{100 * value:.{digits}f} %" if unit == SHARE else f"{value:.4g}"


def finite(values: Iterable[float]) -> tuple[float, ...]:
    """Returns the values that an axis can show."""
    return tuple(value for value in values if math.isfinite(value))
