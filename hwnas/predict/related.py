"""Predicts a space that differs from a measured one in operators alone, from the measured space's predictor and measurements.

Another number of classes, channels or pixels changes operators, and no choice. The predictor of the measured space then holds for
all that is equal. For an operator that differs, the sum changes by an estimated difference: the measured cost of the operator
that stands in its place, times the ratio of both operators' estimates by rates (`predict/cold.py`).

The table's own operators of one kind, each estimated from another, tell how wrong such estimates are. The sums of isolated costs
of the table's networks tell how wrong an operator's cost in a network is, given its isolated cost. Each error is taken to be the
same for all operators of a network, so that errors add up, and both widen the interval.

Shapes: N architectures.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, final

import numpy as np

from hwnas.core.arrays import FloatArray
from hwnas.core.costs import layer_factors
from hwnas.core.factors import Factor, spread, total
from hwnas.core.operator import Operator
from hwnas.core.space import SearchSpace
from hwnas.errors import PredictorError
from hwnas.predict.cold import cold_predictor, factors_in_networks, held_out_costs, in_networks, rated_costs
from hwnas.predict.interval import UNCERTAIN
from hwnas.predict.measurements import NORMAL_95, Measurements
from hwnas.predict.predictor import LatencyPredictor, identity_factors

# The number of architectures that tell which share of a latency is estimated.
ASKED: Final = 1000
# A latency below this share of the measured space's is nearly all difference.
LEAST_SHARE: Final = 0.02
# Cold predictions of networks that take a smaller share of the fastest measured one's time are too low (docs/measuring.md).
MUCH_FASTER: Final = 0.5


@final
@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Change:
    """A layer's isolated costs over `scope`: measured `before`, `after` the change, and those of `after` that are estimated."""

    name: str
    scope: tuple[str, ...]
    before: FloatArray
    after: FloatArray
    estimated: FloatArray


def has_choices_of(space: SearchSpace, source: SearchSpace) -> bool:
    """Returns True where a space has no choices and options but those of another one."""
    return all(
        choice.name in source.by_name and set(choice.options) <= set(source.choice(choice.name).options)
        for choice in space.choices
    )


def related_predictor(
    space: SearchSpace,
    source: SearchSpace,
    predictor: LatencyPredictor,
    measurements: Measurements,
    where: str = "the table",
) -> LatencyPredictor:
    """Returns a predictor of a space from that of the `source`, which has all choices and options of the space.

    `measurements` are the source's. The report keeps the source's errors, and tells how many operators are estimated. Raises
    MissingMeasurementError where the source's are missing, PredictorError where an operator cannot be estimated, the space has
    an option that the source has not, or too little of the source is left to go by.
    """
    measurements.require(source.operators(), source.size, where)
    if not measurements.isolated:
        raise PredictorError(f"{where}: no operators are measured, by which others could be estimated")
    known = {operator: measurements.isolated[key] for key, operator in source.operators().items()}
    carried = predictor.carried_to(space)
    changes = list(_changes(space, source, predictor, known))
    share, saved = in_networks(source, measurements, np.arange(len(measurements.rows_NC))).tolist()

    def added(change: Change) -> Factor:
        after, before = (np.maximum(share * isolated - saved, 0.0) for isolated in (change.after, change.before))
        return Factor(change.name, change.scope, after - before)

    additive = (*carried.additive, *map(added, changes))
    rows_NC = space.sample_rows(np.random.default_rng(0), ASKED)
    predicted_N = total(additive, rows_NC, space.columns)
    if (predicted_N < LEAST_SHARE * carried.predict(rows_NC)).any():
        raise PredictorError(f"too little of {source.name} {dict(source.options)} is left in the asked space")
    estimates = [Factor(change.name, change.scope, share * change.estimated) for change in changes]
    moved = [Factor(factor.name, factor.scope, np.abs(factor.values)) for factor in additive[len(carried.additive) :]]
    estimated_share, moved_share = (
        min(1.0, float(np.quantile(total(factors, rows_NC, space.columns) / predicted_N, UNCERTAIN)))
        for factors in (estimates, moved)
    )
    sums_N = total(
        factors_in_networks(source, measurements.isolated, (share, saved)), measurements.rows_NC, source.columns
    )
    in_network_error = float(np.sqrt(np.mean(np.log(measurements.networks_N / sums_N) ** 2)))
    report = {
        **predictor.report,
        "reference_ms": None,
        "operators": len(space.operators()),
        "estimated_operators": sum(operator not in known for operator in space.operators().values()),
        "estimated_share": estimated_share,
    }
    related = replace(carried, additive=additive, report=report, identity=identity_factors(space))
    return _widened(related, float(np.hypot(estimated_share * estimation_error(known), moved_share * in_network_error)))


