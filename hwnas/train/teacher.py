"""External teachers: networks from outside the search whose outputs are imitated."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, final

import numpy as np
import torch
from torch import Tensor, nn

from hwnas.core.operator import Shape
from hwnas.core.references import IN_A_FILE, cause, imported, is_reference, resolve
from hwnas.errors import ExportError, HwnasError, TrainingError, UnknownNameError, is_the_users
from hwnas.profiler.runtime import ArrayF32, InputArray, RuntimeOptions
from hwnas.train.request import LARGEST

# Inputs of a batch to the outputs that a student imitates. Called without a gradient.
Teacher = Callable[[Tensor], Tensor]
IN_ONNX: Final = "FILE.onnx"


def external_teacher(reference: str, x: Tensor, output_shape: Shape, device: torch.device) -> Teacher:
    """Returns the teacher that `FILE.onnx` or `FILE.py:NAME` names: NAME is a torch module, or a function that returns one.

    A torch module runs on `device` in eval mode, an ONNX model on the CPU by ONNX Runtime. `x` are inputs of some examples, on
    which the teacher is tried. Raises UnknownNameError, and TrainingError for a file that cannot be loaded, or whose outputs
    do not have the networks' shape, (N, *output_shape).
    """
    teacher = _loaded(reference, device)
    try:
        outputs = taught(teacher, x.to(device))
    except BaseException as error:
        if isinstance(error, HwnasError) or not is_the_users(error):
            raise
        said = cause(error, reference.rpartition(":")[0])
        raise TrainingError(f"--teacher {reference} fails on inputs of shape {tuple(x.shape)}: {said}") from error
    expected = (len(x), *output_shape)
    if not isinstance(outputs, Tensor) or tuple(outputs.shape) != expected:
        given = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        raise TrainingError(
            f"--teacher {reference} gives {given} for inputs of shape {tuple(x.shape)}, and the networks of the space give "
            f"{expected}; give a teacher of the same task and classes"
        )
    if not outputs.isfinite().all():
        raise TrainingError(f"--teacher {reference} gives outputs that are not finite (NaN or infinity)")
    return teacher


def _loaded(reference: str, device: torch.device) -> Teacher:
    if reference.endswith(".onnx"):
        return _OnnxTeacher(Path(reference))
    if not is_reference(reference):
        raise UnknownNameError("teacher", reference, [LARGEST, IN_ONNX, IN_A_FILE])
    value = resolve("teacher", reference, {}, TrainingError)
    if not isinstance(value, nn.Module) and callable(value):
        try:
            value = value()
        except BaseException as error:
            if not is_the_users(error):
                raise
            said = cause(error, reference.rpartition(":")[0])
            raise TrainingError(f"--teacher {reference}: the function fails: {said}") from error
    if not isinstance(value, nn.Module):
        raise TrainingError(
            f"--teacher {reference} is a {type(value).__name__}, not a torch module or a function that returns one"
        )
    return value.to(device).eval()


@torch.no_grad()
def taught(teacher: Teacher, x: Tensor) -> Tensor:
    """Returns a teacher's outputs without a gradient."""
    return teacher(x)


@final
class _OnnxTeacher:
    """An ONNX model as a teacher."""

    def __init__(self, path: Path) -> None:
        try:
            model = path.read_bytes()
        except OSError as error:
            raise TrainingError(f"--teacher {path}: cannot be read ({error.strerror})") from None
        self._path = path
        try:
            # Imported here: ONNX Runtime is loaded only for such a teacher.
            make = imported("hwnas.profiler.runtime_onnx:OnnxModel")
            self._model = make(model, RuntimeOptions(threads=torch.get_num_threads()))
        except ExportError as error:
            raise TrainingError(f"--teacher {path}: {error}") from None

    def __call__(self, x: Tensor) -> Tensor:
        array = np.ascontiguousarray(x.cpu().numpy())
        return torch.from_numpy(np.concatenate([self._run(part) for part in self._parts(array)])).to(x.device)

    def _parts(self, array: InputArray) -> Sequence[InputArray]:
        """Splits a batch into batches of the size that the model takes, where it takes one size alone."""
        size = next(iter(self._model.input_shape), None)
        if not isinstance(size, int):
            return [array]
        if size < 1 or len(array) % size:
            raise TrainingError(
                f"--teacher {self._path} takes {size} examples at once, and a batch has {len(array)}; export it with a batch "
                "of 1, or of any size"
            )
        return [array[start : start + size] for start in range(0, len(array), size)]

    def _run(self, array: InputArray) -> ArrayF32:
        try:
            outputs: ArrayF32 = self._model.run(array)
        except Exception as error:  # ONNX Runtime's classes have no common base
            reason = " ".join(str(error).split())
            raise TrainingError(f"--teacher {self._path} fails on inputs of shape {array.shape}: {reason}") from error
        return outputs
