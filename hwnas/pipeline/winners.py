"""After a search: exporting one of its architectures, and measuring the front again."""

import json
import shutil
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import torch
from torch import nn

from hwnas.core.reporter import Reporter
from hwnas.core.space import SearchSpace
from hwnas.data.dataset import Dataset
from hwnas.errors import DeviceError, RunError, UnknownNameError
from hwnas.pipeline.config import GRADIENT, SearchConfig
from hwnas.pipeline.deploy import export_evaluated, loaded_winner, timed_winners
from hwnas.pipeline.gradient import TrainedNetworks
from hwnas.pipeline.request import load_for, reopen
from hwnas.predict.predictor import LatencyPredictor
from hwnas.profiler.device import Conditions, conditions_here, differences
from hwnas.profiler.protocol import Timing
from hwnas.runs.database import RunDatabase
from hwnas.runs.folder import RunFolder
from hwnas.runs.front import FrontRow, named, read_front
from hwnas.supernet.network import Supernet
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
    """Measures the front's networks as the run's runtime runs them, again or for the first time, on the device of the run.

    Raises RunError elsewhere.
    """
    run, config, space = reopen(run_path, {})
    rows = read_front(run.front)
    conditions = _conditions(run, config)
    networks = cache(lambda: _networks(run, config, space, load_for(space, config, run)))

    def extract(row: FrontRow) -> nn.Module:
        return networks().extract(space.arch(json.loads(row.arch)))

    models = [loaded_winner(conditions, _model(run, row), partial(extract, row)) for row in rows]
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


def _conditions(run: RunFolder, config: SearchConfig) -> Conditions:
    """Those of the run, on this machine. Raises RunError where it is not the run's device."""
    then = run.read("conditions")["conditions"]
    try:
        here = conditions_here(
            then["device"],  # of a run for a shipped device, not the configuration's
            threads=config.threads,
            batch=config.batch,
            precision=config.precision,
            runtime=then["runtime"].split()[0],
            runtime_options=config.runtime_options,
        )
        found = differences(here.describe(), then)
    except (DeviceError, UnknownNameError) as error:
        found = [str(error)]
    if found:
        raise RunError(
            f"{run.path}: the run is of another device than this: {'; '.join(found)}; copy it there, and verify it there"
        )
    return here
