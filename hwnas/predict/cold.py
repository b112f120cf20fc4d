"""Predicts a space that was never measured on a device, from a table of another space on that device.

Operators are estimated by what bounds them: a call, FLOPs, bytes of weights, bytes in and out, and the most bytes alive at
once, each at a rate of its own (the roofline model of Williams et al. 2009, its maximum replaced by a sum). Five rates that
cannot be negative extrapolate; a Gaussian process on top of them does so worse (docs/log.md). So a kind that was never
measured is estimated like all others.

In a network an operator costs a share of its isolated cost, less a constant that is saved per call. Share and constant are
learned from the other space's networks. A line with an intercept would fail: networks of another space have more layers, or
fewer.

Shapes: O operators, B bounds, N networks.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from scipy.optimize import nnls

from hwnas.core.arrays import FloatArray, IntArray
from hwnas.core.costs import layer_factors
from hwnas.core.factors import Factor, total
from hwnas.core.operator import Operator
from hwnas.core.space import SearchSpace
from hwnas.errors import PredictorError
from hwnas.predict.features import description
from hwnas.predict.interval import Scale, cross_validation_interval, upper_ends
from hwnas.predict.measurements import Measurements
from hwnas.predict.predictor import LatencyPredictor, identity_factors
from hwnas.predict.report import cross_validated, held_out_report

# Twice the number of rates that are learned.
FEWEST_OPERATORS: Final = 10


def estimated_costs(known: Mapping[Operator, float], operators: Iterable[Operator]) -> dict[str, float]:
    """Returns isolated costs by key: the measured ones, and for other operators those by the measured operators' rates.

    Raises PredictorError as `rated_costs` does.
    """
    wanted = list(operators)
    estimates = {operator.key: cost for operator, cost in rated_costs(known, wanted).items()}
    return estimates | {operator.key: known[operator] for operator in wanted if operator in known}


def rated_costs(known: Mapping[Operator, float], operators: Iterable[Operator]) -> dict[Operator, float]:
    """Returns isolated costs of operators by the measured operators' rates, of measured ones, too.

    The rates are those of operators in float32. Raises PredictorError where fewer than `FEWEST_OPERATORS` of them are known, and
    for an operator in another precision that is not measured.
    """
    wanted, rated = list(operators), [operator for operator in known if operator.in_float32 is operator]
    for operator in wanted:
        if operator.in_float32 is not operator and operator not in known:
            raise PredictorError(
                f"{operator.key} is not measured, and only operators in fp32 can be estimated; profile the space itself, or "
                "leave out --precisions"
            )
    if len(rated) < FEWEST_OPERATORS:
        raise PredictorError(
            f"{len(rated)} operators are measured, to estimate others takes {FEWEST_OPERATORS}; profile a larger space"
        )
    estimated_O = _bounds(wanted) @ _rates(_bounds(rated), np.array([known[operator] for operator in rated]))
    return {operator: float(cost) for operator, cost in zip(wanted, estimated_O, strict=True)}


def held_out_costs(known: Mapping[Operator, float]) -> FloatArray:
    """Returns the cost of each measured operator by the rates of others; shape (O,)."""
    bounds_OB, cost_O = _bounds(list(known)), np.array(list(known.values()))
    return cross_validated(
        lambda train, rest: np.asarray(bounds_OB[rest] @ _rates(bounds_OB[train], cost_O[train])), len(cost_O)
    )


def cold_predictor(
    space: SearchSpace,
    source: SearchSpace,
    measurements: Measurements,
    conditions: Mapping[str, Any],
    *,
    where: str = "the table",
) -> LatencyPredictor:
    """Returns a predictor of a space from measurements of another space, the `source`, under the same conditions.

    Report and interval come from the source's networks, each predicted without its own cost or its operators' costs;
    networks of `space` may be predicted worse. Raises MissingMeasurementError or PredictorError where measurements are
    missing.
    """
    measurements.require(source.operators(), source.size, where)
    if not measurements.isolated:
        raise PredictorError(
            f"{where}: no operators are measured, by which others could be estimated; measure them, too"
        )
    known = {operator: measurements.isolated[key] for key, operator in source.operators().items()}
    isolated = estimated_costs(known, space.operators().values())
    held_out_N = _held_out(source, measurements, known)
    everything = np.arange(len(held_out_N))
    scale = Scale(networks_N=np.ones(len(held_out_N)), session=measurements.session_noise)
    return LatencyPredictor(
        choices=space.choices,
        additive=factors_in_networks(space, isolated, in_networks(source, measurements, everything)),
        interval=cross_validation_interval(measurements.networks_N / held_out_N, scale),
        statistics=measurements.statistics(),
        uppers=upper_ends(measurements, held_out_N, scale),
        report=held_out_report(source, measurements, held_out_N, scale)
        | {"reference_ms": None, "cold": True, "source": source.name}
        | _what_is_new(space, known),
        conditions=dict(conditions),
        space=space.describe(),
        identity=identity_factors(space),
    )


def _what_is_new(space: SearchSpace, known: Mapping[Operator, float]) -> dict[str, Any]:
    """Returns the number of operators that must be estimated, and the kinds that were never measured."""
    operators = space.operators().values()
    kinds = {operator.kind for operator in operators} - {operator.kind for operator in known}
    to_estimate = sum(operator not in known for operator in operators)
    return {"operators": len(operators), "estimated_operators": to_estimate, "new_kinds": sorted(kinds)}


def _bounds(operators: Sequence[Operator]) -> FloatArray:
    """Returns the quantities that may bound an operator's cost; shape (O, B)."""
    return np.array([[1.0, *description(operator), operator.peak_bytes()] for operator in operators])


