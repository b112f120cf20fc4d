"""Fits predictors to measurements; cross-validation gives the interval and the report."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hwnas.core.arrays import FloatArray, IntArray
from hwnas.core.space import SearchSpace
from hwnas.predict.additive import LEAST, AdditiveModel, fit_additive, relative
from hwnas.predict.basis import Basis
from hwnas.predict.bayes import LogScales
from hwnas.predict.features import space_basis
from hwnas.predict.interval import Scale, cross_validation_interval, upper_ends
from hwnas.predict.known import known_basis
from hwnas.predict.measurements import FEWEST_AMONG_KNOWN, FEWEST_NETWORKS, Measurements
from hwnas.predict.predictor import LatencyPredictor, identity_factors
from hwnas.predict.report import cross_validated, held_out_report
from hwnas.predict.trees import chosen_trees, fit_trees


def fit(
    space: SearchSpace,
    measurements: Measurements,
    conditions: Mapping[str, Any],
    *,
    known: Sequence[LatencyPredictor] = (),
    where: str = "the table",
) -> LatencyPredictor:
    """Returns a predictor with factors from all measurements, and a report and interval from cross-validation.

    Predictors of `known` devices are the prior of a new device: then few networks suffice, and no operators are needed.
    Raises MissingMeasurementError or PredictorError where measurements are missing, or where a predictor is for another
    space or cost.
    """
    known = [predictor.require(measurements.cost, "a known device") for predictor in known]
    measurements.require(space.operators(), space.size, where, fewest=FEWEST_AMONG_KNOWN if known else FEWEST_NETWORKS)
    rows_NC, cost_N = measurements.rows_NC, measurements.networks_N
    basis, believed = _prior(space, measurements.isolated, float(np.median(cost_N)), known)

    def additive(networks: IntArray) -> AdditiveModel:
        return fit_additive(basis, space.columns, rows_NC[networks], cost_N[networks], believed)

    least = LEAST * cost_N.min()
    held_out_N, uncertainty_N = cross_validated(
        lambda train, rest: _prediction(additive(train), rows_NC[rest]), len(rows_NC)
    ).T
    scale = Scale.of_uncertainty(uncertainty_N, measurements.session_noise)
    held_out_N = np.maximum(held_out_N, least)
    left_N = cost_N - held_out_N
    trees, added_N = chosen_trees(rows_NC, left_N, held_out_N)
    booster = fit_trees(rows_NC, left_N, relative(held_out_N) ** 2, trees) if trees else None
    held_out_N = np.maximum(held_out_N + added_N, least)
    return LatencyPredictor(
        choices=space.choices,
        additive=additive(np.arange(len(rows_NC))).factors,
        interval=cross_validation_interval(cost_N / held_out_N, scale),
        statistics=measurements.statistics(),
        uppers=upper_ends(measurements, held_out_N, scale),
        report=held_out_report(space, measurements, held_out_N, scale) | {"trees": trees, "known_devices": len(known)},
        conditions=dict(conditions),
        space=space.describe(),
        identity=identity_factors(space),
        booster=booster,
        cost=measurements.cost,
    )


def _prediction(model: AdditiveModel, rows_NC: IntArray) -> FloatArray:
    """Returns the cost of each architecture, and the uncertainty relative to it; shape (N, 2)."""
    return np.stack([model.predict(rows_NC), model.uncertainty(rows_NC)], axis=1)


def _prior(
    space: SearchSpace, isolated: Mapping[str, float], typical_cost: float, known: Sequence[LatencyPredictor]
) -> tuple[Basis, LogScales | None]:
    """Returns the features, and the prior of their scales, before the device's first network."""
    if known:
        return known_basis(space, isolated, typical_cost, known)
    return space_basis(space, isolated, typical_cost), None
