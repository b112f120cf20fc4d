"""Models that prepare images themselves give what the models alone give on images that Pillow has prepared."""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from PIL import Image
from torch import nn

import hwnas
from hwnas.errors import RunError
from hwnas.modules.assemble import network
from hwnas.pipeline.preprocessing import with_preprocessing
from hwnas.profiler.export import export_onnx

FACTS: dict[str, Any] = {"orientation": "exif", "grey_range": [0, 65536], "background": [255, 255, 255]}
FACTS |= {"resize": "bilinear", "antialias": True, "fit": "squash", "scale": 255}
NAMES = {1: "L", 3: "RGB"}


def metadata(shape: tuple[int, ...], **others: Any) -> dict[str, str]:
    channels, rows, columns = shape
    facts = {"channels": NAMES[channels], "size": [rows, columns]}
    facts |= {"mean": [0.1 * (1 + channel) for channel in range(channels)], "std": [0.3] * channels}
    return {f"hwnas.{name}": json.dumps(value) for name, value in {**FACTS, **facts, **others}.items()}


def exported(path: Path, network: nn.Module, shape: tuple[int, ...], **options: Any) -> bytes:
    export_onnx(network, shape, path, metadata=metadata(shape), **options)
    return path.read_bytes()


def run(content: bytes, x: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(16, 12), (40, 30), (7, 200), (9, 5)])
def test_images_of_any_size_are_prepared_within_a_level_of_what_pillow_makes_of_them(
    tmp_path: Path, prepare_image: ModuleType, channels: int, size: tuple[int, int]
) -> None:
    shape = (channels, 16, 12)
    content = exported(tmp_path / "model.onnx", nn.Flatten(), shape)  # gives its input
    merged = with_preprocessing(content, tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (*size, channels), dtype=np.uint8)
    facts = prepare_image.read_metadata(metadata(shape))
    image = Image.fromarray(pixels if channels > 1 else pixels[..., 0])
    found, expected = (
        run(merged, pixels[None]),
        run(content, prepare_image.prepare(image, facts | {"background": None})),
    )
    assert np.abs(found - expected).max() <= 1.01 / 255 / 0.3
    assert np.abs(found - expected).mean() <= 0.3 / 255 / 0.3  # most pixels are the very same
    if size == shape[1:]:
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 2, "dynamic"])
def test_the_batch_axis_is_that_of_the_model(tmp_path: Path, batch: Any) -> None:
    content = exported(tmp_path / "model.onnx", nn.Flatten(), (3, 8, 8), batch=batch)
    merged = with_preprocessing(content, tmp_path)
    (given,) = onnx.load_model_from_string(merged).graph.input
    shape = [dim.dim_param or dim.dim_value for dim in given.type.tensor_type.shape.dim]
    assert shape == ["batch" if batch == "dynamic" else batch, "rows", "columns", 3]
    count = 5 if batch == "dynamic" else batch
    assert run(merged, np.zeros((count, 20, 30, 3), dtype=np.uint8)).shape == (count, 192)


def test_the_metadata_stay_but_for_latencies_of_the_model_alone(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    export_onnx(nn.Flatten(), (3, 8, 8), path, metadata=metadata((3, 8, 8)) | {"hwnas.predicted_ms": "1.5"})
    model = onnx.load_model_from_string(with_preprocessing(path.read_bytes(), tmp_path))
    properties = {item.key: item.value for item in model.metadata_props}
    assert properties == metadata((3, 8, 8)) | {"hwnas.preprocessing": '"inside"'}
    onnx.checker.check_model(model, full_check=True)


@pytest.mark.parametrize("name", ["mobilenet", "fbnet", "proxyless", "ofa", "nasbench201", "conv_macro", "vit"])
def test_networks_of_every_space_of_images_take_preprocessing(tmp_path: Path, name: str) -> None:
    """A model is compared with the one alone when it is made: an error is an ExportError."""
    options = {"preset": "small_images"} if name == "vit" else {}
    space = hwnas.space(name, **options)
    content = exported(tmp_path / "model.onnx", network(space, space.smallest()), space.input_shape)
    merged = with_preprocessing(content, tmp_path)
    assert run(merged, np.zeros((1, 50, 40, space.input_shape[0]), dtype=np.uint8)).shape == (1, *space.output_shape)


def test_a_quantised_model_takes_preprocessing(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    calibration = [np.random.default_rng(0).normal(size=(1, 3, 8, 8)).astype(np.float32)]
    content = exported(tmp_path / "model.onnx", network, (3, 8, 8), precision="int8", calibration=calibration)
    assert run(with_preprocessing(content, tmp_path), np.zeros((1, 9, 9, 3), dtype=np.uint8)).shape == (1, 4)


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({}, r"run: does not say how images are prepared \(no hwnas.channels\).*; leave out --with-preprocessing"),
        ({"fit": "crop"}, "run: bilinear crop of RGB cannot be built into a model; leave out --with-preprocessing"),
        ({"channels": "RGBA"}, "run: bilinear squash of RGBA cannot be built into a model"),
    ],
)
def test_what_cannot_be_prepared_is_refused(tmp_path: Path, others: dict[str, Any], message: str) -> None:
    path = tmp_path / "model.onnx"
    export_onnx(nn.Flatten(), (3, 8, 8), path, metadata=metadata((3, 8, 8), **others) if others else {})
    with pytest.raises(RunError, match=message):
        with_preprocessing(path.read_bytes(), Path("run"))
