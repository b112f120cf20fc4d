"""Errors of predictors on networks that they were not fitted to, beside the errors of simpler predictions.

Shapes: N networks.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from scipy.stats import kendalltau, spearmanr

from hwnas.core.arrays import FloatArray, IntArray
from hwnas.core.costs import layer_factors
from hwnas.core.factors import total
from hwnas.core.space import SearchSpace
from hwnas.predict.interval import COVERAGE, Scale, coverage_across_folds
from hwnas.predict.measurements import UNIT_OF, Measurements

FOLDS: Final = 10


def held_out_report(
    space: SearchSpace, measurements: Measurements, held_out_N: FloatArray, scale: Scale
) -> dict[str, Any]:
    """Returns the report that `hwnas fit` prints, from predictions by `cross_validated` fits. Fit for JSON.

    Points are in the networks' order. `interval_coverage` is the promised coverage, `covered` the share of networks inside
    the intervals of the other folds. `session_noise` is the standard deviation of the relative difference between two sessions.
    `reference_ms` is in the unit of the cost; files keep the name.
    """
    measured_N = measurements.networks_N
    count, unit = len(measured_N), UNIT_OF[measurements.cost].lower()
    simpler = baselines(space, measurements)
    return {
        "networks": count,
        "held_out": errors(held_out_N, measured_N),
        "baselines": {name: errors(baseline_N, measured_N) for name, baseline_N in simpler.items()},
        "interval_coverage": min(COVERAGE, (count - 1) / (count + 1)),
        "covered": coverage_across_folds(measured_N / held_out_N, scale, folds(count)),
        "repeat_noise": measurements.repeat_noise,
        "session_noise": scale.session,
        "reference_ms": measurements.reference,
        "points": {f"predicted_{unit}": held_out_N.tolist(), f"measured_{unit}": measured_N.tolist()},
    }


def baselines(space: SearchSpace, measurements: Measurements) -> dict[str, FloatArray]:
    """Returns the predictions that a predictor has to beat, by name; shape (N,) each.

    They are the sum of isolated costs, a line through that sum, and a line through FLOPs. Lines are held out by the same
    folds. Without isolated costs there is no sum.
    """
    rows_NC, measured_N = measurements.rows_NC, measurements.networks_N
    result = {}
    if measurements.isolated:
        isolated = layer_factors(space.layers, space.choices, lambda operator: measurements.isolated[operator.key])
        result["isolated_sum"] = total(isolated, rows_NC, space.columns)
        result["affine_sum"] = held_out_line(result["isolated_sum"], measured_N)
    result["flops"] = held_out_line(space.costs("flops", rows_NC), measured_N)
    return result


def held_out_line(cost_N: FloatArray, measured_N: FloatArray) -> FloatArray:
    """Returns a + b * cost of each network, with the least squared relative error on the other folds; shape (N,)."""
    scale = float(cost_N.max()) or 1.0  # FLOPs are many orders of magnitude more than milliseconds
    design_N2 = np.stack([np.ones(len(cost_N)), cost_N / scale], axis=1)

    def fit_and_predict(train: IntArray, rest: IntArray) -> FloatArray:
        relative_N2 = design_N2[train] / measured_N[train, None]
        line_2 = np.linalg.lstsq(relative_N2, np.ones(len(train)))[0]
        return np.asarray(design_N2[rest] @ line_2)

    return cross_validated(fit_and_predict, len(cost_N))


def cross_validated(fit_and_predict: Callable[[IntArray, IntArray], FloatArray], count: int) -> FloatArray:
    """Returns each network's prediction by a fit that never saw the network; shape (count,), or (count, D) of D numbers each."""
    order, predictions = [], []
    for train, rest in folds(count):
        order.append(rest)
        predictions.append(fit_and_predict(train, rest))
    return np.concatenate(predictions)[np.argsort(np.concatenate(order))]


def folds(count: int) -> list[tuple[IntArray, IntArray]]:
    """Returns (all others, fold) for each of at most `FOLDS` folds of nearly equal size; the same at every call."""
    order = np.random.default_rng(0).permutation(count)
    return [(np.setdiff1d(order, fold), fold) for fold in np.array_split(order, min(FOLDS, count))]


def errors(predicted_N: FloatArray, measured_N: FloatArray) -> dict[str, float | None]:
    """Returns the field's figures: mean absolute relative error, shares within 5 % and 10 %, rank correlations.

    A correlation is None where predictions or measurements are all equal, and so have no order.
    """
    relative_N = np.abs(predicted_N / measured_N - 1)
    ordered = np.ptp(predicted_N) > 0 and np.ptp(measured_N) > 0
    return {
        "mape": float(relative_N.mean()),
        "within_5": float((relative_N <= 0.05).mean()),
        "within_10": float((relative_N <= 0.10).mean()),
        "spearman": float(spearmanr(predicted_N, measured_N).statistic) if ordered else None,
        "kendall": float(kendalltau(predicted_N, measured_N).statistic) if ordered else None,
    }
