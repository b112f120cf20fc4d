"""After a search: exporting one of its architectures, and measuring the front again."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cache, partial
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import safetensors.torch

from hwnas.core.files import replace_file
from hwnas.core.reporter import Reporter, Silent
from hwnas.core.space import SearchSpace
from hwnas.elastic.source import source_of
from hwnas.errors import DeviceError, RunError, UnknownNameError
from hwnas.modules.counting import sample_of
from hwnas.pipeline.checked import checked_request
from hwnas.pipeline.models import Exporter, loaded_model, model_path
from hwnas.pipeline.preflight import latency_names
from hwnas.pipeline.preprocessing import with_preprocessing
from hwnas.pipeline.request import SearchRequest, reopen
from hwnas.pipeline.target import Target, known_targets, runtime_of
from hwnas.pipeline.timing import timed_models
from hwnas.pipeline.weights import RunWeights
from hwnas.predict.predictor import LatencyPredictor
from hwnas.profiler.device import Conditions, conditions_here, differences
from hwnas.profiler.export import Batch
from hwnas.profiler.protocol import Timing
from hwnas.profiler.runtime import Model
from hwnas.runs.database import FINAL, SEARCH, Evaluation, RunDatabase
from hwnas.runs.folder import RunFolder
from hwnas.runs.front import DeviceLatency, FrontRow, named, options_of, read_front
from hwnas.runs.objectives import LATENCY, read_goal
from hwnas.runs.own_files import require_no_own_file


def export(
    run_path: Path, arch: str, out: Path | None, *, batch: Batch | None = None, preprocessing: bool = False
) -> Path:
    """Writes the ONNX file of `fastest`, `knee`, `best`, or any architecture the run evaluated, by id.

    Without `out`, it is ID.onnx in the current folder. The file's batch size is that of the run's first device, unless `batch`
    is a number, or "dynamic" for a file that takes any. With `preprocessing` the model takes images as they are
    (`pipeline/preprocessing.py`). Where `out` is FILE.py, it is the network's source, and FILE.safetensors its weights
    (`elastic/source.py`). Raises RunError for an id the run does not know, and where `out` is a file of a run's own.
    """
    run = RunFolder(run_path)
    run.read()  # a folder that is no run says so before it misses a front
    rows = {row.arch_id: row for row in read_front(run.front)}
    row = named(list(rows.values()), read_goal(run).objectives).get(arch) or rows.get(arch)
    arch_id = arch if row is None else row.arch_id
    out = out or (Path(f"{arch}.onnx") if row is None else Path(run.model(arch_id).name))
    require_no_own_file(out)
    if out.suffix.lower() not in (".onnx", ".py"):
        raise RunError(
            f"{out}: export writes ONNX (.onnx) or Python source (.py); give --out {out.with_suffix('.onnx')}"
        )
    if out.suffix.lower() == ".py":
        if batch is not None or preprocessing:
            raise RunError(f"{out}: Python source takes any batch size and no preprocessing; leave these options out")
        return _written_source(run_path, arch_id, out)
    first = run.read("devices")["devices"][0]["conditions"]
    if row is None or batch not in (None, first["batch"]):
        content = _exported(run_path, arch_id, batch)
    else:
        content = _model(run.inside(row.onnx), arch_id).read_bytes()
    replace_file(out, with_preprocessing(content, run.path) if preprocessing else content)
    return out


def _written_source(run_path: Path, arch_id: str, out: Path) -> Path:
    """Writes the source of an evaluated architecture, and its weights beside it."""
    run, request, space = reopen(run_path, {})
    evaluation, weights = evaluation_of(run, arch_id), out.with_suffix(".safetensors")
    require_no_own_file(weights)
    module = (
        RunWeights(run, checked_request(request, space, run), Silent()).networks(evaluation).network(evaluation.arch)
    )
    example = sample_of(space.input_shape, space.vocabulary, batch=2)
    title = f"Network {arch_id} of a search of {request.title}."
    source, state = source_of(module.cpu(), example, title, weights.name)
    replace_file(weights, safetensors.torch.save(state))
    replace_file(out, source.encode())
    return out


def evaluation_of(run: RunFolder, arch_id: str) -> Evaluation:
    """Returns an evaluated architecture with what made its final weights. Raises RunError for an id the run does not know."""
    with closing(RunDatabase.existing(run.database)) as database:
        evaluation = {**database.evaluations(SEARCH), **database.evaluations(FINAL)}.get(arch_id)
    if evaluation is None:
        raise RunError(
            f"{run.path} evaluated no architecture {arch_id!r}; give fastest, knee, best, or an id of front.csv"
        )
    return evaluation


def _exported(run_path: Path, arch_id: str, batch: Batch | None) -> bytes:
    """Returns the model of an evaluated architecture anew, from its own weights or extracted from the supernet."""
    run, request, space = reopen(run_path, {})
    evaluation = evaluation_of(run, arch_id)
    checked = checked_request(request, space, run)
    exporter = Exporter(run=run, space=space, data=checked.data, targets=checked.targets)
    target, predicted_ms = checked.targets[0], None
    if batch in (None, target.conditions["batch"]):
        predictor = LatencyPredictor.load(run.predictor_of(LATENCY, target.name))
        predicted_ms = float(predictor.predict_ms(space.encode([evaluation.arch]))[0])
    else:
        target = replace(target, conditions={**target.conditions, "batch": batch})
    networks = RunWeights(run, checked, Silent()).networks(evaluation)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        exporter.export_to(path, target, evaluation, networks, predicted_ms)
        return path.read_bytes()


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """A row of the front, measured again on one device.

    `within_noise` is True where the budget is nearer than the half width of a measurement, on either side.
    """

    row: FrontRow
    latency: DeviceLatency
    timing: Timing
    within_budget: bool
    within_noise: bool

    @classmethod
    def judged(cls, row: FrontRow, name: str, timing: Timing, statistic: str, predictor: LatencyPredictor) -> Self:
        """Returns the verdict on a row by a statistic of its timing; `name` is the device's name in the front."""
        latency, measured_ms = row.latency_of(name), timing.statistic_ms(statistic)
        budget_ms = inf if latency.budget_ms is None else latency.budget_ms
        return cls(
            row=row,
            latency=latency,
            timing=timing,
            within_budget=measured_ms <= budget_ms,
            within_noise=predictor.within_noise(measured_ms, budget_ms),
        )

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
            "within_noise": self.within_noise,
        }


