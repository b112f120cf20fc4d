"""From evaluated architectures to a front of ONNX files, each network timed as the run's runtime runs it, where its device is."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

import hwnas
from hwnas.core.arch import Arch
from hwnas.core.reporter import Reporter
from hwnas.core.space import SearchSpace
from hwnas.data.dataset import Dataset
from hwnas.errors import BudgetError
from hwnas.pipeline.limits import MIB
from hwnas.pipeline.plots import draw
from hwnas.pipeline.target import Target
from hwnas.predict.predictor import LatencyPredictor
from hwnas.profiler.device import Conditions, onnx_precision
from hwnas.profiler.export import annotate, example_input, export_onnx
from hwnas.profiler.measure import timed
from hwnas.profiler.profile import network_subject
from hwnas.profiler.protocol import Protocol, Session, Timing
from hwnas.profiler.runtime import Forms, InputArray, Model
from hwnas.runs.database import Evaluation, RunDatabase, Winner
from hwnas.runs.folder import RunFolder
from hwnas.runs.front import FrontRow, read_front, write_front
from hwnas.strategies.pareto import non_dominated
from hwnas.train.loop import Networks, score

GROUP_SIZE: Final = 16  # models loaded at a time
# Training samples that give a quantised model the ranges of its activations.
CALIBRATED: Final = 128
# Winners are few, and decide what the user gets: more rounds than a table's.
PROTOCOL: Final = Protocol(rounds=20)
# What is not cancelled by a reference, as within a table, must be waited for: about the device's repeat noise.
SLOWER: Final = 0.02
# The latencies that a front is one in.
LATENCIES: Final = ("predicted_ms", "measured_ms", "measured_median_ms")


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What the last stage of a run works with."""

    run: RunFolder
    space: SearchSpace
    data: Dataset
    target: Target
    predictor: LatencyPredictor
    networks: Networks
    database: RunDatabase
    budget_ms: float
    budget_on: str
    seed: int
    energy: LatencyPredictor | None = None

    def judged_ms(self, arch: Arch, measured_ms: float | None) -> float:
        """What a budget is held against: the statistic as measured, or where it is not, the upper end of its interval."""
        if measured_ms is not None:
            return measured_ms
        return float(self.predictor.upper_ms(self.space.encode([arch]), self.budget_on)[0])


def deploy(job: Deployment, reporter: Reporter) -> list[FrontRow]:
    """Exports and measures the front, until every point of it is measured and within budget; writes all its files. Where the
    device is not here, what is said of latencies is by prediction.

    What is over budget when measured leaves, and so do architectures that would miss the budget by as much as the worst
    so far: points behind them take their places. Raises BudgetError where nothing is left.
    """
    evaluations = job.database.evaluations()
    while True:
        winners = job.database.winners()
        front = _predicted_front(job, evaluations, winners)
        new = [arch_id for arch_id in front if arch_id not in winners]
        if not new:
            break
        measure(job, [evaluations[arch_id] for arch_id in new], reporter)
    if not front:
        job.database.forget_winners(winners)  # so that a resumed run measures anew
        least = min(_judged_ms(job, evaluations[arch_id], winner) for arch_id, winner in winners.items())
        raise BudgetError(
            f"no network stayed within {job.budget_ms:.4g} ms when measured; the fastest took {least:.4g} ms "
            f"({job.budget_on}); if the device is busy, --resume measures again when it is not; else allow more"
        )
    return deployed(job, dict.fromkeys(front, job.budget_ms))


def measure(job: Deployment, evaluations: Sequence[Evaluation], reporter: Reporter) -> None:
    """Exports architectures and measures them, into the run's folder and database: on test data, and where the device is
    here, their latency."""
    for evaluation in reporter.track(evaluations, "exporting models"):
        export_evaluated(
            evaluation,
            job.run.model(evaluation.arch.id),
            job.space,
            job.data,
            job.networks,
            batch=job.target.conditions["batch"],
            precision=job.target.conditions["precision"],
        )
    for start in range(0, len(evaluations), GROUP_SIZE):
        job.database.add_winners(_measured(job, evaluations[start : start + GROUP_SIZE], reporter))


