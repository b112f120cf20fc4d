"""From a table to a predictor, and from a predictor to a budget that can be met."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

import hwnas
from hwnas.core.arch import Arch
from hwnas.core.files import json_of
from hwnas.core.operations import precision_choices
from hwnas.core.space import SearchSpace
from hwnas.errors import ArchError, HwnasError, PredictorError, TableError, UnknownNameError
from hwnas.predict.fit import fit
from hwnas.predict.measurements import ENERGY, LATENCY, Measurements
from hwnas.predict.predictor import LatencyPredictor
from hwnas.predict.related import cold_related_predictor, has_choices_of, is_below_measured, related_predictor
from hwnas.predict.sessions import session_noise
from hwnas.predict.shipped import ShippedDevice, file_name
from hwnas.profiler.device import differences
from hwnas.profiler.profile import operators_digest
from hwnas.profiler.table import Row, Table, read_table, require_conditions
from hwnas.spaces import reload_space


def measurements(table: Table, space: SearchSpace) -> Measurements:
    """A table's rows as a predictor needs them, each brought to the table's typical clock by its reference network.

    Networks that are not the space's, or whose rows name other operators, are left out.
    """
    reference_ms = float(np.median([row["reference_ms"] for row in table.rows])) if table.rows else None

    def corrected_ms(row: Mapping[str, Any], statistic: str = "p10_ms") -> float:
        return float(row[statistic] * (reference_ms or 1.0) / row["reference_ms"])

    networks = _own_networks(table.rows, space)
    mean_ms = {
        statistic: np.array(
            [np.mean([corrected_ms(row, f"{statistic}_ms") for row in rows]) for rows in networks.values()]
        )
        for statistic in ("p10", "median", "p90")
    }
    sessions = [[(row["reference_ms"], corrected_ms(row)) for row in rows] for rows in networks.values()]
    return Measurements(
        isolated={row["key"]: corrected_ms(row) for row in table.rows if row["kind"] == "operator"},
        rows_NC=space.encode(networks),
        networks_N=mean_ms.pop("p10"),
        other=mean_ms,
        repeat_noise=_repeat_noise([[corrected_ms(row) for row in rows] for rows in networks.values()]),
        session_noise=session_noise(sessions),
        # The reference was the largest network of the space that was profiled.
        reference=reference_ms if table.space["fingerprint"] == space.fingerprint else None,
    )


def energies(table: Table, space: SearchSpace) -> Measurements:
    """The energies of a table's rows, in millijoules; rows without one are left out, as are networks not the space's.

    The reference's time says nothing of them: on a slower clock a call takes longer, and less power.
    """
    measured = [row for row in table.rows if "energy_mj" in row]
    networks = _own_networks(measured, space)
    networks_mj = {arch: [float(row["energy_mj"]) for row in rows] for arch, rows in networks.items()}
    sessions = [[(row["reference_ms"], float(row["energy_mj"])) for row in rows] for rows in networks.values()]
    return Measurements(
        isolated={row["key"]: row["energy_mj"] for row in measured if row["kind"] == "operator"},
        rows_NC=space.encode(networks_mj),
        networks_N=np.array([np.mean(found_mj) for found_mj in networks_mj.values()]),
        repeat_noise=_repeat_noise(networks_mj.values()),
        session_noise=session_noise(sessions),
        cost=ENERGY,
    )


# What a table can be asked for.
MEASURED: Final[Mapping[str, Callable[[Table, SearchSpace], Measurements]]] = {LATENCY: measurements, ENERGY: energies}


def _own_networks(rows: Iterable[Row], space: SearchSpace) -> dict[Arch, list[Row]]:
    """The rows of each of the space's architectures."""
    networks: dict[Arch, list[Row]] = {}
    for row in rows:
        arch = _own_arch(row, space)
        if arch is not None:
            networks.setdefault(arch, []).append(row)
    return networks


def _repeat_noise(values: Iterable[Sequence[float]]) -> float | None:
    """The mean relative difference of the first two measurements of a network; None where none has two."""
    pairs = [each[:2] for each in values if len(each) > 1]
    return float(np.mean([abs(a - b) / min(a, b) for a, b in pairs])) if pairs else None


def _own_arch(row: Mapping[str, Any], space: SearchSpace) -> Arch | None:
    """The space's architecture that a row measured, if it is one."""
    if row["kind"] != "network":
        return None
    try:
        arch = space.arch(json_of(row["key"]))
    except (ArchError, ValueError):
        return None
    return arch if row.get("operators") in (None, operators_digest(space, arch)) else None


