"""Laws of floating-point examples, of data named by a path, of shares, and of counting outputs."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from hwnas.data.dataset import KINDS, Dataset, load_data
from hwnas.data.options import ImageOptions
from hwnas.data.outputs import outputs_of
from hwnas.data.recognising import recognised
from hwnas.data.splits import split_rows
from hwnas.errors import DataError
from hwnas.testing.datasets import DatasetSuite

RNG = np.random.default_rng(0)
X = RNG.normal(5, 3, (60, 4)).astype(np.float32)
CLASSES = np.arange(60) % 3


def stored(path: Path, **arrays: Any) -> str:
    np.savez(path, **arrays)
    return f"npz:{path}"


class TestFeatures(DatasetSuite):
    @pytest.fixture(autouse=True)
    def _stored(self, tmp_path: Path) -> None:
        self.reference = stored(tmp_path / "a.npz", x=X, y=CLASSES)

    def dataset(self) -> Dataset:
        return load_data(self.reference, (4,))


def test_features_are_standardised_by_the_training_split_and_the_file_says_how(tmp_path: Path) -> None:
    data = load_data(stored(tmp_path / "a.npz", x=X, y=CLASSES), (4,), outputs=3)
    x = data.inputs(data.train.raw)
    torch.testing.assert_close(x.mean(0), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(x.std(0, unbiased=False), torch.ones(4), atol=1e-4, rtol=0)
    facts = {name: json.loads(value) for name, value in data.metadata().items()}
    raw = data.test.raw
    expected = (raw - np.array(facts["hwnas.feature_mean"])) / np.array(facts["hwnas.feature_std"])
    np.testing.assert_allclose(data.inputs(raw).numpy(), expected, rtol=1e-4, atol=1e-5)
    assert facts["hwnas.classes"] == ["0", "1", "2"] and data.task == "classification"


def test_targets_of_features_are_standardised_too(tmp_path: Path) -> None:
    data = load_data(stored(tmp_path / "a.npz", x=X, y=X.sum(1)), (4,))
    assert data.task == "regression" and data.outputs == 1
    assert abs(float(data.train.labels.mean())) < 1e-5 and data.train.labels.dtype == np.float32


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": X[:, :3], "y": CLASSES}, r"examples of shape \(3,\), and the space takes \(4,\)"),
        ({"x": np.where(X > 9, np.nan, X), "y": CLASSES}, "not finite"),
        ({"x": X, "y": CLASSES[:5]}, "60 examples but labels of shape"),
        ({"x": X, "y": CLASSES > 0}, "labels are bool; store classes as integers"),
        ({"x": X, "y": CLASSES * 2}, "has label 2 but not 1"),
        ({"x": X, "y": np.r_[np.zeros(58, int), 1, 1]}, "class 1 has 2 examples"),
        ({"x": X[:2], "y": np.zeros(2)}, "has 2 examples; give it at least 3"),
        (
            {"x_train": X, "y_train": np.zeros((60, 2)), "x_test": X[:9], "y_test": np.zeros(9)},
            "has 1 targets, and the training data 2; give all splits the same",
        ),
    ],
)
def test_features_that_cannot_be_say_why(arrays: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        load_data(stored(tmp_path / "a.npz", **arrays), (4,))


def test_images_options_have_no_effect_on_features_and_say_so(tmp_path: Path) -> None:
    reference = stored(tmp_path / "a.npz", x=X, y=CLASSES)
    with pytest.raises(DataError, match="--augmentation has no effect on floating-point features"):
        load_data(reference, (4,), images=ImageOptions(augmentation="shift"))
    assert len(load_data(reference, (4,), images=ImageOptions(validation_share=0.5)).validation) == 30


def test_the_validation_share_is_one_of_all_examples_and_something_is_left_to_train_on() -> None:
    rows = split_rows(CLASSES, validation_share=0.4)
    assert [len(part) for part in (rows.train, rows.validation, rows.test)] == [24, 24, 12]
    given = split_rows(CLASSES, test_groups=CLASSES, validation_share=0.25)
    assert [len(part) for part in (given.train, given.validation, given.test)] == [45, 15, 60]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three images of each of three classes, of two sizes."""
    for name in ("cat", "dog", "owl"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(3):
            image = Image.fromarray(RNG.integers(0, 256, (8 + number, 8, 3), dtype=np.uint8))
            image.save(tmp_path / "photos" / name / f"{number}.png")
    return tmp_path / "photos"


def test_a_path_is_recognised_by_what_is_there(photos: Path, tmp_path: Path) -> None:
    assert recognised(str(photos), KINDS) == f"imagefolder:{photos}"
    (photos / "train.parquet").write_bytes(b"")
    assert recognised(str(photos), KINDS) == f"parquet:{photos}"
    for name in ("images", "masks"):
        (tmp_path / "scenes" / "train" / name).mkdir(parents=True)
    assert recognised(str(tmp_path / "scenes"), KINDS) == f"masks:{tmp_path / 'scenes'}"
    assert [recognised(name, KINDS) for name in ("digits", "npz:a", "nothing", "a.py:b", "")] == [
        "digits",
        "npz:a",
        "nothing",
        "a.py:b",
        "",
    ]


def test_a_folder_is_read_by_its_path_alone(photos: Path) -> None:
    assert load_data(str(photos), (3, 8, 8)).outputs == 3


def test_outputs_are_counted_without_networks(photos: Path, tmp_path: Path) -> None:
    assert outputs_of(str(photos)) == 3 and outputs_of("digits") == 10 and outputs_of("text:nothing") is None
    assert outputs_of(stored(tmp_path / "a.npz", x=X, y=CLASSES)) == 3
    assert outputs_of(stored(tmp_path / "b.npz", x=X, y=X[:, :2])) == 2
