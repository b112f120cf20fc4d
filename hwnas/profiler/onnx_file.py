"""ONNX files from anywhere, as models that can be measured: one input, one output, and no open axis but the batch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import onnx
from onnx import helper
from onnx.external_data_helper import uses_external_data

from hwnas.core.operator import Shape
from hwnas.errors import DeviceError, ExportError, is_out_of_memory
from hwnas.profiler.device import WHOLE, Conditions
from hwnas.profiler.runtime import Forms, InputArray, Model

FIX: Final = "python -m onnxruntime.tools.make_dynamic_shape_fixed"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxFile:
    """An ONNX model and its input: `input_shape` is that of one sample, `batch` is None for an open batch axis.

    Whole numbers of an input are below `numbers`: token ids, or the levels of pixels.
    """

    path: str
    content: bytes
    input_shape: Shape
    batch: int | None
    dtype: np.dtype[Any]
    numbers: int

    def example(self, batch: int) -> InputArray:
        """Returns a fixed input of shape (batch, *input_shape)."""
        rng, shape = np.random.default_rng(0), (batch, *self.input_shape)
        if self.dtype.kind == "f":
            return rng.standard_normal(shape).astype(self.dtype)
        return rng.integers(self.numbers, size=shape).astype(self.dtype)

    def load(self, conditions: Conditions) -> tuple[Model, int]:
        """Returns the model, loaded and bound to an input, and its size in bytes. Raises ExportError, DeviceError."""
        if self.batch not in (None, conditions.batch):
            raise ExportError(
                f"{self.path}: has a batch of {self.batch}, not {conditions.batch}; give --batch {self.batch}, or a file "
                "whose batch axis is open"
            )
        if conditions.precision == "int8":
            raise DeviceError(
                f"{self.path}: a file runs in the precision it has; leave out --precision int8, and give a quantised file"
            )
        if conditions.step != WHOLE:
            raise DeviceError(f"{self.path}: a file runs as it is; leave out --step, or give the torch module")
        model, size = conditions.load(Forms(module=self._no_module, onnx=lambda: self.content))
        try:
            model.bind(self.example(conditions.batch))
        except Exception as error:  # ONNX Runtime's classes have no common base
            if is_out_of_memory(error):
                raise
            reason = " ".join(str(error).split())
            raise ExportError(
                f"{self.path}: fails at a batch of {conditions.batch}: {reason}; export it again for that --batch"
            ) from error
        return model, size

    def _no_module(self) -> Any:
        raise DeviceError(
            f"{self.path}: PyTorch runs no .onnx file; leave out --runtime torch, or give the torch module"
        )


def read_onnx(path: Path) -> OnnxFile:
    """Returns an ONNX file with its weights, also where these are in files beside it.

    Raises ExportError for what is no ONNX model, or none that can be measured; the message says what to do.
    """
    if not path.is_file():
        raise ExportError(f"{path}: no such file; give a file of ONNX, or FILE.py:NAME for a torch module")
    model, content = _read(path)
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    if len(inputs) != 1 or len(graph.output) != 1:
        raise ExportError(
            f"{path}: has {_counted(len(inputs), 'input')} and {_counted(len(graph.output), 'output')}; give a model of one "
            "each: `onnx.utils.extract_model` cuts one out, and inputs that never change can be made initializers"
        )
    kind = inputs[0].type.tensor_type
    axes = _axes(kind)
    shape = [size for size in axes[1:] if size is not None]
    if not axes or len(shape) < len(axes) - 1:
        open_axis = f"axis {axes.index(None, 1)} of its input {inputs[0].name!r} is open" if axes else ""
        raise ExportError(
            f"{path}: {open_axis or 'the shape of its input is not known'}, and only the batch may be; fix it by `{FIX} "
            f"--input_name {inputs[0].name} --input_shape 1,... {path} FIXED.onnx`"
        )
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(kind.elem_type))
    if dtype.kind not in "fiu":
        raise ExportError(f"{path}: its input is of {dtype}, not of numbers; give a model that takes numbers")
    numbers = 256 if dtype == np.uint8 else _rows_looked_up(graph, inputs[0].name)
    return OnnxFile(
        path=str(path), content=content, input_shape=tuple(shape), batch=axes[0], dtype=dtype, numbers=numbers
    )


def _read(path: Path) -> tuple[onnx.ModelProto, bytes]:
    """Returns the model, and the bytes of a file that holds its weights, too."""
    try:
        model = onnx.load(path, load_external_data=False)
        outside = any(uses_external_data(tensor) for tensor in model.graph.initializer)
        if outside:
            model = onnx.load(path)
        content = model.SerializeToString() if outside else path.read_bytes()
    except Exception as error:  # protobuf's classes and ONNX's have no common base
        if is_out_of_memory(error):
            raise
        raise ExportError(f"{path}: is not an ONNX model ({' '.join(str(error).split())}); export it again") from error
    if not model.graph.node:
        raise ExportError(f"{path}: is not an ONNX model (it has no operations); export it again")
    return model, content


def _axes(kind: Any) -> list[int | None]:
    """Returns the size of every axis, None for an open one; nothing for a shape that is not known."""
    return [axis.dim_value if axis.dim_value > 0 else None for axis in kind.shape.dim]


def _rows_looked_up(graph: onnx.GraphProto, name: str) -> int:
    """Returns the rows of the table that the input is looked up in, so that ids are below it; 1 where none is found."""
    weights = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Gather" and node.input[1] == name and node.input[0] in weights:
            return max(1, int(weights[node.input[0]].dims[0]))
    return 1


def _counted(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
