"""After a search: exporting one of its architectures, and measuring the front again."""

import json
import shutil
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from hwnas.core.reporter import Reporter, Silent
from hwnas.errors import DeviceError, RunError, UnknownNameError
from hwnas.pipeline.checked import CheckedRequest, checked_request
from hwnas.pipeline.final import FINAL
from hwnas.pipeline.models import Exporter, loaded_model
from hwnas.pipeline.preflight import latency_names
from hwnas.pipeline.request import reopen
from hwnas.pipeline.target import Target
from hwnas.pipeline.timing import timed_models
from hwnas.pipeline.weights import RunWeights
from hwnas.predict.predictor import LatencyPredictor
from hwnas.profiler.device import Conditions, conditions_here, differences
from hwnas.profiler.protocol import Timing
from hwnas.runs.database import Evaluation, RunDatabase
from hwnas.runs.folder import RunFolder
from hwnas.runs.front import DeviceLatency, FrontRow, named, read_front
from hwnas.runs.objectives import read_goal


def export(run_path: Path, arch: str, out: Path | None) -> Path:
    """Writes the ONNX file of `fastest`, `knee`, `best`, or any architecture the run evaluated, by id.

    Without `out`, it is ID.onnx in the current folder. Raises RunError for an id the run does not know.
    """
    run = RunFolder(run_path)
    run.read()  # a folder that is no run says so before it misses a front
    rows = {row.arch_id: row for row in read_front(run.front)}
    row = named(list(rows.values()), read_goal(run).objectives).get(arch) or rows.get(arch)
    if row is None:
        return _export_evaluated(run_path, arch, out or Path(f"{arch}.onnx"))
    model, out = _model(run.path / row.onnx, row.arch_id), out or Path(f"{row.arch_id}.onnx")
    out.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(model, out)
    return out


def _export_evaluated(run_path: Path, arch_id: str, out: Path) -> Path:
    """An architecture that is not on the front: from its own weights, or extracted from the supernet anew."""
    run, request, space = reopen(run_path, {})
    with closing(RunDatabase.existing(run.database)) as database:
        evaluation = {**database.evaluations("search"), **database.evaluations(FINAL)}.get(arch_id)
    if evaluation is None:
        raise RunError(
            f"{run_path} evaluated no architecture {arch_id!r}; give fastest, knee, best, or an id of front.csv"
        )
    checked = checked_request(request, space, run)
    exporter = Exporter(run=run, space=space, data=checked.data, targets=checked.targets)
    predictor = LatencyPredictor.load(run.predictor_of("latency"))
    predicted_ms = float(predictor.predict_ms(space.encode([evaluation.arch]))[0])
    networks = RunWeights(run, checked, Silent()).networks(evaluation)
    exporter.export_to(out, checked.targets[0], evaluation, networks, predicted_ms)
    return out


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """A row of the front, measured again on one device."""

    row: FrontRow
    latency: DeviceLatency
    timing: Timing
    within_budget: bool

    def describe(self) -> dict[str, Any]:
        """Returns what was predicted, what was measured then, and what is measured now; fit for JSON."""
        return {
            "arch_id": self.row.arch_id,
            "device": self.latency.device,
            "predicted_ms": self.latency.predicted_ms,
            "measured_then_ms": self.latency.measured_ms,
            "measured_ms": self.timing.p10_ms,
            "measured_median_ms": self.timing.median_ms,
            "measured_p90_ms": self.timing.p90_ms,
            "error": self.latency.predicted_ms / self.timing.p10_ms - 1,
            "within_budget": self.within_budget,
        }


def verify(run_path: Path, reporter: Reporter) -> list[Verification]:
    """Measures the front's networks as the run's runtimes run them, again or for the first time, on every device that is here.

    Raises RunError where none of the run's devices is here.
    """
    run, request, space = reopen(run_path, {})
    rows = read_front(run.front)
    checked = checked_request(request, space, run)
    verified, reasons = list[Verification](), list[str]()
    for number, (name, target) in enumerate(zip(latency_names(checked.targets), checked.targets, strict=True)):
        here, missing = _conditions_here(target)
        if here is None:
            reasons.append(missing)
            continue
        verified += _verified(run, checked, (name, target, here), rows, number, reporter)
    if not verified:
        raise RunError(
            f"{run.path}: the run is of another device than this: {'; '.join(reasons)}; copy it there, and verify it there"
        )
    return verified


def _verified(
    run: RunFolder,
    checked: CheckedRequest,
    device: tuple[str, Target, Conditions],
    rows: list[FrontRow],
    number: int,
    reporter: Reporter,
) -> list[Verification]:
    name, target, here = device
    request, space = checked.request, checked.space
    exporter = Exporter(run=run, space=space, data=checked.data, targets=checked.targets)
    weights = RunWeights(run, checked, reporter)

    def extract(row: FrontRow) -> Any:
        evaluation = Evaluation(space.arch(json.loads(row.arch)), tuple(row.stages.split(" > ")), {})
        return weights.networks(evaluation).network(evaluation.arch)

    models = [
        loaded_model(here, _model(exporter.path(row.arch_id, target), row.arch_id), partial(extract, row))
        for row in rows
    ]
    predictor = LatencyPredictor.load(run.predictor_of(name))
    session = timed_models(space, here, models, predictor, seed=request.seed, reporter=reporter)
    return [
        Verification(
            row=row,
            latency=row.latencies[number],
            timing=timing,
            within_budget=_is_within(timing.statistic_ms(request.goal.budget_on), row.latencies[number].budget_ms),
        )
        for row, timing in zip(rows, session.timings, strict=True)
    ]


def _is_within(measured_ms: float, budget_ms: float | None) -> bool:
    return budget_ms is None or measured_ms <= budget_ms


def _model(path: Path, arch_id: str) -> Path:
    if not path.is_file():
        raise RunError(f"{path}: the model of {arch_id} is missing; restore it, or search again under another --out")
    return path


def _conditions_here(target: Target) -> tuple[Conditions | None, str]:
    """The conditions of a device on this machine; None, with the reason, where this is not the device."""
    then = target.conditions
    try:
        here = conditions_here(
            then["device"],  # a shipped device's own, not its name
            threads=then["threads"],
            batch=then["batch"],
            precision=then["precision"],
            runtime=then["runtime"].split()[0],
            runtime_options=target.runtime_options,
        )
    except (DeviceError, UnknownNameError) as error:
        return None, str(error)
    found = differences(here.describe(), then)
    return (None, "; ".join(found)) if found else (here, "")
