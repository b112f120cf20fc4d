"""The example that prepares a recording from a model's metadata alone makes the array that the pipeline feeds to networks."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy.io import wavfile

from hwnas.data.dataset import load_data

EXAMPLE = Path(__file__).parents[2] / "scripts/examples/prepare_wav.py"


@pytest.fixture
def prepare_wav() -> ModuleType:
    spec = importlib.util.spec_from_file_location("prepare_wav", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "float32"])
def test_the_example_prepares_every_recording_as_the_search_did(tmp_path: Path, prepare_wav, dtype: str) -> None:
    rng = np.random.default_rng(0)
    for number in range(12):
        folder = tmp_path / ("yes" if number % 2 else "no")
        folder.mkdir(exist_ok=True)
        shape = (90 + 2 * number, 2) if number % 3 else (90 + 2 * number,)
        tone = rng.uniform(-0.9, 0.9, shape)
        largest = np.iinfo(dtype).max if dtype != "float32" else 1
        samples = (tone * 120 + 128 if dtype == "uint8" else tone * largest).astype(dtype)
        wavfile.write(folder / f"{number}.wav", 8000, samples)
    data = load_data(f"wav:{tmp_path}", (1, 100))
    fed = np.concatenate([data.inputs(split.raw).numpy() for split in (data.train, data.validation, data.test)])
    facts = prepare_wav.read_metadata(data.metadata())
    prepared = [prepare_wav.prepare(*wavfile.read(path), facts)[0] for path in tmp_path.glob("*/*.wav")]
    order = [np.lexsort(np.reshape(arrays, (12, -1)).round(3).T) for arrays in (fed, prepared)]
    np.testing.assert_allclose(np.array(prepared)[order[1]], fed[order[0]], atol=1e-5)


def test_another_rate_is_refused(prepare_wav) -> None:
    facts = {"rate": 16000, "length": 10, "fit": "crop or pad both ends", "mean": [0.0], "std": [1.0]}
    with pytest.raises(ValueError, match="takes 16000 Hz, not 8000"):
        prepare_wav.prepare(8000, np.zeros(10), facts)
