"""What a predictor is fitted to: isolated times of operators, and times of whole networks under the same conditions.

Or energies: all that is fitted to latencies is relative, so that it does for any cost that is about a sum over layers.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from hwnas.core.arrays import FloatArray, IntArray
from hwnas.errors import MissingMeasurementError, PredictorError

# Fewer networks leave neither a correction nor an error worth printing; with known devices to go by, a few less do.
FEWEST_NETWORKS = 8
FEWEST_AMONG_KNOWN = 5
LATENCY: Final = "latency"
ENERGY: Final = "energy"
# What can be measured and predicted, and its unit.
UNITS: Final[Mapping[str, str]] = {LATENCY: "ms", ENERGY: "mJ"}
# The statistic that is predicted.
STATISTICS: Final[Mapping[str, str]] = {LATENCY: "p10", ENERGY: "mean"}


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Measurements:
    """Milliseconds (10th percentile); of `cost` energy, millijoules (mean), under the same names. `rows_NC` are the
    networks' option indices.

    `other_ms` holds other statistics of every network, by name (median, p90), (N,) each.
    `repeat_noise` is the mean relative difference between two measurements of one network; `reference_ms` the time of
    the network that was measured along with everything, by which a later session can tell how the device has drifted.
    """

    isolated_ms: Mapping[str, float]
    rows_NC: IntArray
    network_ms_N: FloatArray
    other_ms: Mapping[str, FloatArray] = field(default_factory=dict)
    repeat_noise: float | None = None
    reference_ms: float | None = None
    cost: str = LATENCY

    def __post_init__(self) -> None:
        """Raises PredictorError for costs that cannot be, or that are not one for each network."""
        unit = UNITS[self.cost]
        for name, ms_N in {"network": self.network_ms_N, **self.other_ms}.items():
            if np.shape(ms_N) != (len(self.rows_NC),) or not (np.isfinite(ms_N).all() and (np.asarray(ms_N) > 0).all()):
                raise PredictorError(
                    f"{name} {self.cost} has shape {np.shape(ms_N)} for {len(self.rows_NC)} networks; one for each is "
                    f"needed, above 0 {unit}"
                )
        if not all(0 < ms < np.inf for ms in self.isolated_ms.values()):
            raise PredictorError(f"the isolated {self.cost} of an operator is not above 0 {unit}; measure it again")

    def of_network(self, row_C: IntArray, statistic: str) -> float | None:
        """Milliseconds of one measured network, or None if it was not measured; `p10`, `median` or `p90`."""
        found = np.flatnonzero((self.rows_NC == row_C).all(1))
        if len(found) == 0:
            return None
        return float({"p10": self.network_ms_N, **self.other_ms}[statistic][found[0]])

    def statistics(self) -> dict[str, float]:
        """From what is predicted (p10; of energy the mean) to every statistic, the factor that three in four networks stay
        below."""
        # The upper quartile: up to a quarter of the networks may have been measured in disturbed moments.
        ratios = {name: np.quantile(ms_N / self.network_ms_N, 0.75) for name, ms_N in self.other_ms.items()}
        return {STATISTICS[self.cost]: 1.0} | {name: float(ratio) for name, ratio in ratios.items()}

    def isolated_of(self, operators: Iterable[str]) -> Mapping[str, float]:
        """The isolated times of these operators, or none where some are not known."""
        return self.isolated_ms if set(operators) <= set(self.isolated_ms) else {}

    def require(self, operators: Mapping[str, object], size: int, where: str, fewest: int = FEWEST_NETWORKS) -> None:
        """Raises MissingMeasurementError where some operators were not measured, PredictorError where too few networks were.

        Where no operator was, networks alone must do. A space of `size` architectures needs no more networks than it has.
        """
        missing = sorted(set(operators) - set(self.isolated_ms))
        profile = f"hwnas profile{' --energy' if self.cost == ENERGY else ''}"
        if missing and self.isolated_ms:
            raise MissingMeasurementError(
                f"{where}: {len(missing)} of {len(operators)} operators are not measured, {missing[0]} for one; "
                f"run `{profile} --out {where}` again"
            )
        fewest = max(2, min(fewest, size))
        if len(self.rows_NC) < fewest:
            count = f"{len(self.rows_NC)} whole networks are measured"
            if self.cost == ENERGY:
                count = f"the energy of {len(self.rows_NC)} whole networks is measured"
            raise PredictorError(f"{where}: {count}, a fit needs {fewest}; run `{profile} --networks 60 --out {where}`")
