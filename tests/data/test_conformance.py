"""Every built-in kind of data set, and one of a user's file, obeys the installed suite; and the suite catches what breaks it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from scipy.io import wavfile

from hwnas.data.dataset import DATASETS, Dataset, load_data
from hwnas.data.options import ImageOptions
from hwnas.data.splits import Examples
from hwnas.testing.datasets import DatasetSuite

OWN: Final = Path(__file__).parents[2] / "scripts/examples/own_data.py"
SHAPE: Final = (1, 16, 16)
# The shapes of the kinds that are series.
SERIES: Final = {
    "npz:FILE, series": (2, 16),
    "npz:FILE, series with targets": (2, 16),
    "ts:DIR": (1, 16),
    "wav:DIR": (1, 16),
}


def noise(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 16, 16), dtype=np.uint8)


def npz(folder: Path, labels: np.ndarray) -> str:
    np.savez(folder / "a.npz", x=noise(len(labels)), y=labels)
    return f"npz:{folder / 'a.npz'}"


def image_folder(folder: Path) -> str:
    for number, image in enumerate(noise(30)):
        path = folder / ("cat" if number % 2 else "dog")
        path.mkdir(exist_ok=True)
        Image.fromarray(image).save(path / f"{number}.png")
    return f"imagefolder:{folder}"


def parquet(folder: Path) -> str:
    image_folder(folder)
    encoded = [path.read_bytes() for path in sorted(folder.glob("*/*.png"))]
    for name, part in (("train", encoded[:20]), ("test", encoded[20:])):
        table = pa.table({"image": part, "label": pa.array(np.arange(len(part)) % 2, pa.int8())})
        pq.write_table(table, folder / f"{name}.parquet")
    return f"parquet:{folder}"


def masks(folder: Path) -> str:
    for kind in ("images", "masks"):
        (folder / kind).mkdir()
    for number, image in enumerate(noise(20)):
        Image.fromarray(image).save(folder / f"images/{number}.png")
        Image.fromarray(image // 86).save(folder / f"masks/{number}.png")
    return f"masks:{folder}"


def text(folder: Path) -> str:
    (folder / "a.txt").write_text("to be or not to be " * 20)
    return f"text:{folder / 'a.txt'}"


def series(labels: np.ndarray) -> Callable[[Path], str]:
    def made(folder: Path) -> str:
        np.savez(folder / "a.npz", x=noise(len(labels)).reshape(len(labels), 2, -1)[..., :16] / 7, y=labels)
        return f"npz:{folder / 'a.npz'}"

    return made


def wav(folder: Path) -> str:
    for number, samples in enumerate(noise(30).reshape(30, -1)):
        path = folder / ("yes" if number % 2 else "no")
        path.mkdir(exist_ok=True)
        wavfile.write(path / f"{number}.wav", 8000, samples[: 10 + number])
    return f"wav:{folder}"


def ts(folder: Path) -> str:
    for split, part in (("TRAIN", noise(30)[:20]), ("TEST", noise(30)[20:])):
        lines = [",".join(map(str, image[0])) + f":{number % 2}" for number, image in enumerate(part)]
        (folder / f"Noise_{split}.ts").write_text("\n".join(["@classLabel true 0 1", "@data", *lines]))
    return f"ts:{folder}"


SOURCES: Final[Mapping[str, Callable[[Path], str]]] = {
    "digits": lambda _: "digits",
    "digits-angle": lambda _: "digits-angle",
    "digits-canvas": lambda _: "digits-canvas",
    "imagefolder:DIR": image_folder,
    "masks:DIR": masks,
    "npz:FILE": lambda folder: npz(folder, np.arange(60) % 3),
    "npz:FILE, targets": lambda folder: npz(folder, np.random.default_rng(1).random((60, 2))),
    "npz:FILE, series": series(np.arange(60) % 3),
    "npz:FILE, series with targets": series(np.random.default_rng(1).random((60, 2))),
    "parquet:DIR": parquet,
    "text:FILE": text,
    "ts:DIR": ts,
    "wav:DIR": wav,
    "FILE.py:NAME": lambda _: f"{OWN}:stripes",
}


def test_every_built_in_kind_is_covered() -> None:
    assert {name.partition(",")[0] for name in SOURCES} == {*DATASETS, "FILE.py:NAME"}


class TestBuiltIn(DatasetSuite):
    """All laws for all kinds."""

    @pytest.fixture(autouse=True, params=SOURCES)
    def kind(self, request: pytest.FixtureRequest, tmp_path: Path) -> None:
        self.reference = SOURCES[request.param](tmp_path)
        self.repeats = request.param == "text:FILE"
        self.shape = SERIES.get(request.param, SHAPE)

    def dataset(self) -> Dataset:
        if self.repeats:
            return load_data(self.reference, (8,), vocabulary=9, limit=30)
        return load_data(self.reference, self.shape, limit=30)


class TestStreamed(DatasetSuite):
    """All laws for images that are not in memory; those that edit examples do so in memory, where the digest is the same."""

    @pytest.fixture(autouse=True, params=[image_folder, parquet])
    def kind(self, request: pytest.FixtureRequest, tmp_path: Path) -> None:
        self.reference = request.param(tmp_path)

    def dataset(self) -> Dataset:
        return load_data(self.reference, SHAPE, images=ImageOptions(data_memory_gib=0, data_workers=0))

    def editable(self, data: Dataset) -> Dataset:
        kept = load_data(self.reference, SHAPE)
        assert kept.digest() == data.digest()
        return kept


# ---- the suite bites


@dataclass(frozen=True)
class Broken:
    """A data set with some of its parts replaced."""

    data: Any
    parts: Mapping[str, Any]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in ("data", "parts"):
            raise AttributeError(name)
        return self.parts[name] if name in self.parts else getattr(self.data, name)


def broken(data: Dataset, **parts: Any) -> Callable[[], Dataset]:
    return lambda: Broken(data, parts)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_data("digits", SHAPE, limit=30)


def unseeded(data: Dataset) -> Any:
    return lambda indices, rng: data.training_batch(indices, np.random.default_rng())


def shuffled(data: Dataset) -> Any:
    def batch(indices: np.ndarray, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        x, labels = data.training_batch(indices, rng)
        return x, labels.flip(0)

    return batch


FAULTS: Final[Mapping[str, Callable[[Any], Mapping[str, Any]]]] = {
    "test_the_task_is_named_and_asks_for_outputs": lambda data: {"outputs": 0},
    "test_every_split_has_examples_and_as_many_labels": lambda data: {
        "test": Examples(data.test.raw[:-1], data.test.labels)
    },
    "test_no_example_is_in_two_splits": lambda data: {"test": data.validation},
    "test_labels_are_what_the_task_takes": lambda data: {"outputs": 9},
    "test_inputs_are_tensors_of_one_kind_in_every_split": lambda data: {
        "inputs": lambda raw: data.inputs(raw).double()
    },
    "test_an_input_does_not_depend_on_its_batch_and_leaves_raw_alone": lambda data: {
        "inputs": lambda raw: data.inputs(raw) - data.inputs(raw).mean()
    },
    "test_a_training_batch_has_the_kind_of_inputs_and_labels": lambda data: {
        "training_batch": lambda rows, rng: (data.inputs(data.train.raw[rows])[..., 1:], torch.zeros(len(rows)).long())
    },
    "test_a_training_batch_holds_the_labels_of_its_rows": lambda data: {"training_batch": shuffled(data)},
    "test_a_training_batch_depends_on_the_generators_state_alone": lambda data: {"training_batch": unseeded(data)},
    "test_the_calibration_order_is_a_fixed_permutation_of_the_training_split": lambda data: {
        "calibration_order": lambda: np.arange(len(data.train) - 1)
    },
    "test_the_description_survives_json_and_holds_the_digest": lambda data: {"describe": lambda: {"mean": (1.0,)}},
    "test_a_data_set_made_twice_has_one_digest": lambda data: {"digest": lambda: str(np.random.default_rng().random())},
    "test_the_digest_changes_with_a_label": lambda data: {"digest": lambda: "constant"},
    "test_the_digest_changes_with_an_example": lambda data: {"digest": lambda: "constant"},
    "test_metadata_are_properties_of_hwnas_as_text": lambda data: {"metadata": lambda: {"hwnas.mean": 0.5}},
}


@pytest.mark.parametrize("law", FAULTS)
def test_a_data_set_that_breaks_a_law_fails_it(law: str, digits: Dataset) -> None:
    suite = DatasetSuite()
    suite.dataset = broken(digits, **FAULTS[law](digits))
    with pytest.raises(AssertionError):
        getattr(suite, law)()
    suite.dataset = lambda: digits
    getattr(suite, law)()


def test_every_law_has_a_data_set_that_breaks_it() -> None:
    assert {name for name in vars(DatasetSuite) if name.startswith("test_")} == set(FAULTS)