def fit_table(
    path: Path,
    space: SearchSpace | None = None,
    *,
    cost: str = LATENCY,
    allow_unconverged: bool = False,
    known: Sequence[Path] = (),
) -> LatencyPredictor:
    """A predictor of latency, or energy, for the conditions a table was measured under, and for its space, which is loaded
    where not given.

    `known` are files of predictors of other devices, for the same space, which say what to expect of this one. Where the
    table is of another space, and lacks operators of this one, the operators that differ are estimated.

    Raises TableError where latencies did not converge, unless that is allowed; PredictorError of known devices and a cold
    one, and of a cold one of energy; UnknownNameError.
    """
    if cost not in MEASURED:
        raise UnknownNameError("cost", cost, list(MEASURED))
    table = read_table(path)
    if cost == LATENCY and table.unconverged and not allow_unconverged:
        worst = table.unconverged[0]
        raise TableError(
            f"{path}: {len(table.unconverged)} of {len(table.rows)} rows did not converge, the worst is known to "
            f"+-{100 * worst['half_width']:.0f} %: {worst['kind']} {worst['key']}; `hwnas profile --out {path}` measures "
            "them again, best while the device is idle; or give --allow-unconverged"
        )
    if space is not None and _is_of_another(table, space):
        if known:
            raise PredictorError(
                f"{path}: measured for another space, so a predictor of {space.name} is cold, and cannot be learned from "
                f"other devices' as well; leave out --from, or profile {space.name}"
            )
        if cost == ENERGY:
            raise PredictorError(
                f"{path}: measured for another space, and energies are not estimated from those of another; run "
                f"`hwnas profile --energy` for {space.name}"
            )
        predictor, predictors = estimated_predictor(space, table), []
    else:
        space, predictors = space or reload_space(table.space, path), [LatencyPredictor.load(file) for file in known]
        predictor = fit(space, MEASURED[cost](table, space), table.conditions, known=predictors, where=str(path))
    provenance = {
        "hwnas": hwnas.__version__,
        "table": str(path),
        "digest": hashlib.blake2s(path.read_bytes()).hexdigest()[:16],
        "known_devices": [
            {"file": str(file), **other.conditions} for file, other in zip(known, predictors, strict=True)
        ],
        "measured": dict(table.provenance),
    }
    return replace(predictor, provenance=provenance)


def estimated_predictor(space: SearchSpace, table: Table, fitted: LatencyPredictor | None = None) -> LatencyPredictor:
    """Returns a predictor of a space from a table of another one, whose operators are estimated where they differ.

    `fitted` is the predictor of the table's own space, where there is one already. It goes on where the space has no choices or
    options but those of the table's; else the predictor is a cold one. Raises MissingMeasurementError, PredictorError.
    """
    source, where = reload_space(table.space, table.path), str(table.path)
    known = measurements(table, source)
    if has_choices_of(space, source):
        fitted = fitted or fit(source, known, table.conditions, where=where)
        with suppress(PredictorError):
            return related_predictor(space, source, fitted, known, where)
    return cold_related_predictor(space, source, known, table.conditions, where)


def predictor_on(device: ShippedDevice, space: SearchSpace, predictor: LatencyPredictor) -> LatencyPredictor:
    """Returns the predictor of a space on a device that is not here, of the device's predictor for the space of that reference.

    Operators that were not measured there are estimated; the report's `estimated_operators` counts them. Raises PredictorError,
    MissingMeasurementError, with the reason where that cannot be.
    """
    try:
        return predictor.for_space(space)
    except PredictorError as error:
        known_as = file_name(space.reference)
        if known_as not in device.tables or precision_choices(space):
            raise PredictorError(str(error).removesuffix("; fit one for this space")) from None
    estimated = estimated_predictor(space, read_table(device.table(known_as)), predictor)
    if is_below_measured(estimated, space):
        raise PredictorError("its networks are much faster than all that were measured")
    return replace(estimated, provenance=predictor.provenance)


def _is_of_another(table: Table, space: SearchSpace) -> bool:
    """Returns True where a table was measured for another space, and lacks operators of this one."""
    measured = {row["key"] for row in table.rows if row["kind"] == "operator"}
    return bool(measured) and table.space["fingerprint"] != space.fingerprint and not measured >= set(space.operators())


def usable_table(path: Path, space: SearchSpace, conditions: Mapping[str, Any]) -> Table:
    """A table measured under these conditions, with rows for all the space needs; it may be of a larger space.

    Raises TableError, PredictorError.
    """
    table = read_table(path)
    require_conditions(table, conditions)
    try:
        measurements(table, space).require(space.operators(), space.size, str(path))
    except HwnasError as error:
        if table.space["fingerprint"] == space.fingerprint:
            raise
        raise TableError(
            f"{path}: measured for another space, which has not all of this one's; profile it ({error})"
        ) from None
    return table


def usable_predictor(
    path: Path, space: SearchSpace, conditions: Mapping[str, Any], cost: str = LATENCY
) -> LatencyPredictor:
    """A predictor of this cost, for this space under these conditions. Raises PredictorError."""
    return load_predictor(path, conditions, cost).for_space(space)


def load_predictor(path: Path, conditions: Mapping[str, Any], cost: str = LATENCY) -> LatencyPredictor:
    """The same, for the space that it was fitted for."""
    predictor = LatencyPredictor.load(path).require(cost, str(path))
    found = differences(conditions, predictor.conditions)
    if found:
        raise PredictorError(f"{path}: fitted under other conditions: {'; '.join(found)}; profile and fit for these")
    return predictor