def deployed(job: Deployment, budgets_ms: Mapping[str, float]) -> list[FrontRow]:
    """Writes the front of measured architectures, given by id with the budget each is for; all its files."""
    evaluations, winners = job.database.evaluations(), job.database.winners()
    rows = [_row(job, evaluations[i], winners[i], budget_ms) for i, budget_ms in budgets_ms.items()]
    rows = _undominated(rows, LATENCIES if job.target.timed else LATENCIES[:1])
    for row in rows if job.target.timed else ():
        measured_by = ", ".join(job.target.conditions[name] for name in ("runtime", "precision", "hardware"))
        facts = {"hwnas.measured_ms": repr(row.measured_ms), "hwnas.measured_by": measured_by}
        annotate(job.run.path / row.onnx, facts)  # another runtime than the file's may have run the network
    _discard_models(job.run, keep=rows)
    write_front(job.run.front, rows)
    draw(job.run, "png", "html")
    return read_front(job.run.front)


def _predicted_front(
    job: Deployment, evaluations: Mapping[str, Evaluation], winners: Mapping[str, Winner]
) -> list[str]:
    """Ids of the architectures that no other beats, among those not known, or expected, to miss the budget."""
    over = [
        _judged_ms(job, evaluations[arch_id], winners[arch_id]) / evaluations[arch_id].predicted_ms
        for arch_id in winners
        if not winners[arch_id].within_budget
    ]
    highest_ms = job.budget_ms / max(over) if over else np.inf
    candidates = [
        arch_id
        for arch_id, evaluation in evaluations.items()
        if (winners[arch_id].within_budget if arch_id in winners else evaluation.predicted_ms < highest_ms)
    ]
    points = np.array([(evaluations[i].loss_val, evaluations[i].predicted_ms) for i in candidates])
    return [arch_id for arch_id, kept in zip(candidates, non_dominated(points), strict=True) if kept]


def export_evaluated(
    evaluation: Evaluation,
    path: Path,
    space: SearchSpace,
    data: Dataset,
    networks: Networks,
    *,
    batch: int,
    precision: str,
) -> None:
    """Writes the ONNX file of an architecture that is to be deployed in that precision; calibrated on training data."""
    precision = onnx_precision(precision)
    metadata = model_metadata(space, data, evaluation.arch.key)
    export_onnx(
        networks.extract(evaluation.arch).cpu(),  # a copy: the supernet stays where it is
        space.input_shape,
        path,
        batch=batch,
        metadata=metadata | {"hwnas.precision": precision, "hwnas.predicted_ms": repr(evaluation.predicted_ms)},
        vocabulary=space.vocabulary,
        precision=precision,
        calibration=calibration_inputs(data, batch) if precision != "fp32" else (),
    )


def calibration_inputs(data: Dataset, batch: int) -> list[InputArray]:
    """Inputs (batch, *input_shape) from the training split."""
    raw = data.train.raw[data.calibration_order()[:CALIBRATED]]
    batches = (raw[i : i + batch] for i in range(0, len(raw), batch))
    return [data.inputs(np.resize(part, (batch, *part.shape[1:]))).numpy() for part in batches]


def model_metadata(space: SearchSpace, data: Dataset, arch_key: str) -> dict[str, str]:
    """What an ONNX file says of itself: how it was made, and how to prepare its input."""
    made = {
        "hwnas.version": hwnas.__version__,
        "hwnas.space": json.dumps(space.describe()),
        "hwnas.arch": arch_key,
    }
    return made | data.metadata()


def _measured(job: Deployment, evaluations: Sequence[Evaluation], reporter: Reporter) -> dict[str, Winner]:
    archs = [evaluation.arch for evaluation in evaluations]
    models = [
        loaded_winner(job.target.here, job.run.model(arch.id), partial(job.networks.extract, arch)) for arch in archs
    ]
    timings: Sequence[Timing | None] = [None] * len(models)
    if job.target.timed:
        timings = timed_winners(job.space, job.target.here, models, job.predictor, job.seed, reporter).timings
    winners = {}
    for evaluation, model, timing in zip(evaluations, models, timings, strict=True):
        tested = score(_answers(model, job.data, job.target.here.batch))
        judged_ms = job.judged_ms(evaluation.arch, timing.statistic_ms(job.budget_on) if timing else None)
        winners[evaluation.arch.id] = Winner(
            loss_test=tested.loss,
            accuracy_test=tested.accuracy,
            measured_ms=timing.p10_ms if timing else None,
            measured_median_ms=timing.median_ms if timing else None,
            measured_p90_ms=timing.p90_ms if timing else None,
            within_budget=judged_ms <= job.budget_ms,
        )
    return winners


def _judged_ms(job: Deployment, evaluation: Evaluation, winner: Winner) -> float:
    return job.judged_ms(evaluation.arch, winner.statistic_ms(job.budget_on))


