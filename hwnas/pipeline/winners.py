"""After a search: exporting one of its architectures, and measuring the front again."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import torch

from hwnas.core.reporter import Reporter
from hwnas.core.space import SearchSpace
from hwnas.errors import RunError
from hwnas.latency.predictor import LatencyPredictor
from hwnas.pipeline.config import GRADIENT, SearchConfig
from hwnas.pipeline.deploy import export_evaluated, timed_winners
from hwnas.pipeline.gradient import TrainedNetworks
from hwnas.pipeline.search import conditions_of, load_for, reopen
from hwnas.profiler.device import Conditions, differences
from hwnas.profiler.protocol import Timing
from hwnas.profiler.runtime_onnx import OnnxModel
from hwnas.runs.database import RunDatabase
from hwnas.runs.folder import RunFolder
from hwnas.runs.front import FrontRow, named, read_front
from hwnas.supernet.network import Supernet
from hwnas.train.data import Dataset
from hwnas.train.loop import NetworkJudge, Networks, SubnetJudge, load_supernet


def export(run_path: Path, arch: str, out: Path | None) -> Path:
    """Writes the ONNX file of `fastest`, `knee`, `best`, or any architecture the run evaluated, by id.

    Without `out`, it is ID.onnx in the current folder. Raises RunError for an id the run does not know.
    """
    run = RunFolder(run_path)
    run.read()
    rows = {row.arch_id: row for row in read_front(run.front)}
    row = named(list(rows.values())).get(arch) or rows.get(arch)
    if row is not None:
        model = _model(run, row)
        out = out or Path(f"{row.arch_id}.onnx")
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(model, out)
        return out
    return _export_evaluated(run_path, arch, out or Path(f"{arch}.onnx"))


def _export_evaluated(run_path: Path, arch_id: str, out: Path) -> Path:
    """An architecture that is not on the front: from its own weights, or extracted from the supernet anew."""
    run, config, space = reopen(run_path, {})
    database = RunDatabase.existing(run.database)
    evaluation = database.evaluations().get(arch_id)
    database.close()
    if evaluation is None:
        raise RunError(
            f"{run_path} evaluated no architecture {arch_id!r}; give fastest, knee, best, or an id of front.csv"
        )
    data = load_for(space, config, run)
    networks = _networks(run, config, space, data)
    export_evaluated(evaluation, out, space, data, networks, batch=config.batch, precision=config.precision)
    return out


def _networks(run: RunFolder, config: SearchConfig, space: SearchSpace, data: Dataset) -> Networks:
    if config.strategy == GRADIENT:
        return TrainedNetworks(run, space, NetworkJudge(data, torch.device("cpu")))
    supernet = Supernet(space)
    load_supernet(supernet, run.supernet)
    return SubnetJudge(supernet, data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """A row of the front, measured again."""

    row: FrontRow
    timing: Timing
    within_budget: bool

    def describe(self) -> dict[str, object]:
        return {
            "arch_id": self.row.arch_id,
            "predicted_ms": self.row.predicted_ms,
            "measured_then_ms": self.row.measured_ms,
            "measured_ms": self.timing.p10_ms,
            "measured_median_ms": self.timing.median_ms,
            "measured_p90_ms": self.timing.p90_ms,
            "error": self.row.predicted_ms / self.timing.p10_ms - 1,
            "within_budget": self.within_budget,
        }


def verify(run_path: Path, reporter: Reporter) -> list[Verification]:
    """Measures the front's ONNX files again, on the device of the run. Raises RunError on another one."""
    run, config, space = reopen(run_path, {})
    rows = read_front(run.front)
    facts = run.read("conditions")
    conditions = conditions_of(config)
    _require_device(run_path, conditions, facts["conditions"])
    models = []
    for row in rows:
        model = OnnxModel(_model(run, row).read_bytes(), conditions.options)
        models.append(model)
    session = timed_winners(space, conditions, models, LatencyPredictor.load(run.predictor), config.seed, reporter)
    return [
        Verification(row=row, timing=timing, within_budget=timing.statistic_ms(config.budget_on) <= row.budget_ms)
        for row, timing in zip(rows, session.timings, strict=True)
    ]


def _model(run: RunFolder, row: FrontRow) -> Path:
    path = run.path / row.onnx
    if not path.is_file():
        raise RunError(
            f"{path}: the model of {row.arch_id} is missing; restore it, or search again under another --out"
        )
    return path


def _require_device(run_path: Path, conditions: Conditions, then: dict[str, object]) -> None:
    found = differences(conditions.describe(), then)
    if found:
        raise RunError(f"{run_path}: the run was measured elsewhere: {'; '.join(found)}; verify it there")
