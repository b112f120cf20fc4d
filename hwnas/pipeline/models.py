"""The models of a run: exported to ONNX with what a user must know of them, loaded again, and run on the test split."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
import torch
from torch import Tensor, nn

import hwnas
from hwnas.core.precise import FLOAT32
from hwnas.core.space import SearchSpace
from hwnas.data.dataset import Dataset
from hwnas.evaluate.evaluator import Networks
from hwnas.evaluate.stages import calibration_inputs
from hwnas.pipeline.target import Target
from hwnas.profiler.device import WHOLE, Conditions, onnx_precision
from hwnas.profiler.export import DYNAMIC, Batch, export_onnx, file_precision
from hwnas.profiler.runtime import Forms, Model
from hwnas.profiler.step import in_step, shape_in_step
from hwnas.runs.database import Evaluation
from hwnas.runs.folder import RunFolder
from hwnas.tasks.task import Task


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Exporter:
    """Writes a model file per architecture, and one more for devices of another precision or batch size."""

    run: RunFolder
    space: SearchSpace
    data: Dataset
    targets: Sequence[Target]

    def path(self, arch_id: str, target: Target) -> Path:
        """Returns where the model of an architecture is for a device."""
        return model_path(self.run, arch_id, target, self.targets)

    def files(self, arch_id: str) -> dict[Path, Target]:
        """Returns every model file of an architecture, with the first device that it is for."""
        return {self.path(arch_id, target): target for target in reversed(self.targets)}

    def export(self, evaluation: Evaluation, networks: Networks, predicted_ms: Mapping[str, float]) -> None:
        """Writes the models of an evaluated architecture for all devices; `predicted_ms` is by the device's name."""
        for path, target in self.files(evaluation.arch.id).items():
            self.export_to(path, target, evaluation, networks, predicted_ms[target.name])

    def export_to(
        self, path: Path, target: Target, evaluation: Evaluation, networks: Networks, predicted_ms: float | None
    ) -> None:
        """Writes one model for a device; quantised ones are calibrated on training data.

        `predicted_ms` is None for a batch size that nothing is predicted of.
        """
        batch, precision, step = _form(target)
        module = networks.network(evaluation.arch).cpu()
        lowest = file_precision(module, precision)
        facts = {"hwnas.precision": lowest}
        if predicted_ms is not None:
            facts["hwnas.predicted_ms"] = repr(predicted_ms)
        export_onnx(
            in_step(step, module, self.space.input_shape, self.space.vocabulary, target.conditions["batch"]),
            shape_in_step(step, self.space.input_shape),
            path,
            batch=batch,
            metadata=model_metadata(self.space, self.data, evaluation.arch.key) | facts,
            vocabulary=self.space.vocabulary,
            precision=precision,
            calibration=calibration_inputs(self.data, 1 if batch == DYNAMIC else batch) if lowest != FLOAT32 else (),
        )

    def discard_others(self, arch_ids: Sequence[str]) -> None:
        """Deletes the models of architectures that are not on the front; their measurements stay in the database."""
        kept = {self.path(arch_id, target) for arch_id in arch_ids for target in self.targets}
        for path in (self.run.path / "models").glob("*.onnx"):
            if path not in kept:
                path.unlink()


def model_path(run: RunFolder, arch_id: str, target: Target, targets: Sequence[Target]) -> Path:
    """Returns the model file of an architecture for a device: that of the first device, unless the form differs."""
    batch, precision, step = _form(target)
    if (batch, precision, step) == _form(targets[0]):
        return run.model(arch_id)
    return run.model(f"{arch_id}-{precision}-batch{batch}{'' if step == WHOLE else f'-{step}'}")


def _form(target: Target) -> tuple[Batch, str, str]:
    """The batch size, the precision and the step of the ONNX file that a device needs."""
    return target.conditions["batch"], onnx_precision(target.conditions["precision"]), target.step


def model_metadata(space: SearchSpace, data: Dataset, arch_key: str) -> dict[str, str]:
    """Returns what an ONNX file says of itself: how it was made, and how to prepare its input."""
    made = {
        "hwnas.version": hwnas.__version__,
        "hwnas.space": json.dumps(space.describe()),
        "hwnas.arch": arch_key,
    }
    return made | data.metadata()


def loaded_model(conditions: Conditions, path: Path, extract: Callable[[], nn.Module], space: SearchSpace) -> Model:
    """Returns a network as it will be deployed: its ONNX file, or where the runtime takes modules, what `extract` copies."""

    def module() -> nn.Module:
        return in_step(conditions.step, extract().cpu(), space.input_shape, space.vocabulary, conditions.batch)

    model, _ = conditions.load(Forms(module=module, onnx=path.read_bytes))
    return model


def test_metrics(model: Model, data: Dataset, task: Task, batch: int) -> Mapping[str, float]:
    """Returns the task's metrics of a loaded model on the test split."""
    return task.score(answers(model, data, batch))


def answers(model: Model, data: Dataset, batch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields outputs and labels of the test split, in batches as the model takes them; the last is filled up by repetition."""
    raw, labels = data.test.raw, data.test.labels
    for start in range(0, len(raw), batch):
        part = raw[start : start + batch]
        x = data.inputs(np.resize(part, (batch, *part.shape[1:])))
        yield torch.from_numpy(model.run(x.numpy())[: len(part)]), torch.from_numpy(labels[start : start + batch])
