"""Exports networks to ONNX, and checks each model against torch before it is used.

The TorchScript exporter (`dynamo=False`) is used: it writes static float32 graphs of plain modules in 12-20 ms per
block, where the dynamo exporter takes 0.8 s. It is deprecated, so its warnings are filtered in this module and nowhere else.
"""

import io
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import onnx
import torch
from torch import nn
from torch.onnx import symbolic_helper

from hwnas.core.files import replace_file
from hwnas.core.operator import Shape
from hwnas.core.precise import FLOAT32, PRECISIONS
from hwnas.errors import ExportError, UnknownNameError
from hwnas.modules.precise import precisions_of
from hwnas.profiler.device import TOLERANCES
from hwnas.profiler.precision import converted
from hwnas.profiler.runtime import PAST, InputArray, RuntimeOptions, require_output
from hwnas.profiler.runtime_onnx import OnnxModel
from hwnas.profiler.step import Decoder

OPSET: Final = 17


@symbolic_helper.parse_args("v", "is", "v", "f")
def _rms_norm(graph: Any, x: Any, shape: list[int], weight: Any, eps: float | None) -> Any:
    """Writes the root mean square norm (Zhang and Sennrich 2019), which the exporter does not know, as plain operations."""
    least = torch.tensor(torch.finfo(torch.float32).eps if eps is None else eps)
    mean = graph.op("ReduceMean", graph.op("Mul", x, x), axes_i=[-1 - number for number in range(len(shape))])
    normed = graph.op("Div", x, graph.op("Sqrt", graph.op("Add", mean, graph.op("Constant", value_t=least))))
    return normed if weight.node().mustBeNone() else graph.op("Mul", normed, weight)


torch.onnx.register_custom_op_symbolic("aten::rms_norm", _rms_norm, OPSET)  # type: ignore[attr-defined]
# The batch size of a file, or an axis that is left open.
DYNAMIC: Final = "dynamic"
Batch = int | Literal["dynamic"]
# The batch size that a model with an open axis is traced at, and those that it is checked at.
TRACED: Final = 2
CHECKED: Final = (1, 3)


def to_onnx(
    module: nn.Module,
    input_shape: Shape,
    *,
    batch: Batch = 1,
    vocabulary: int | None = None,
) -> bytes:
    """Returns the ONNX model of a module in eval mode: input `input` of shape (batch, *input_shape), output `output`.

    A `dynamic` batch is an axis called `batch` of both. A `Decoder` has further inputs `past_key_0`, `past_value_0`, ... of shape
    (batch, heads, past, head size), whose axis `past` is open, and further outputs `present_key_0`, ... of one position more.
    The model's property `hwnas.past` is the number of earlier positions that it is measured at.
    """
    module.eval()
    size, axes = (TRACED, {"input": {0: "batch"}, "output": {0: "batch"}}) if batch == DYNAMIC else (batch, {})
    inputs = {"input": example_input(input_shape, size, vocabulary)}
    if not isinstance(module, Decoder):
        return _exported(module, inputs, ["output"], axes)
    past = {f"past_{name}": tensor for name, tensor in zip(module.names, module.cache, strict=True)}
    present = [f"present_{name}" for name in module.names]
    axes |= {name: {2: "past"} for name in past} | {name: {2: "present"} for name in present}
    model = _exported(module.step, inputs | past, ["output", *present], axes)
    return _with_metadata(model, {PAST: str(module.past)})


def _exported(
    module: nn.Module, inputs: Mapping[str, torch.Tensor], outputs: Sequence[str], axes: Mapping[str, Mapping[int, str]]
) -> bytes:
    """Returns the ONNX model of a module; `axes` names open axes, by input or output and the number of the axis."""
    buffer: Any = io.BytesIO()  # torch's annotation knows only paths
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", category=UserWarning, module=r"torch\.onnx")
        # Group norms check their sizes, which a trace makes tensors.
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning, module=r"torch\.nn")  # type: ignore[attr-defined]
        torch.onnx.export(
            module,
            tuple(inputs.values()),
            buffer,
            dynamic_axes=axes,
            dynamo=False,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=list(outputs),
        )
    return bytes(buffer.getvalue())


def file_precision(module: nn.Module, precision: str) -> str:
    """Returns the lowest precision in the model file of a module that is exported in `precision`."""
    return next((name for name in precisions_of(module).values() if name != FLOAT32), precision)


