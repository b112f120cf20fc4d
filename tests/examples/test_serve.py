"""The example that serves a model answers over HTTP what the model says, and refuses what is no image."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from PIL import Image
from torch import nn

from hwnas.data.dataset import load_data
from hwnas.profiler.export import export_onnx

FOLDER = Path(__file__).parents[2] / "scripts/examples"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path, Path]]:
    """The address of a real server, its model, and a photo."""
    folder = tmp_path_factory.mktemp("served")
    model, photo = folder / "model.onnx", folder / "photo.png"
    data = load_data("digits", (1, 8, 8), limit=30)
    metadata = {**data.metadata(), "hwnas.measured_ms": "0.25", "hwnas.measured_by": "onnxruntime, float32"}
    export_onnx(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), (1, 8, 8), model, metadata=metadata)
    Image.effect_noise((20, 30), 60).save(photo)
    command = [sys.executable, "-m", "uvicorn", "--app-dir", str(FOLDER), "--port", "0", "serve:app"]
    environment = {**os.environ, "MODEL": str(model)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            addresses = (re.search(r"running on (http://\S+)", line) for line in server.stderr)
            address = next((found[1] for found in addresses if found), "")
            assert address, "the server ended before it answered"
            yield address, model, photo
        finally:
            server.terminate()


def answer(address: str, body: bytes | None = None) -> dict[str, object]:
    answered: dict[str, object] = json.load(urlopen(Request(address, body), timeout=30))
    return answered


def test_a_photo_is_classified_as_the_example_without_a_server_does(served: tuple[str, Path, Path]) -> None:
    address, model, photo = served
    shares = answer(f"{address}/classify", photo.read_bytes())
    command = [sys.executable, str(FOLDER / "prepare_image.py"), str(model), str(photo)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert list(shares) == printed[1::2]
    assert [f"{share:.1%}" for share in shares.values()] == printed[0::2]


def test_the_server_says_what_the_model_is(served: tuple[str, Path, Path]) -> None:
    facts = answer(f"{served[0]}/")
    assert facts == {"classes": list("0123456789"), "measured_ms": 0.25, "measured_by": "onnxruntime, float32"}


@pytest.mark.parametrize("whole", [False, True])
def test_what_is_no_image_and_half_of_one_are_refused(served: tuple[str, Path, Path], whole: bool) -> None:
    address, _, photo = served
    content = b"no image" if whole else photo.read_bytes()[:300]
    with pytest.raises(HTTPError) as caught:
        answer(f"{address}/classify", content)
    with caught.value as refusal:
        assert refusal.code == 415
        assert b"the body is no whole image file" in refusal.read()
