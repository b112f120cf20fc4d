"""Measurements that predictors are fitted to: isolated costs of operators, and costs of whole networks.

The cost is latency or energy. Fits are relative, so they hold for any cost that is nearly a sum over layers.
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
# Costs that can be measured and predicted, and their units.
UNIT_OF: Final[Mapping[str, str]] = {LATENCY: "ms", ENERGY: "mJ"}
# The statistic that is predicted.
STATISTIC_OF: Final[Mapping[str, str]] = {LATENCY: "p10", ENERGY: "mean"}

# The standard deviation of the relative difference between two sessions, where a table does not tell its own: the root mean
# square of the shipped tables (`scripts/bench/coverage.py --spaces`), less their standard errors.
SESSION_NOISE: Final = 0.01
# The quantile of the normal distribution that leaves 5 % above.
NORMAL_95: Final = 1.645


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Measurements:
    """Costs under one set of conditions: latencies in ms (10th percentile), or energies in mJ (mean); `cost` says which.

    `isolated` holds operators by key, `networks_N` the networks of `rows_NC` (option indices), and `other` further
    statistics of these networks by name (`median`, `p90`), (N,) each. `repeat_noise` is the mean relative difference
    between two measurements of one network. `session_noise` is the standard deviation of the relative difference that all
    networks have in common between two sessions. `reference` is the cost of the network that is measured along with everything,
    by which a later session can tell how far the device has drifted.
    """

    isolated: Mapping[str, float]
    rows_NC: IntArray
    networks_N: FloatArray
    other: Mapping[str, FloatArray] = field(default_factory=dict)
    repeat_noise: float | None = None
    session_noise: float = SESSION_NOISE
    reference: float | None = None
    cost: str = LATENCY

    def __post_init__(self) -> None:
        """Raises PredictorError for costs that cannot be, or that are not one for each network."""
        unit = UNIT_OF[self.cost]
        for name, cost_N in {"network": self.networks_N, **self.other}.items():
            if np.shape(cost_N) != (len(self.rows_NC),) or not (
                np.isfinite(cost_N).all() and (np.asarray(cost_N) > 0).all()
            ):
                raise PredictorError(
                    f"{name} {self.cost} has shape {np.shape(cost_N)} for {len(self.rows_NC)} networks; one for each is "
                    f"needed, above 0 {unit}"
                )
        if not all(0 < cost < np.inf for cost in self.isolated.values()):
            raise PredictorError(f"the isolated {self.cost} of an operator is not above 0 {unit}; measure it again")

    def of_network(self, row_C: IntArray, statistic: str) -> float | None:
        """Returns a statistic of one network's cost, or None if the network was not measured."""
        places = np.flatnonzero((self.rows_NC == row_C).all(1))
        if len(places) == 0:
            return None
        return float({STATISTIC_OF[self.cost]: self.networks_N, **self.other}[statistic][places[0]])

    def statistics(self) -> dict[str, float]:
        """Returns, for every statistic, the factor from the predicted one that three in four networks stay below.

        Of latency the 10th percentile is predicted, of energy the mean.
        """
        # The upper quartile: up to a quarter of the networks may have been measured in disturbed moments.
        ratios = {name: np.quantile(cost_N / self.networks_N, 0.75) for name, cost_N in self.other.items()}
        return {STATISTIC_OF[self.cost]: 1.0} | {name: float(ratio) for name, ratio in ratios.items()}

    def isolated_of(self, operators: Iterable[str]) -> Mapping[str, float]:
        """Returns the isolated costs, or an empty mapping where some of these operators were not measured."""
        return self.isolated if set(operators) <= set(self.isolated) else {}

    def require(self, operators: Mapping[str, object], size: int, where: str, fewest: int = FEWEST_NETWORKS) -> None:
        """Raises MissingMeasurementError where operators are missing, PredictorError where too few networks were measured.

        Networks alone are enough where no operator was measured. A space never needs more networks than its `size`.
        """
        missing = sorted(set(operators) - set(self.isolated))
        profile = f"hwnas profile{' --energy' if self.cost == ENERGY else ''}"
        if missing and self.isolated:
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
