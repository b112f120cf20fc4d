"""The claims that a finished run makes, checked from its files alone: nothing is timed."""

import math
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from hwnas.core.precise import FLOAT32
from hwnas.core.reporter import Silent
from hwnas.data.dataset import Dataset
from hwnas.errors import RunError
from hwnas.pipeline.checked import CheckedRequest, checked_request
from hwnas.pipeline.models import Exporter, answers, loaded_model, test_metrics
from hwnas.pipeline.request import reopen
from hwnas.pipeline.rows import are_beaten
from hwnas.pipeline.target import by_precision
from hwnas.pipeline.weights import RunWeights
from hwnas.profiler.device import tolerance
from hwnas.profiler.export import file_precision
from hwnas.profiler.runtime import Model
from hwnas.runs.database import Evaluation
from hwnas.runs.folder import RunFolder
from hwnas.runs.front import FrontRow, options_of, read_front
from hwnas.runs.objectives import read_goal

# How far a metric of a model, run again, may be from the table's.
METRIC_TOLERANCE = 1e-4
# Trained weights amplify the rounding of float32 more than the fresh ones that the tolerance is for: up to 4e-4 was met.
TRAINED = 10
# Test samples in one pass of torch.
COMPARED = 256
TINY = 1e-12
COLUMNS = {"p10": "measured_ms", "median": "measured_median_ms", "p90": "measured_p90_ms"}


def check_claims(run_path: Path) -> list[dict[str, Any]]:
    """Returns every claim with whether it holds, and how far off it is.

    Raises RunError that names the claims that do not hold.
    """
    run, request, space = reopen(run_path, {})
    checked, rows = checked_request(request, space, run), read_front(run.front)
    claims = [*_of_the_front(run, request.goal.budget_on, rows), *_of_the_models(run, checked, rows)]
    broken = [claim for claim in claims if not claim["holds"]]
    if broken:
        raise RunError(f"{run_path}: " + "; ".join(f"not {claim['claim']} ({claim['detail']})" for claim in broken))
    return claims


def _of_the_front(run: RunFolder, budget_on: str, rows: list[FrontRow]) -> Iterator[dict[str, Any]]:
    beaten = int(are_beaten(rows, read_goal(run).objectives).sum())
    yield _claim("no network is dominated within its budget", beaten == 0, f"{beaten} of {len(rows)} are")
    column = COLUMNS[budget_on]
    over = sum(
        not latency.within_budget
        or (
            latency.budget_ms is not None
            and latency.measured_ms is not None
            and getattr(latency, column) > latency.budget_ms
        )
        for row in rows
        for latency in row.latencies
    )
    close = sum(row.within_noise for row in rows)
    words = f"{over} are over, {close} within by less than the noise of a measurement"
    yield _claim(f"all are within their budgets ({budget_on})", over == 0, words)
    errors = [abs(latency.error) for row in rows for latency in row.latencies if latency.error is not None]
    if errors:
        inside = sum(latency.in_interval for row in rows for latency in row.latencies if latency.error is not None)
        words = f"median {100 * np.median(errors):.2f} %, worst {100 * max(errors):.2f} %"
        words += f"; {inside} of {len(errors)} in the interval"
        yield _claim("latencies were predicted and measured", True, words)


def _of_the_models(run: RunFolder, checked: CheckedRequest, rows: list[FrontRow]) -> Iterator[dict[str, Any]]:
    """Every model against its network in torch, and its metrics on the test split against the table's, in every precision."""
    weights = RunWeights(run, checked, Silent())
    exporter = Exporter(run=run, space=checked.space, data=checked.data, targets=checked.targets)
    first, *others = by_precision(checked.targets)
    for end, target in [("", first), *((f"@{target.name}", target) for target in others)]:
        worst_output, worst_metric, are_alike = 0.0, 0.0, True
        for row in rows:
            evaluation = Evaluation(checked.space.arch(options_of(row, run.path)), tuple(row.stages.split(" > ")), {})
            module = weights.networks(evaluation).network(evaluation.arch).cpu()
            model = loaded_model(
                target.here, exporter.path(row.arch_id, target), partial(_itself, module), checked.space
            )
            precision = file_precision(module, target.precision_here)
            allowed = tolerance(target.here.device, precision, target.runtime_options)
            apart = _apart(model, module, checked.data, target.here.batch)
            are_alike &= apart <= allowed * (TRAINED if precision == FLOAT32 else 1)
            worst_output = max(worst_output, apart)
            metrics = test_metrics(model, checked.data, checked.task, target.here.batch)
            worst_metric = max([worst_metric, *_distances(row, metrics, f"_test{end}")])
        on = f" ({target.name})" if others else ""
        yield _claim(f"models give what their networks give in torch{on}", are_alike, f"{worst_output:.1e} apart")
        yield _claim(
            f"test metrics are those of the models{on}", worst_metric <= METRIC_TOLERANCE, f"{worst_metric:.1e} apart"
        )


@torch.inference_mode()
def _apart(model: Model, module: nn.Module, data: Dataset, batch: int) -> float:
    """Returns how far a model's outputs are from torch's over the test split: the root mean square of the differences, relative
    to that of the outputs.

    Single inputs tell little of a quantised model: one beyond the range that it was calibrated on may be off by half.
    """
    found, apart, size, start = answers(model, data, batch), 0.0, 0.0, 0
    while part := list(islice(found, max(1, COMPARED // batch))):
        outputs = torch.cat([outputs for outputs, _ in part])
        expected = module(data.inputs(data.test.raw[start : start + len(outputs)]))
        apart += float((outputs - expected).square().sum())
        size += float(expected.square().sum())
        start += len(outputs)
    return math.sqrt(apart / max(size, TINY))


def _itself(module: nn.Module) -> nn.Module:
    return module


def _distances(row: FrontRow, metrics: Mapping[str, float], end: str) -> list[float]:
    return [
        abs(row.metrics[f"{name}{end}"] - value) / max(1.0, abs(value))
        for name, value in metrics.items()
        if f"{name}{end}" in row.metrics
    ]


def _claim(words: str, holds: bool, detail: str) -> dict[str, Any]:
    return {"claim": words, "holds": bool(holds), "detail": detail}
