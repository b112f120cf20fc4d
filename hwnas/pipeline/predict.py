"""From a table to a predictor, and from a predictor to a budget that can be met."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hwnas.core.arch import Arch
from hwnas.core.cost import Factor
from hwnas.core.optimum import minimise
from hwnas.core.space import SearchSpace
from hwnas.errors import ArchError, BudgetError, PredictorError, TableError
from hwnas.latency.fit import fit
from hwnas.latency.measurements import Measurements
from hwnas.latency.predictor import LatencyPredictor
from hwnas.pipeline.config import Budget
from hwnas.profiler.device import differences
from hwnas.profiler.store import Table, read_table, require_conditions
from hwnas.spaces import reload_space


def measurements(table: Table, space: SearchSpace) -> Measurements:
    """A table's rows as a predictor needs them, each brought to the table's median clock by its reference network."""
    reference_ms = float(np.median([row["reference_ms"] for row in table.rows])) if table.rows else None

    def p10_ms(row: Mapping[str, Any]) -> float:
        return float(row["p10_ms"] * (reference_ms or 1.0) / row["reference_ms"])

    networks: dict[str, list[Mapping[str, Any]]] = {}
    for row in table.rows:
        if row["kind"] == "network":
            networks.setdefault(row["key"], []).append(row)
    pairs = [(p10_ms(rows[0]), p10_ms(rows[1])) for rows in networks.values() if len(rows) > 1]
    return Measurements(
        isolated_ms={row["key"]: p10_ms(row) for row in table.rows if row["kind"] == "operator"},
        rows_NC=space.encode([space.arch(json.loads(key)) for key in networks]),
        network_ms_N=np.array([np.mean([p10_ms(row) for row in rows]) for rows in networks.values()]),
        statistics={
            "p10": 1.0,
            "median": _typical_ratio(networks, "median_ms"),
            "p90": _typical_ratio(networks, "p90_ms"),
        },
        repeat_noise=float(np.mean([abs(a - b) / min(a, b) for a, b in pairs])) if pairs else None,
        reference_ms=reference_ms,
    )


def _typical_ratio(networks: Mapping[str, list[Mapping[str, Any]]], statistic: str) -> float:
    """Of a statistic to the p10; the median over networks."""
    ratios = [row[statistic] / row["p10_ms"] for rows in networks.values() for row in rows]
    return float(np.median(ratios)) if ratios else 1.0


def fit_table(path: Path, space: SearchSpace | None = None) -> LatencyPredictor:
    """A predictor for the conditions a table was measured under, and for its space, which is loaded where not given."""
    table = read_table(path)
    space = space or reload_space(table.space)
    return fit(space, measurements(table, space), table.conditions, where=str(path))


def usable_table(path: Path, space: SearchSpace, conditions: Mapping[str, Any]) -> Table:
    """A table of this space under these conditions. Raises TableError."""
    table = read_table(path)
    require_conditions(table, conditions)
    if table.space["fingerprint"] != space.fingerprint:
        raise TableError(f"{path}: measured for another space, {table.space['reference']} {table.space['options']}")
    return table


def usable_predictor(path: Path, space: SearchSpace, conditions: Mapping[str, Any]) -> LatencyPredictor:
    """A predictor for this space under these conditions. Raises PredictorError."""
    predictor = LatencyPredictor.load(path)
    found = differences(conditions, predictor.conditions)
    if found:
        raise PredictorError(f"{path}: fitted under other conditions: {'; '.join(found)}; profile and fit for these")
    return predictor.for_space(space)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preflight:
    """What is known before any long work. Milliseconds of the budget's statistic; `fastest_ms` is an interval's upper end."""

    budget_ms: float
    fastest: Arch
    fastest_ms: float
    slowest_ms: float


def preflight(
    predictor: LatencyPredictor,
    space: SearchSpace,
    budget: Budget,
    statistic: str,
    *,
    largest_ms: float,
    max_params: int | None = None,
) -> Preflight:
    """Resolves the budget and proves that it can be met. Raises BudgetError with the fastest latency that can."""
    limits = [] if max_params is None else [(space.cost_factors("params"), float(max_params))]
    try:
        fastest = minimise(space, predictor.factors, limits)
    except BudgetError:
        fewest = space.cost("params", minimise(space, space.cost_factors("params")))
        raise BudgetError(
            f"no architecture of {space.name} has at most {max_params} parameters; the least is {fewest}"
        ) from None
    negated = [Factor(factor.name, factor.scope, -factor.values) for factor in predictor.factors]
    ends = space.encode([fastest, minimise(space, negated)])
    fastest_ms = float(predictor.upper_ms(ends[:1], statistic)[0])
    slowest_ms = float(predictor.predict_ms(ends[1:])[0]) * predictor.statistics[statistic]
    budget_ms = budget.resolve(largest_ms)
    if budget_ms < fastest_ms:
        raise BudgetError(
            f"the budget of {budget_ms:.4g} ms cannot be met: the fastest architecture of {space.name} takes up to "
            f"{fastest_ms:.4g} ms here ({statistic}, upper end of the 90 % interval); allow that much, or use a smaller space"
        )
    return Preflight(budget_ms=budget_ms, fastest=fastest, fastest_ms=fastest_ms, slowest_ms=slowest_ms)


def predictions(predictor: LatencyPredictor, lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Latency, 90 % interval and breakdown of architectures given as JSON objects, one per line."""
    space = reload_space(predictor.space)
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            options = json.loads(line)
            if not isinstance(options, dict):
                raise ArchError(f"{line.strip()} is not a JSON object of option by choice name")
            arch = space.arch(options)
        except (ValueError, TypeError, ArchError) as error:
            raise ArchError(f"architecture {number}: {error}") from None
        row = space.encode([arch])[0]
        predicted_ms = float(predictor.predict_ms(row[None])[0])
        low, high = (predicted_ms * end for end in predictor.interval)
        yield {
            "arch_id": arch.id,
            "predicted_ms": predicted_ms,
            "interval_ms": [low, high],
            "layers_ms": predictor.breakdown_ms(row),
        }
