"""Laws of the data sets made of scikit-learn's digits: angles that are true, canvases whose masks are where the ink is."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage
from sklearn.datasets import load_digits

from hwnas.data.dataset import load_data
from hwnas.data.digits import CANVAS, CLASSES, INK, SCAN, separate_corners
from hwnas.data.regression import RegressionData
from hwnas.data.segmentation import SegmentationData
from hwnas.data.sources import read_digits
from hwnas.errors import DataError

SHAPE = (1, CANVAS, CANVAS)


@pytest.fixture(scope="module")
def angles() -> RegressionData:
    return load_data("digits-angle", SHAPE, outputs=1)


@pytest.fixture(scope="module")
def canvases() -> SegmentationData:
    return load_data("digits-canvas", SHAPE, outputs=11, limit=200)


def splits(data: RegressionData | SegmentationData) -> tuple:
    return data.train, data.validation, data.test


def test_every_scan_is_rotated_once(angles: RegressionData) -> None:
    assert [len(split) for split in splits(angles)] == [1078, 360, 359]
    assert angles.targets == ("angle (degrees)",)


def test_rotating_back_by_the_target_gives_the_scan(angles: RegressionData) -> None:
    upright = [
        np.asarray(Image.fromarray((scan * 255 / 16).astype(np.uint8)).resize((24, 24), Image.Resampling.BICUBIC))
        for scan in load_digits().images
    ]
    scans = np.stack(upright)[:, 4:-4, 4:-4].reshape(len(upright), -1).astype(float)
    scans -= scans.mean(axis=1, keepdims=True)
    degrees = angles.train.labels[:40, 0] * angles.target_std[0] + angles.target_mean[0]
    assert np.abs(degrees).max() <= 60
    for image, angle in zip(angles.train.raw[:40, 0], degrees, strict=True):
        back = np.asarray(Image.fromarray(image).rotate(-float(angle), Image.Resampling.BICUBIC))[8:-8, 8:-8].ravel()
        alike = (scans @ (back - back.mean())) / np.linalg.norm(scans, axis=1) / np.linalg.norm(back - back.mean())
        assert alike.max() > 0.97


def test_angles_and_canvases_follow_from_the_seed() -> None:
    for reference in ("digits-angle", "digits-canvas"):
        digests = [load_data(reference, (1, 16, 16), seed=seed, limit=20).digest() for seed in (3, 3, 4)]
        assert digests[0] == digests[1] != digests[2]


def test_masks_are_where_the_ink_is(canvases: SegmentationData) -> None:
    for split in splits(canvases):
        np.testing.assert_array_equal(split.labels > 0, split.raw[:, 0] >= INK)


def test_a_canvas_has_one_to_three_digits_and_every_class_occurs(canvases: SegmentationData) -> None:
    assert canvases.classes == CLASSES and canvases.outputs == 11
    assert set(np.unique(canvases.train.labels)) == set(range(11))
    ink = (canvases.train.labels > 0).mean(axis=(1, 2))
    largest = SCAN * SCAN / CANVAS**2
    assert ink.min() > 0.02 and ink.max() < 3 * largest
    digits = [len(set(np.unique(mask)) - {0}) for mask in canvases.train.labels]
    assert set(digits) == {1, 2, 3}


@given(st.integers(1, 3), st.integers(0, 999))
@settings(max_examples=30)
def test_squares_are_inside_the_canvas_and_do_not_overlap(count: int, seed: int) -> None:
    covered = np.zeros((CANVAS, CANVAS), dtype=int)
    for top, left in separate_corners(count, np.random.default_rng(seed)):
        covered[top : top + SCAN, left : left + SCAN] += 1
    assert covered.max() == 1
    assert covered.sum() == count * SCAN**2


def inked(image: np.ndarray) -> bytes:
    """The part of an image between its first and last pixels with ink, by which a scan is recognised."""
    ((rows, columns),) = ndimage.find_objects((image > 0).astype(int))
    return image[rows, columns].tobytes()


def test_no_scan_is_in_two_splits(canvases: SegmentationData) -> None:
    """Told by the canvases with one scan."""
    scans = read_digits(Path()).train
    enlarged = (scans.image(row).resize((SCAN, SCAN), Image.Resampling.BICUBIC) for row in range(len(scans.labels)))
    numbers = {inked(np.asarray(scan)): row for row, scan in enumerate(enlarged)}
    alone = [{numbers.get(inked(image)) for image in split.raw[:, 0]} - {None} for split in splits(canvases)]
    assert [len(rows) >= 10 for rows in alone] == [True] * 3
    assert len(set.union(*alone)) == sum(map(len, alone))


@pytest.mark.parametrize(("reference", "outputs"), [("digits-angle", 1), ("digits-canvas", 11)])
def test_networks_with_other_outputs_are_refused(reference: str, outputs: int) -> None:
    with pytest.raises(DataError, match=f"{reference} has {outputs} .*, the space 10; give --space-option classes="):
        load_data(reference, SHAPE, outputs=10)