def _rates(bounds_OB: FloatArray, cost_O: FloatArray) -> FloatArray:
    """Returns the cost per unit of each bound, at least 0, with the least squared relative error; shape (B,)."""
    relative_OB = bounds_OB / cost_O[:, None]
    scale_B = relative_OB.max(axis=0, initial=0.0)
    scale_B[scale_B == 0.0] = 1.0  # a bound that no measured operator has, such as bytes of weights of poolings
    return np.asarray(nnls(relative_OB / scale_B, np.ones(len(cost_O)))[0] / scale_B)


def in_networks(source: SearchSpace, measurements: Measurements, networks: IntArray) -> FloatArray:
    """Returns (share, saved constant) of an operator in a network, both at least 0, with least squared relative error."""
    rows_NC, cost_N = measurements.rows_NC[networks], measurements.networks_N[networks]
    sums = [
        total(layer_factors(source.layers, source.choices, value), rows_NC, source.columns)
        for value in (lambda operator: measurements.isolated[operator.key], lambda _: -1.0)
    ]
    return np.asarray(_rates(np.stack(sums, axis=1), cost_N))


def factors_in_networks(
    space: SearchSpace, isolated: Mapping[str, float], in_networks_2: FloatArray | tuple[float, float]
) -> tuple[Factor, ...]:
    """Returns the costs of operators inside a network, at least 0."""
    share, saved = map(float, in_networks_2)
    return layer_factors(space.layers, space.choices, lambda operator: max(0.0, share * isolated[operator.key] - saved))


def _held_out(source: SearchSpace, measurements: Measurements, known: Mapping[Operator, float]) -> FloatArray:
    """Returns predictions of the source's networks from other networks and other operators only; shape (N,)."""
    isolated = {operator.key: float(cost) for operator, cost in zip(known, held_out_costs(known), strict=True)}

    def predict(train: IntArray, rest: IntArray) -> FloatArray:
        factors = factors_in_networks(source, isolated, in_networks(source, measurements, train))
        return total(factors, measurements.rows_NC[rest], source.columns)

    return cross_validated(predict, len(measurements.rows_NC))
