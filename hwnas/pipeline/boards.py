"""Devices that are not here, from tables that were measured there: added by name, and a run's winners measured there.

`hwnas bundle` packs a space or a run's winners, and `python bundle.zip` measures either on the device, without torch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, final

from hwnas.core.files import replace_file
from hwnas.core.reporter import Reporter
from hwnas.core.space import SearchSpace
from hwnas.errors import DeviceError, RunError, TableError, UnknownNameError
from hwnas.pipeline.models import model_path
from hwnas.pipeline.predict import fit_table
from hwnas.pipeline.preflight import latency_names
from hwnas.pipeline.request import reopen
from hwnas.pipeline.rows import are_beaten
from hwnas.pipeline.target import HOME, Target, known_targets, runtime_of
from hwnas.pipeline.timing import PROTOCOL
from hwnas.pipeline.winners import Verification
from hwnas.predict.predictor import LatencyPredictor
from hwnas.predict.shipped import ShippedDevice, file_name, predictor_path, shipped_devices, table_path
from hwnas.profiler.board import SCHEMA
from hwnas.profiler.bundle import Packed, packed, write_bundle
from hwnas.profiler.device import DEVICES, conditions_here, differences, tolerance
from hwnas.profiler.export import example_input
from hwnas.profiler.profile import network_workload, provenance
from hwnas.profiler.protocol import Timing
from hwnas.profiler.runtime import USUAL, Forms
from hwnas.profiler.step import shape_in_step
from hwnas.profiler.table import Row, Table, read_table, require_space
from hwnas.runs.folder import RunFolder
from hwnas.runs.front import FrontRow, options_of, read_front, write_front
from hwnas.runs.objectives import LATENCY, read_goal

# The conditions of a device that a bundle is measured under, as `conditions_here` takes them.
ASKED: Final = ("device", "threads", "batch", "precision", "step", "runtime_options")


def add_device(name: str, tables: Sequence[Path], folder: Path, *, allow_unconverged: bool = False) -> ShippedDevice:
    """Fits a predictor to each table, of a space each, and keeps both under a device's name in a folder of devices.

    Raises DeviceError for a name that cannot be, or tables of different conditions; TableError, PredictorError as a fit does.
    """
    if name in DEVICES or name != Path(name).name or not name or any(sign in name for sign in "+:,@"):
        raise DeviceError(
            f"{name!r} is no name for a device that is not here; take one that says which hardware, such as pi5"
        )
    known, found = shipped_devices(), [read_table(path) for path in tables]
    conditions = found[0].conditions
    if name in known:
        if known[name].folder.resolve() != folder.resolve():
            raise DeviceError(f"{known[name].folder} has a device {name} already; take another name")
        conditions = known[name].conditions
    for table in found:
        apart = differences(conditions, table.conditions)
        if apart:
            raise DeviceError(
                f"{table.path}: a device has one set of conditions, and this table's differ: {'; '.join(apart)}; add it under "
                "another name"
            )
    spaces = [file_name(str(table.space["reference"])) for table in found]
    for table, space in zip(found, spaces, strict=True):
        kept = table_path(folder, name, space)
        if spaces.count(space) > 1 or (kept.exists() and kept.resolve() != table.path.resolve()):
            raise DeviceError(
                f"{table.path}: {name} would have two tables of {space} ({kept}); give one, remove the file that is there, or "
                "take another name"
            )
    fitted = [fit_table(table.path, allow_unconverged=allow_unconverged) for table in found]
    for table, space, predictor in zip(found, spaces, fitted, strict=True):
        kept, path = table_path(folder, name, space), predictor_path(folder, name, space)
        for file in (kept, path):
            file.parent.mkdir(parents=True, exist_ok=True)
        if table.path.resolve() != kept.resolve():
            replace_file(kept, table.path.read_bytes())
        replace(predictor, provenance={**predictor.provenance, "table": f"{name}/{space}"}).save(path)
    return shipped_devices([folder])[name]


def bundle_winners(run_path: Path, out: Path, device: str | None, reporter: Reporter) -> int:
    """Packs the models of a run's front for one of its devices, and the largest network as their reference.

    The expected outputs are those of the files by ONNX Runtime here. Returns the number of models. Raises RunError,
    UnknownNameError, and DeviceError for a device that no bundle can measure on.
    """
    run, request, space = reopen(run_path, {})
    rows, targets = read_front(run.front), known_targets(run, request.devices.devices())
    target = _named(targets, device)
    then, step = target.conditions, target.step
    if runtime_of(then, run.json) != USUAL:
        raise DeviceError(f"a bundle measures by {USUAL} only, and {target.name} is measured by {then['runtime']}")
    conditions = {name: then[name] for name in ASKED if name in then}
    here = conditions_here(
        HOME, batch=then["batch"], step=step, precision=target.precision_here, runtime_options={"slow_int8": "allowed"}
    )
    x = example_input(shape_in_step(step, space.input_shape), then["batch"], space.vocabulary).numpy()

    def winner(row: FrontRow) -> Packed:
        path = model_path(run, row.arch_id, target, targets)
        if not path.is_file():
            raise RunError(f"{path}: the model of {row.arch_id} is missing; restore it")
        model, _ = here.load(Forms(module=_no_module, onnx=path.read_bytes))
        model.bind(x)
        return Packed("network", _key(row, run, space), None, path.read_bytes(), x, model.run(x))

    largest = space.largest().key
    winners = {_key(row, run, space): row for row in rows}
    contents = {
        "schema": SCHEMA,
        "conditions": conditions,
        "tolerance": tolerance(then["device"], then["precision"], then.get("runtime_options", {})),
        "space": space.describe(),
        "provenance": provenance(PROTOCOL) | {"run": str(run.path)},
        "reference": largest,
        "seed": request.seed,
    }
    models = [winner(row) for row in reporter.track(rows, "packing")]
    if largest not in winners:
        models.append(packed(network_workload(space, space.largest()), then))
    write_bundle(out, contents, models)
    return len(models)


def verify_measured(run_path: Path, table: Path, reporter: Reporter) -> list[Verification]:
    """Returns the front's networks as the table of a bundle of them has them: predicted against measured, and the verdict.

    Keeps a copy of the table in the run, and writes `front-measured.csv`: the networks that are within their budgets and that no
    other beats, as measured by this table and by those of other devices before. Another version of the runtime is noted. Raises
    RunError where the table is of another device, TableError where it is of another space or lacks a network.
    """
    run, request, space = reopen(run_path, {})
    rows, targets = read_front(run.front), known_targets(run, request.devices.devices())
    measured = read_table(table)
    require_space(measured, space.describe())
    name, target = _measured_on(targets, measured.conditions, table)
    then, now = target.conditions["runtime"], measured.conditions["runtime"]
    if then != now:
        reporter.note(f"measured by {now}, and predicted for {then}: the difference of both is in the errors")
    judging = _Judging(run=run, space=space, rows=rows, statistic=request.goal.budget_on)
    verified = judging.verified(name, target, measured)
    kept = run.measured_of(target.name)
    if kept.resolve() != table.resolve():
        replace_file(kept, table.read_bytes())
    _write_measured_front(judging, dict(zip(latency_names(targets), targets, strict=True)), reporter)
    return verified


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Judging:
    """The rows of a run's front, and the statistic by which a measurement is judged."""

    run: RunFolder
    space: SearchSpace
    rows: Sequence[FrontRow]
    statistic: str

    def verified(self, name: str, target: Target, table: Table) -> list[Verification]:
        """Returns the verdict on each row by a table; `name` is the latency's. Raises TableError where a network is missing."""
        measured = [row for row in table.rows if row["kind"] == "network" and not row.get("repeat", 0)]
        by_key = {row["key"]: row for row in measured}
        predictor = LatencyPredictor.load(self.run.predictor_of(LATENCY, target.name))
        verified = []
        for row in self.rows:
            found = by_key.get(_key(row, self.run, self.space))
            if found is None:
                raise TableError(
                    f"{table.path}: has no measurement of {row.arch_id}; measure a bundle of `hwnas bundle {self.run.path}`"
                )
            verified.append(Verification.judged(row, name, _timing(found), self.statistic, predictor))
        return verified