def verify(run_path: Path, reporter: Reporter) -> list[Verification]:
    """Measures the front's networks as the run's runtimes run them, again or for the first time, on every device that is here.

    Raises RunError where none of the run's devices is here.
    """
    run, request, space = reopen(run_path, {})
    rows, targets = read_front(run.front), known_targets(run, request.devices.devices())
    weights = cache(lambda: RunWeights(run, checked_request(request, space, run), reporter))
    verified, reasons = list[Verification](), list[str]()
    for name, target in zip(latency_names(targets), targets, strict=True):
        here, missing = _conditions_here(target, run.json)
        if here is None:
            reasons.append(f"{target.name}: {missing}")
            continue
        verifying = _Verifying(
            run=run, request=request, space=space, targets=targets, weights=weights, reporter=reporter
        )
        verified += verifying.rows_on(name, target, here, rows)
    if not verified:
        raise RunError(
            f"{run.path}: the run is of another device than this: {'; '.join(reasons)}; copy it there, and verify it there"
        )
    return verified


@dataclass(frozen=True, slots=True, kw_only=True)
class _Verifying:
    """A finished run that is measured again. `weights` loads data and weights, for runtimes that take modules alone."""

    run: RunFolder
    request: SearchRequest
    space: SearchSpace
    targets: tuple[Target, ...]
    weights: Callable[[], RunWeights]
    reporter: Reporter

    def rows_on(self, name: str, target: Target, here: Conditions, rows: list[FrontRow]) -> list[Verification]:
        """Returns the rows of the front, measured on one device under the name of its latency."""
        models = [self._model(row, target, here) for row in rows]
        predictor = LatencyPredictor.load(self.run.predictor_of(LATENCY, target.name))
        session = timed_models(self.space, here, models, predictor, seed=self.request.seed, reporter=self.reporter)
        statistic = self.request.goal.budget_on
        return [
            Verification.judged(row, name, timing, statistic, predictor)
            for row, timing in zip(rows, session.timings, strict=True)
        ]

    def _model(self, row: FrontRow, target: Target, here: Conditions) -> Model:
        path = _model(model_path(self.run, row.arch_id, target, self.targets), row.arch_id)
        return loaded_model(here, path, partial(self._network, row), self.space)

    def _network(self, row: FrontRow) -> Any:
        evaluation = Evaluation(self.space.arch(options_of(row, self.run.path)), tuple(row.stages.split(" > ")), {})
        return self.weights().networks(evaluation).network(evaluation.arch)


def _model(path: Path, arch_id: str) -> Path:
    if not path.is_file():
        raise RunError(f"{path}: the model of {arch_id} is missing; restore it, or search again under another --out")
    return path


def _conditions_here(target: Target, where: Path) -> tuple[Conditions | None, str]:
    """The conditions of a device on this machine; None, with the reason, where this is not the device."""
    then = target.conditions
    try:
        here = conditions_here(
            then["device"],  # a shipped device's own, not its name
            threads=then["threads"],
            batch=then["batch"],
            precision=then["precision"],
            step=target.step,
            runtime=runtime_of(then, where),
            runtime_options=target.runtime_options,
        )
    except (DeviceError, UnknownNameError) as error:
        return None, str(error)
    found = differences(here.describe(), then)
    return (None, "; ".join(found)) if found else (here, "")
