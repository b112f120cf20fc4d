"""Fitting a predictor to measurements, and its error on networks it was not fitted to."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from scipy.stats import kendalltau, spearmanr

from hwnas.core.cost import FloatArray, IntArray, total
from hwnas.core.space import SearchSpace
from hwnas.latency.additive import features, fit_factors
from hwnas.latency.measurements import Measurements
from hwnas.latency.predictor import LatencyPredictor, identity_factors

FOLDS: Final = 10
COVERAGE: Final = 0.9


def fit(
    space: SearchSpace, measurements: Measurements, conditions: Mapping[str, Any], *, where: str = "the table"
) -> LatencyPredictor:
    """A predictor with factors from all measurements, and a report and interval from cross-validation.

    Raises MissingMeasurementError, PredictorError where the measurements do not suffice.
    """
    measurements.require(space.operators(), space.size, where)
    rows_NC, latency_ms_N = measurements.rows_NC, measurements.network_ms_N
    basis = features(space, measurements.isolated_ms)

    def fit_and_predict(train: IntArray, rest: IntArray) -> FloatArray:
        factors = fit_factors(space, basis, rows_NC[train], latency_ms_N[train])
        return total(factors, rows_NC[rest], space.columns)

    held_out_ms_N = cross_validated(fit_and_predict, len(rows_NC))
    sum_ms_N = total(basis.layers, rows_NC, space.columns)
    report = {
        "networks": len(rows_NC),
        "held_out": errors(held_out_ms_N, latency_ms_N),
        "isolated_sum": errors(sum_ms_N, latency_ms_N),
        "interval_coverage": min(COVERAGE, (len(rows_NC) - 1) / (len(rows_NC) + 1)),
        "repeat_noise": measurements.repeat_noise,
        "reference_ms": measurements.reference_ms,
    }
    interval = conformal_interval(latency_ms_N / held_out_ms_N, COVERAGE)
    statistics = {"p10": 1.0}
    for name, other_ms_N in measurements.other_ms.items():
        # The upper quartile: up to a quarter of the networks may have been measured in disturbed moments.
        statistics[name] = float(np.quantile(other_ms_N / latency_ms_N, 0.75))
    return LatencyPredictor(
        choices=space.choices,
        factors=fit_factors(space, basis, rows_NC, latency_ms_N),
        interval=interval,
        statistics=statistics,
        report=report,
        conditions=dict(conditions),
        space=space.describe(),
        identity=identity_factors(space),
    )


def cross_validated(fit_and_predict: Callable[[IntArray, IntArray], FloatArray], count: int) -> FloatArray:
    """Each network's prediction by a fit that never saw it; shape (count,)."""
    order = np.random.default_rng(0).permutation(count)
    result = np.empty(count)
    for fold in np.array_split(order, min(FOLDS, count)):
        result[fold] = fit_and_predict(np.setdiff1d(order, fold), fold)
    return result


def errors(predicted_ms_N: FloatArray, measured_ms_N: FloatArray) -> dict[str, float]:
    """The field's figures: mean absolute relative error, shares within 5 % and 10 %, rank correlations."""
    relative_N = np.abs(predicted_ms_N / measured_ms_N - 1)
    return {
        "mape": float(relative_N.mean()),
        "within_5": float((relative_N <= 0.05).mean()),
        "within_10": float((relative_N <= 0.10).mean()),
        "spearman": float(spearmanr(predicted_ms_N, measured_ms_N).statistic),
        "kendall": float(kendalltau(predicted_ms_N, measured_ms_N).statistic),
    }


def conformal_interval(ratio_N: FloatArray, coverage: float) -> tuple[float, float]:
    """Ends of the interval of measured / predicted that covers a new network with the given probability.

    Split-conformal quantiles with the finite-sample correction (Angelopoulos and Bates 2021, section 1); both ends
    include 1, so that the prediction itself is never outside its interval. Of fewer than 19 networks even the extremes
    cover less: (N - 1) / (N + 1).
    """
    count = len(ratio_N)
    tail = (1 - coverage) / 2
    ordered = np.sort(ratio_N)
    low = ordered[max(0, int(np.floor((count + 1) * tail)) - 1)]
    high = ordered[min(count - 1, int(np.ceil((count + 1) * (1 - tail))) - 1)]
    return min(1.0, float(low)), max(1.0, float(high))
