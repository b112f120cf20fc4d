"""Laws of images with targets: standardised by the training split, split in proportion; and messages about unfit targets."""

import json
from pathlib import Path

import numpy as np
import pytest

from hwnas.data.dataset import load_data
from hwnas.data.regression import RegressionData
from hwnas.errors import DataError

SHAPE = (1, 8, 8)
X = np.random.default_rng(0).integers(0, 256, (100, 8, 8), dtype=np.uint8)
Y = np.random.default_rng(1).normal([5, -300], [2, 40], (100, 2))


def loaded(folder: Path, **arrays: np.ndarray) -> RegressionData:
    np.savez(folder / "a.npz", **arrays)
    return load_data(f"npz:{folder / 'a.npz'}", SHAPE)


def splits(data: RegressionData) -> tuple:
    return data.train, data.validation, data.test


def test_training_targets_have_mean_0_and_deviation_1_and_the_others_the_same_scale(tmp_path: Path) -> None:
    data = loaded(tmp_path, x=X, y=Y)
    np.testing.assert_allclose(data.train.labels.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(data.train.labels.std(axis=0), 1, atol=1e-5)
    rows = {image.tobytes(): row for row, image in enumerate(X)}
    for split in splits(data):
        restored = split.labels * data.target_std + data.target_mean
        np.testing.assert_allclose(restored, Y[[rows[image.tobytes()] for image in split.raw]], rtol=1e-5)


def test_one_target_may_be_stored_without_an_axis(tmp_path: Path) -> None:
    one, column = loaded(tmp_path, x=X, y=Y[:, 0]), loaded(tmp_path, x=X, y=Y[:, :1])
    assert one.outputs == column.outputs == 1
    assert one.digest() == column.digest()


def test_the_scale_of_targets_is_in_the_description_the_digest_and_the_metadata(tmp_path: Path) -> None:
    data, scaled = loaded(tmp_path, x=X, y=Y), loaded(tmp_path, x=X, y=10 * Y)
    np.testing.assert_allclose(data.train.labels, scaled.train.labels, atol=1e-5)
    assert data.digest() != scaled.digest()
    assert data.describe()["target_mean"] == list(data.target_mean)
    assert json.loads(data.metadata()["hwnas.target_mean"]) == list(data.target_mean)
    assert json.loads(data.metadata()["hwnas.target_std"]) == list(data.target_std)


def test_a_constant_target_becomes_zero(tmp_path: Path) -> None:
    data = loaded(tmp_path, x=X, y=np.full(100, 0.1))
    assert data.target_std == (1.0,)
    assert np.abs(data.train.labels).max() < 1e-6


def test_splits_have_small_and_large_targets_in_proportion(tmp_path: Path) -> None:
    middle = np.median(Y[:, 0])
    data = loaded(tmp_path, x=X, y=Y)
    for split in splits(data):
        assert abs(np.mean(split.labels[:, 0] * data.target_std[0] + data.target_mean[0] > middle) - 0.5) < 0.11


def test_a_test_set_of_its_own_is_kept_whole(tmp_path: Path) -> None:
    data = loaded(tmp_path, x_train=X[:80], y_train=Y[:80], x_test=X[80:], y_test=Y[80:])
    assert [len(split) for split in splits(data)] == [72, 8, 20]
    np.testing.assert_array_equal(data.test.raw[:, 0], X[80:])


def test_an_image_with_targets_is_never_moved(tmp_path: Path) -> None:
    data = loaded(tmp_path, x=X, y=Y)
    rows = np.arange(10)
    x, _ = data.training_batch(rows, np.random.default_rng(0))
    assert np.array_equal(x.numpy(), data.inputs(data.train.raw[rows]).numpy())


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"x": X, "y": Y[:90]},
            r"x, y: 100 images but targets of shape \(90, 2\); store targets as \(N,\) or \(N, T\)",
        ),
        ({"x": X, "y": Y[..., None]}, r"targets of shape \(100, 2, 1\); store"),
        ({"x": X, "y": Y[:, :0]}, r"targets of shape \(100, 0\); store"),
        ({"x": X, "y": np.where(np.arange(100) == 7, np.nan, Y[:, 0])}, "x, y: the target of row 7 is not a finite"),
        ({"x": X[:2], "y": Y[:2]}, "has 2 images; give it at least 3"),
        (
            {"x_train": X, "y_train": Y, "x_test": X, "y_test": Y[:, 0]},
            "x_test, y_test: 1 targets per example, 2 in the",
        ),
        ({"x_train": X, "y_train": Y, "x_test": X[:0], "y_test": Y[:0]}, "x_test, y_test: has 0 images; give it"),
    ],
)
def test_targets_that_do_not_fit_are_refused(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(DataError, match=message):
        loaded(tmp_path, **arrays)


def test_networks_with_another_number_of_outputs_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=X, y=Y)
    with pytest.raises(DataError, match=r"a\.npz has 2 targets, the space 10; give --space-option classes=2"):
        load_data(f"npz:{tmp_path / 'a.npz'}", SHAPE, outputs=10)