def _write_measured_front(judging: _Judging, targets: Mapping[str, Target], reporter: Reporter) -> None:
    """Writes the front as all tables that the run keeps have measured it, each for one of the devices `targets`."""
    run, rows = judging.run, {row.arch_id: row for row in judging.rows}
    devices = []
    for name, target in targets.items():
        path = run.measured_of(target.name)
        if not path.exists():
            continue
        try:
            verified = judging.verified(name, target, read_table(path))
        except TableError as error:
            reporter.note(f"the front has changed since it was measured for {target.name}: {error}")
            continue
        devices.append(target.name)
        for each in verified:
            rows[each.row.arch_id] = _as_measured(each, rows[each.row.arch_id])
    within = [row for row in rows.values() if row.within_budget]
    is_beaten = are_beaten(within, read_goal(run).objectives) if within else ()
    kept = [row for row, beaten in zip(within, is_beaten, strict=True) if not beaten]
    write_front(run.measured_front, kept)
    beaten = len(within) - len(kept)
    words = f", {beaten} of which another one beats in all objectives" if beaten else ""
    reporter.note(
        f"as measured for {', '.join(devices)}: {len(within)} of {len(rows)} networks are within the budget{words}: "
        f"{run.measured_front}"
    )


def _named(targets: Sequence[Target], device: str | None) -> Target:
    if device is None and len(targets) == 1:
        return targets[0]
    by_name = {target.name: target for target in targets}
    if device is None:
        raise RunError(f"the run is of several devices; give --device, one of {', '.join(by_name)}")
    if device not in by_name:
        raise UnknownNameError("device of the run", device, list(by_name))
    return by_name[device]


