"""The example that prepares a photo from a model's metadata alone makes the array that the pipeline feeds to networks."""

import io
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from torch import nn

from hwnas.data.dataset import load_data
from hwnas.data.options import ImageOptions
from hwnas.profiler.export import export_onnx

EXAMPLE = Path(__file__).parents[2] / "scripts/examples/prepare_image.py"


def drawn(number: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)


def photo(number: int, kind: str) -> bytes:
    """Images that are larger than the networks' input, and not square."""
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    if kind == "turned":
        Image.fromarray(drawn(number, (40, 30, 3))).save(file, "JPEG", exif=exif)
    elif kind == "transparent":
        Image.fromarray(drawn(number, (40, 30, 4))).save(file, "PNG")
    elif kind == "palette":
        Image.fromarray(drawn(number, (40, 30, 3))).quantize(8).save(file, "PNG", transparency=2)
    elif kind == "LAB":
        Image.fromarray(drawn(number, (40, 30, 3)), "LAB").save(file, "TIFF")
    elif kind == "deep grey":
        Image.fromarray(drawn(number, (40, 30)).astype(np.uint16) * 3 + 500).save(file, "PNG")
    else:
        Image.fromarray(drawn(number, (12, 9))).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("shape", [(1, 16, 12), (3, 16, 12), (4, 16, 12)])
@pytest.mark.parametrize("kind", ["turned", "transparent", "palette", "deep grey", "grey", "LAB"])
def test_a_photo_prepared_from_metadata_alone_is_what_the_pipeline_feeds(
    tmp_path: Path, prepare_image: ModuleType, kind: str, shape: tuple[int, int, int]
) -> None:
    contents = [photo(number, kind) for number in range(12)]
    pq.write_table(pa.table({"image": contents, "label": np.arange(12) % 2}), tmp_path / "train.parquet")
    pq.write_table(pa.table({"image": contents, "label": np.arange(12) % 2}), tmp_path / "test.parquet")
    data = load_data(f"parquet:{tmp_path}", shape, images=ImageOptions(background="#20c0ff"))
    network = nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(shape)), 2))
    export_onnx(network, shape, tmp_path / "model.onnx", metadata=data.metadata())
    properties = {item.key: item.value for item in onnx.load(tmp_path / "model.onnx").metadata_props}
    facts = prepare_image.read_metadata(properties)
    for content, expected in zip(contents, data.inputs(data.test.raw).numpy(), strict=True):
        np.testing.assert_allclose(
            prepare_image.prepare(Image.open(io.BytesIO(content)), facts)[0], expected, atol=1e-6
        )
    assert json.loads(properties["hwnas.classes"]) == ["0", "1"]


def printed_by(tmp_path: Path) -> list[str]:
    (tmp_path / "photo.jpg").write_bytes(photo(1, "turned"))
    command = [sys.executable, str(EXAMPLE), str(tmp_path / "model.onnx"), str(tmp_path / "photo.jpg")]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.parametrize("options", [{"batch": 2}, {"batch": "dynamic"}])
def test_the_example_prints_the_classes_of_a_photo(tmp_path: Path, options: dict[str, Any]) -> None:
    data = load_data("digits", (1, 8, 8), limit=30)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    export_onnx(network, (1, 8, 8), tmp_path / "model.onnx", metadata=data.metadata(), **options)
    assert sorted(printed_by(tmp_path)[1::2]) == list("0123456789")


def test_the_example_prints_targets_in_their_own_units(tmp_path: Path) -> None:
    x = drawn(0, (20, 8, 8))
    np.savez(tmp_path / "a.npz", x=x, y=np.stack([np.arange(20) + 1_000.0, np.arange(20) / 2], axis=1))
    data = load_data(f"npz:{tmp_path / 'a.npz'}", (1, 8, 8))
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    nn.init.zeros_(network[1].weight)
    nn.init.zeros_(network[1].bias)
    export_onnx(network, (1, 8, 8), tmp_path / "model.onnx", metadata=data.metadata())
    printed = printed_by(tmp_path)
    assert [float(value) for value in printed[::2]] == pytest.approx(data.target_mean, rel=1e-4)
    assert printed[1::2] == list(data.targets)


def test_the_example_prints_the_share_of_pixels_of_each_class(tmp_path: Path) -> None:
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for number in range(6):
        Image.fromarray(drawn(number, (8, 8))).save(tmp_path / f"images/{number}.png")
        Image.fromarray(np.eye(8, dtype=np.uint8)).save(tmp_path / f"masks/{number}.png")
    data = load_data(f"masks:{tmp_path}", (1, 8, 8))
    export_onnx(nn.Conv2d(1, 2, 1), (1, 8, 8), tmp_path / "model.onnx", metadata=data.metadata())
    printed = printed_by(tmp_path)
    assert sorted(printed[1::2]) == ["0", "1"]
    assert sum(float(share.rstrip("%")) for share in printed[::2]) == pytest.approx(100, abs=0.2)
