"""What a predictor is fitted to: isolated times of operators, and times of whole networks under the same conditions."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from hwnas.core.cost import FloatArray, IntArray
from hwnas.errors import MissingMeasurementError, PredictorError

# Fewer networks leave neither a correction nor an error worth printing.
FEWEST_NETWORKS = 8


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Measurements:
    """Milliseconds (10th percentile). `rows_NC` are the networks' option indices.

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

    def of_network(self, row_C: IntArray, statistic: str) -> float | None:
        """Milliseconds of one measured network, or None if it was not measured; `p10`, `median` or `p90`."""
        found = np.flatnonzero((self.rows_NC == row_C).all(1))
        if len(found) == 0:
            return None
        return float({"p10": self.network_ms_N, **self.other_ms}[statistic][found[0]])

    def require(self, operators: Mapping[str, object], size: int, where: str) -> None:
        """Raises MissingMeasurementError where operators were not measured, PredictorError where too few networks were.

        A space of `size` architectures needs no more networks than it has.
        """
        missing = sorted(set(operators) - set(self.isolated_ms))
        if missing:
            raise MissingMeasurementError(
                f"{where}: {len(missing)} of {len(operators)} operators are not measured, {missing[0]} for one; "
                f"run `hwnas profile --out {where}` again"
            )
        fewest = max(2, min(FEWEST_NETWORKS, size))
        if len(self.rows_NC) < fewest:
            raise PredictorError(
                f"{where}: {len(self.rows_NC)} whole networks are measured, a fit needs {fewest}; "
                f"run `hwnas profile --networks 60 --out {where}`"
            )