def loaded_winner(conditions: Conditions, path: Path, extract: Callable[[], nn.Module]) -> Model:
    """A network as it will be deployed: its ONNX file, or where the runtime takes modules, the one that `extract` copies."""
    model, _ = conditions.load(Forms(module=lambda: extract().cpu(), onnx=path.read_bytes))
    return model


def timed_winners(
    space: SearchSpace,
    conditions: Conditions,
    models: Sequence[Model],
    predictor: LatencyPredictor,
    seed: int,
    reporter: Reporter,
) -> Session:
    """Latencies of loaded networks, interleaved with the space's largest network as the reference of every round.

    Where that is slower than it was when the device was profiled, another try is worth more than a number of a disturbed
    machine; what remains of the drift is noted.
    """
    reference, _ = network_subject(space, space.largest(), conditions).load()
    x = example_input(space.input_shape, conditions.batch, space.vocabulary).numpy()
    for model in models:
        model.bind(x)
    profiled_ms = predictor.report.get("reference_ms")
    session = timed(
        models,
        reference,
        PROTOCOL,
        threads=conditions.threads,
        clock=conditions.clock(),
        expected_ms=profiled_ms,
        slower=SLOWER,
        rng=np.random.default_rng(seed),
        reporter=reporter,
    )
    unconverged = sum(not timing.converged for timing in session.timings)
    if unconverged:
        reporter.note(
            f"{unconverged} of these measurements did not converge: is the device busy? `hwnas verify` repeats them"
        )
    if profiled_ms:
        percent = 100 * session.reference.p10_ms / profiled_ms
        reporter.note(f"the reference network takes {percent:.1f} % of the time it took when the device was profiled")
    return session


def _answers(model: Model, data: Dataset, batch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Outputs and labels of the test split, in batches as the model takes them; the last is filled up by repetition."""
    raw, labels = data.test.raw, data.test.labels
    for start in range(0, len(raw), batch):
        part = raw[start : start + batch]
        x = data.inputs(np.resize(part, (batch, *part.shape[1:])))
        yield torch.from_numpy(model.run(x.numpy())[: len(part)]), torch.from_numpy(labels[start : start + batch])


def _undominated(rows: list[FrontRow], latencies: Sequence[str]) -> list[FrontRow]:
    """Rows that no other beats in validation loss and latency, be it any of these."""
    for latency in latencies:
        points = np.array([(row.loss_val, getattr(row, latency)) for row in rows])
        rows = [row for row, kept in zip(rows, non_dominated(points), strict=True) if kept]
    return rows


def _row(job: Deployment, evaluation: Evaluation, winner: Winner, budget_ms: float) -> FrontRow:
    arch = evaluation.arch
    low, high = job.predictor.interval
    return FrontRow(
        arch_id=arch.id,
        arch=arch.key,
        loss_val=evaluation.loss_val,
        accuracy_val=evaluation.accuracy_val,
        accuracy_test=winner.accuracy_test,
        perplexity_val=_perplexity(job.space, evaluation.loss_val),
        perplexity_test=_perplexity(job.space, winner.loss_test),
        predicted_ms=evaluation.predicted_ms,
        interval_low_ms=evaluation.predicted_ms * low,
        interval_high_ms=evaluation.predicted_ms * high,
        measured_ms=winner.measured_ms,
        measured_median_ms=winner.measured_median_ms,
        measured_p90_ms=winner.measured_p90_ms,
        within_budget=_judged_ms(job, evaluation, winner) <= budget_ms,
        budget_ms=budget_ms,
        params=job.space.cost("params", arch),
        flops=job.space.cost("flops", arch),
        model_mib=job.space.cost("bytes", arch) / MIB,
        peak_mib=job.space.cost("peak", arch) / MIB,
        energy_mj=None if job.energy is None else float(job.energy.predict_mj(job.space.encode([arch]))[0]),
        onnx=str(job.run.model(arch.id).relative_to(job.run.path)),
    )


def _perplexity(space: SearchSpace, loss: float) -> float | None:
    """None where the space takes no tokens."""
    if space.vocabulary is None:
        return None
    with np.errstate(over="ignore"):  # of a hopeless network: infinite
        return float(np.exp(loss))


def _discard_models(run: RunFolder, keep: Sequence[FrontRow]) -> None:
    """Models that left the front: their measurements stay in the database."""
    kept = {run.path / row.onnx for row in keep}
    for path in (run.path / "models").glob("*.onnx"):
        if path not in kept:
            path.unlink()