def cold_related_predictor(
    space: SearchSpace,
    source: SearchSpace,
    measurements: Measurements,
    conditions: Mapping[str, Any],
    where: str = "the table",
) -> LatencyPredictor:
    """Returns the `cold_predictor` of a space whose choices are others than the source's, with an interval for what is estimated.

    Raises as `cold_predictor` does.
    """
    predictor = cold_predictor(space, source, measurements, conditions, where=where)
    known = {operator: measurements.isolated[key] for key, operator in source.operators().items()}
    widened = _widened(predictor, estimation_error(known))
    return replace(widened, report={**predictor.report, "estimated_share": 1.0})


def is_below_measured(predictor: LatencyPredictor, space: SearchSpace) -> bool:
    """Returns True where a cold predictor's typical network is much faster than all that were measured, so predicted too low."""
    rows_NC = space.sample_rows(np.random.default_rng(0), ASKED)
    fastest = min(predictor.report["points"]["measured_ms"])
    is_cold = bool(predictor.report.get("cold"))
    return is_cold and bool(np.median(predictor.predict(rows_NC)) < MUCH_FASTER * fastest)


def estimated_words(predictor: LatencyPredictor) -> str:
    """Says how much of a predictor is estimated, and what that does to its interval."""
    report, (low, high) = predictor.report, predictor.interval
    share = f", up to {100 * report['estimated_share']:.0f} % of a latency" if "estimated_share" in report else ""
    return (
        f"{report['estimated_operators']} of {report['operators']} operators were not measured on the device and are estimated "
        f"by what they cost{share}; the interval is {100 * (low - 1):+.0f} % to {100 * (high - 1):+.0f} %"
    )


def estimation_error(known: Mapping[Operator, float]) -> float:
    """Returns the root mean square of the logarithm of measured over estimated costs, where operators are estimated by others.

    It is the larger one of estimates by rates alone, and of those by rates and a measured operator of the same kind.
    """
    errors = np.log(np.array(list(known.values())) / held_out_costs(known))
    kinds = [operator.kind for operator in known]
    pairs = [errors[i] - errors[j] for i, j in itertools.combinations(range(len(kinds)), 2) if kinds[i] == kinds[j]]
    return float(max(np.sqrt(np.mean(np.square(some))) for some in (errors, pairs) if len(some)))


def _changes(
    space: SearchSpace, source: SearchSpace, predictor: LatencyPredictor, known: Mapping[Operator, float]
) -> Iterator[Change]:
    """Yields the layers whose isolated costs differ between the spaces, over the choices of `space`."""
    rated = rated_costs(known, {**dict.fromkeys(known), **dict.fromkeys(space.operators().values())})

    def of_source(value: Mapping[Operator, float]) -> dict[str, Factor]:
        factors = layer_factors(source.layers, source.choices, value.__getitem__)
        return {factor.name: predictor.carried(factor, space) for factor in factors}

    measured, estimates = of_source(known), of_source(rated)
    for layer in space.layers:
        (own,) = layer_factors([layer], space.choices, rated.__getitem__)
        (is_known,) = layer_factors([layer], space.choices, lambda operator: known.get(operator, 0.0))
        nothing = Factor(layer.name, (), np.zeros(()))
        before, partner = (named.pop(layer.name, nothing) for named in (measured, estimates))
        scope = tuple(dict.fromkeys((*own.scope, *before.scope)))
        yield from _different(layer.name, scope, [spread(each, scope) for each in (before, partner, own, is_known)])
    for name, factor in measured.items():
        zeros = np.zeros(factor.values.shape)
        yield Change(name=name, scope=factor.scope, before=factor.values, after=zeros, estimated=zeros)


def _different(name: str, scope: tuple[str, ...], costs: Sequence[FloatArray]) -> Iterator[Change]:
    """Yields the change of a layer, if there is any.

    `costs` are the source's measured and estimated ones, and the space's estimated and measured ones, 0 where there is none.
    """
    before, partner, own, known = np.broadcast_arrays(*costs)
    by_partner = np.divide(own * before, partner, out=own.copy(), where=partner > 0)
    after = np.where(known > 0, known, by_partner)
    if not np.array_equal(before, after):
        estimated = np.where(known > 0, 0.0, after)
        yield Change(name=name, scope=scope, before=before, after=after, estimated=estimated)


def _widened(predictor: LatencyPredictor, error: float) -> LatencyPredictor:
    """Returns the predictor with a further, independent error in its interval, a standard deviation of logarithms."""

    def wider(end: float) -> float:
        return float(np.exp(np.hypot(np.log(end), NORMAL_95 * error)))

    low, high = predictor.interval
    uppers = {name: wider(predictor.upper_ratio(name)) for name in predictor.statistics}
    return replace(predictor, interval=(1 / wider(1 / low), wider(high)), uppers=uppers)