def deployed_onnx(
    module: nn.Module,
    input_shape: Shape,
    calibration: Sequence[InputArray],
    *,
    precision: str = FLOAT32,
    batch: Batch = 1,
    vocabulary: int | None = None,
) -> bytes:
    """Returns the ONNX model of a module, as `to_onnx` does, in `precision`; marked parts of a module have their own.

    What is quantised is calibrated on the inputs `calibration`, (batch, *input_shape) each. Raises ExportError without any.
    """
    model = to_onnx(module, input_shape, batch=batch, vocabulary=vocabulary)
    return converted(model, calibration, {"": precision, **precisions_of(module)})


def annotate(path: Path, metadata: Mapping[str, str]) -> None:
    """Adds metadata properties to an ONNX file."""
    replace_file(path, _with_metadata(path.read_bytes(), metadata))


def _with_metadata(content: bytes, metadata: Mapping[str, str]) -> bytes:
    model = onnx.load_model_from_string(content)
    properties = {item.key: item.value for item in model.metadata_props} | dict(metadata)
    onnx.helper.set_model_props(model, properties)
    return model.SerializeToString()  # type: ignore[no-any-return]


def example_input(input_shape: Shape, batch: int, vocabulary: int | None = None) -> torch.Tensor:
    """Returns a fixed input of shape (batch, *input_shape).

    The input is float32 with the statistics of normalised data, or int64 token ids below `vocabulary`.
    """
    generator = torch.Generator().manual_seed(0)
    if vocabulary is not None:
        return torch.randint(vocabulary, (batch, *input_shape), generator=generator)
    return torch.randn((batch, *input_shape), generator=generator)


@torch.no_grad()
def checked(
    model: bytes, module: nn.Module, x: torch.Tensor, options: RuntimeOptions, *, precision: str = "fp32"
) -> OnnxModel:
    """Returns the loaded model, bound to the input `x`, after a comparison with torch on that input.

    Raises ExportError if the outputs differ by more than the precision's tolerance.
    """
    loaded = OnnxModel(model, options)
    require_output(loaded, x.numpy(), module.eval()(x).numpy(), TOLERANCES[precision])
    loaded.bind(x.numpy())
    return loaded


def export_onnx(
    module: nn.Module,
    input_shape: Shape,
    path: str | Path,
    *,
    batch: Batch = 1,
    metadata: Mapping[str, str] | None = None,
    vocabulary: int | None = None,
    precision: str = "fp32",
    calibration: Sequence[InputArray] = (),
) -> None:
    """Writes a module as an ONNX file, after a check against torch on ONNX Runtime's CPU provider.

    The file's input is `input`, of shape (batch, *input_shape), float32 or int64 token ids below `vocabulary`; its output is
    `output`. With batch "dynamic" the file takes any batch size, and is checked at two. `metadata` becomes the file's metadata
    properties, beside those of a module that has some (`SearchResult.model`). `precision` int8, or a network with blocks in
    int8, needs `calibration`, inputs of that shape; the first of them serves for the check. Raises UnknownNameError;
    ExportError if the outputs differ by more than 1e-4 (int8: 0.5) of the largest.
    """
    if precision not in PRECISIONS:
        raise UnknownNameError("precision", precision, list(PRECISIONS))
    model = deployed_onnx(module, input_shape, calibration, precision=precision, batch=batch, vocabulary=vocabulary)
    for size in CHECKED if batch == DYNAMIC else (batch,):
        if len(calibration):
            x = torch.from_numpy(np.resize(calibration[0], (size, *input_shape)))
        else:
            x = example_input(input_shape, size, vocabulary)
        try:
            checked(model, module, x, RuntimeOptions(), precision=file_precision(module, precision))
        except ExportError:
            raise
        except Exception as error:  # ONNX Runtime's classes have no common base
            reason = " ".join(str(error).split())
            advice = "; give a fixed batch size" if batch == DYNAMIC else ""
            raise ExportError(f"{path}: the model fails at batch size {size}: {reason}{advice}") from error
    own = getattr(module, "metadata", None)
    replace_file(Path(path), _with_metadata(model, {**(own if isinstance(own, Mapping) else {}), **(metadata or {})}))
