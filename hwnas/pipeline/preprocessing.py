"""Models that prepare images themselves: resizing, scaling and normalising as part of the graph.

Shapes: N images, R rows, C columns of pixels, K channels.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from onnx import TensorProto, compose, helper, numpy_helper, version_converter

from hwnas.core.files import json_of
from hwnas.errors import RunError
from hwnas.profiler.device import TOLERANCES
from hwnas.profiler.runtime import RuntimeOptions, require_output
from hwnas.profiler.runtime_onnx import OnnxModel

# The opset from which on Resize is antialiased.
OPSET: Final = 18
# The facts of a model's metadata that preparing an image takes (`Preparation.describe`, and the normalisation).
FACTS: Final = ("channels", "size", "resize", "antialias", "fit", "scale", "mean", "std")
# The way of resizing that is built here, the only one that data sets use.
RESIZING: Final = ("bilinear", True, "squash")
CHANNELS: Final = {"L": 1, "RGB": 3}
# Metadata of the model alone, which is not what the file with preprocessing takes.
OF_THE_MODEL: Final = ("hwnas.predicted_ms", "hwnas.measured_ms", "hwnas.measured_by")
PREFIX: Final = "preprocessing/"
PREPARED: Final = f"{PREFIX}prepared"


def with_preprocessing(content: bytes, where: Path) -> bytes:
    """Returns an ONNX model that takes images as they are: `image`, uint8 of shape (N, R, C, K) with any R and C.

    K are the channels that the metadata name (`hwnas.channels`). Orientation, transparency and grey of 16 bits remain to be
    done before, as `scripts/examples/prepare_image.py` does. Resizing is within one of 255 levels of Pillow's. Raises
    RunError for a model whose metadata do not say how images are prepared, ExportError where the two models disagree.
    """
    model = onnx.load_model_from_string(content)
    properties = {item.key: item.value for item in model.metadata_props}
    missing = [name for name in FACTS if f"hwnas.{name}" not in properties]
    if missing:
        raise RunError(
            f"{where}: does not say how images are prepared (no hwnas.{missing[0]}), for it was not trained on image files; "
            "leave out --with-preprocessing"
        )
    try:
        facts = {name: json_of(properties[f"hwnas.{name}"]) for name in FACTS}
    except ValueError as error:
        raise RunError(f"{where}: damaged ({error}); `hwnas search --resume` writes its models again") from None
    if (facts["resize"], facts["antialias"], facts["fit"]) != RESIZING or facts["channels"] not in CHANNELS:
        way = f"{facts['resize']} {facts['fit']} of {facts['channels']}"  # Pillow weighs colours by opacity
        raise RunError(f"{where}: {way} cannot be built into a model; leave out --with-preprocessing")
    kept = {name: value for name, value in properties.items() if name not in OF_THE_MODEL}
    model = version_converter.convert_version(model, OPSET)
    given = model.graph.input[0]
    first = _preprocessing(facts, given.type.tensor_type.shape.dim[0], model.ir_version)
    merged = compose.merge_models(first, model, io_map=[(PREPARED, given.name)])
    helper.set_model_props(merged, kept | {"hwnas.preprocessing": json.dumps("inside")})
    result: bytes = merged.SerializeToString()
    _require_same(result, content, facts, TOLERANCES[properties.get("hwnas.precision", "fp32")])
    return result


def _preprocessing(facts: Mapping[str, Any], batch: Any, ir_version: int) -> onnx.ModelProto:
    """Returns the graph from `image` to the model's input."""
    rows, columns = facts["size"]
    channels = CHANNELS[facts["channels"]]
    constants: dict[str, np.ndarray] = {
        "shape": np.array([channels, rows, columns], dtype=np.int64),
        "scale": np.array(facts["scale"], dtype=np.float32),
        "mean": np.array(facts["mean"], dtype=np.float32).reshape(-1, 1, 1),
        "std": np.array(facts["std"], dtype=np.float32).reshape(-1, 1, 1),
    }
    tensors = [numpy_helper.from_array(value, PREFIX + name) for name, value in constants.items()]
    shape, scale, mean, std = (tensor.name for tensor in tensors)
    planes, batch_size, sizes, resized, numbers, scaled, centred = (
        PREFIX + name for name in ("planes", "batch", "sizes", "resized", "numbers", "scaled", "centred")
    )
    nodes = [
        helper.make_node("Transpose", ["image"], [planes], perm=[0, 3, 1, 2]),
        # All four sizes: the optimiser of ONNX Runtime 1.31 breaks a Resize of two axes behind a Transpose.
        helper.make_node("Shape", ["image"], [batch_size], start=0, end=1),
        helper.make_node("Concat", [batch_size, shape], [sizes], axis=0),
        # Pillow's bilinear filter: wider where it shrinks, and of pixels inside the image alone.
        helper.make_node("Resize", [planes, "", "", sizes], [resized], mode="linear", antialias=1, exclude_outside=1),
        helper.make_node("Cast", [resized], [numbers], to=TensorProto.FLOAT),
        helper.make_node("Div", [numbers, scale], [scaled]),
        helper.make_node("Sub", [scaled, mean], [centred]),
        helper.make_node("Div", [centred, std], [PREPARED]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, [None, "rows", "columns", channels])
    prepared = helper.make_tensor_value_info(PREPARED, TensorProto.FLOAT, [None, channels, rows, columns])
    for value in (image, prepared):
        value.type.tensor_type.shape.dim[0].CopyFrom(batch)
    graph = helper.make_graph(nodes, "preprocessing", [image], [prepared], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=ir_version)


def _require_same(merged: bytes, alone: bytes, facts: Mapping[str, Any], tolerance: float) -> None:
    """Raises ExportError unless the model with preprocessing gives on images what the other gives on prepared ones."""
    given = OnnxModel(alone, RuntimeOptions())
    size = given.input_shape[0]
    shape = (size if isinstance(size, int) else 2, *facts["size"], CHANNELS[facts["channels"]])
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    mean, std = (np.array(facts[name], dtype=np.float32) for name in ("mean", "std"))
    x = ((images.astype(np.float32) / np.float32(facts["scale"]) - mean) / std).transpose(0, 3, 1, 2)
    expected = given.run(np.ascontiguousarray(x))
    require_output(OnnxModel(merged, RuntimeOptions()), images, expected, tolerance)