def _measured_on(targets: Sequence[Target], conditions: Mapping[str, Any], table: Path) -> tuple[str, Target]:
    """Returns the run's device that a table was measured on, whatever the runtime's version, and its latency's name."""
    reasons = []
    for name, target in zip(latency_names(targets), targets, strict=True):
        apart = differences(_without_version(target.conditions), _without_version(conditions))
        if not apart:
            return name, target
        reasons.append(f"{target.name}: {'; '.join(apart)}")
    raise RunError(f"{table}: measured on another device than the run's: {' | '.join(reasons)}")


def _without_version(conditions: Mapping[str, Any]) -> dict[str, Any]:
    return {**conditions, "runtime": str(conditions["runtime"]).rpartition(" ")[0]}


def _key(row: FrontRow, run: RunFolder, space: Any) -> str:
    return str(space.arch(options_of(row, run.path)).key)


def _timing(row: Row) -> Timing:
    names = ("p10_ms", "median_ms", "p90_ms", "spread", "half_width", "converged", "calls", "discarded")
    return Timing(**{name: row[name] for name in names}, rounds_ms=tuple(row["rounds_ms"]))


def _as_measured(verification: Verification, row: FrontRow) -> FrontRow:
    """Returns a row with the latency on one device as it was measured."""
    timing, old = verification.timing, verification.latency
    new = replace(
        old,
        measured_ms=timing.p10_ms,
        measured_median_ms=timing.median_ms,
        measured_p90_ms=timing.p90_ms,
        within_budget=verification.within_budget,
        within_noise=verification.within_noise,
    )
    return replace(row, latencies=tuple(new if each.device == old.device else each for each in row.latencies))


def _no_module() -> None:
    raise DeviceError("a bundle has no torch modules")
