"""Laws of images with masks: pairs by name, classes kept by scaling, image and mask moved alike; messages about bad files."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hwnas.core.labels import UNLABELLED
from hwnas.data.dataset import load_data
from hwnas.data.masks import nearest
from hwnas.data.pictures import shifted_together
from hwnas.data.segmentation import SegmentationData
from hwnas.errors import DataError

SHAPE = (1, 8, 8)


def write(folder: Path, count: int = 20, first: int = 0, size: int = 8) -> str:
    """Images whose brightness is 80 x class + their number; the class of a pixel is 0, 1 or 2."""
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for number in range(first, first + count):
        mask = np.random.default_rng(number).integers(0, 3, (size, size)).astype(np.uint8)
        Image.fromarray(80 * mask + np.uint8(number)).save(folder / f"images/{number:02}.png")
        Image.fromarray(mask).save(folder / f"masks/{number:02}.png")
    return f"masks:{folder}"


def splits(data: SegmentationData) -> tuple:
    return data.train, data.validation, data.test


def test_every_image_has_its_own_mask_and_no_image_is_in_two_splits(tmp_path: Path) -> None:
    data = load_data(write(tmp_path), SHAPE)
    assert [len(split) for split in splits(data)] == [12, 4, 4]
    assert data.classes == ("0", "1", "2")
    for split in splits(data):
        np.testing.assert_array_equal(split.raw[:, 0] // 80, split.labels)
    numbers = [image.min() % 80 for split in splits(data) for image in split.raw]
    assert sorted(numbers) == list(range(20))


@pytest.mark.parametrize(
    ("parts", "sizes"),
    [
        ({"train": 20}, [12, 4, 4]),
        ({"train": 20, "test": 5}, [18, 2, 5]),
        ({"train": 20, "val": 6}, [16, 6, 4]),
        ({"train": 20, "val": 6, "test": 5}, [20, 6, 5]),
    ],
)
def test_subfolders_are_splits(tmp_path: Path, parts: dict[str, int], sizes: list[int]) -> None:
    for number, (part, count) in enumerate(parts.items()):
        write(tmp_path / part, count, first=20 * number)
    data = load_data(f"masks:{tmp_path}", SHAPE)
    assert [len(split) for split in splits(data)] == sizes
    limited = load_data(f"masks:{tmp_path}", SHAPE, limit=8)
    assert [len(split) for split in splits(limited)] == [8, 2, 2]


def test_masks_of_other_sizes_keep_their_classes(tmp_path: Path) -> None:
    data = load_data(write(tmp_path, size=11), SHAPE)
    assert set(np.unique(data.train.labels)) == {0, 1, 2}
    assert data.train.labels.shape == (12, 8, 8)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4))
def test_enlarging_by_a_whole_number_repeats_pixels(height: int, width: int, scale: int) -> None:
    mask = np.arange(height * width).reshape(height, width)
    expected = mask.repeat(scale, axis=0).repeat(scale, axis=1)
    np.testing.assert_array_equal(nearest(mask, (scale * height, scale * width)), expected)
    np.testing.assert_array_equal(nearest(mask, (height, width)), mask)


def test_palettes_are_read_by_index_and_255_is_no_class(tmp_path: Path) -> None:
    write(tmp_path)
    path = tmp_path / "masks" / "03.png"
    mask = np.asarray(Image.open(path)).copy()
    mask[0, 0] = 255
    palette = Image.fromarray(mask).convert("P")
    palette.putdata(mask.ravel().tolist())
    palette.putpalette(list(range(256)) * 3)
    palette.save(path)
    data = load_data(f"masks:{tmp_path}", SHAPE)
    assert data.outputs == 3
    (found,) = [
        labels
        for split in splits(data)
        for image, labels in zip(split.raw, split.labels, strict=True)
        if image.min() % 80 == 3
    ]
    assert found[0, 0] == UNLABELLED
    np.testing.assert_array_equal(found.ravel()[1:], mask.ravel()[1:])


@given(st.integers(4, 24), st.integers(4, 24), st.integers(0, 999))
@settings(max_examples=50)
def test_an_image_and_its_mask_move_alike_by_at_most_an_eighth(height: int, width: int, seed: int) -> None:
    masks = np.arange(3 * height * width).reshape(3, height, width)
    images = np.stack([masks % 251, masks % 241], axis=1).astype(np.uint8)
    moved, moved_masks = shifted_together(images, masks, np.random.default_rng(seed))
    np.testing.assert_array_equal(moved, np.stack([moved_masks % 251, moved_masks % 241], axis=1))
    rows = moved_masks[:, :, width // 2] // width % height - np.arange(height)
    assert np.abs(rows).max() <= height // 8
    assert (np.diff(moved_masks[:, :, width // 2]) >= 0).all()


def test_shifts_differ_between_the_images_of_a_batch() -> None:
    images = np.random.default_rng(0).integers(0, 256, (1, 1, 16, 16), dtype=np.uint8).repeat(40, axis=0)
    moved, _ = shifted_together(images, images[:, 0], np.random.default_rng(0))
    assert len(np.unique(moved.reshape(40, -1), axis=0)) > 10


def overwrite(mask: np.ndarray, name: str = "07.png") -> Callable[[Path], None]:
    return lambda folder: Image.fromarray(mask).save(folder / "masks" / name)


MASK = np.zeros((8, 8), np.uint8)


def binary(folder: Path) -> None:
    for path in (folder / "masks").iterdir():
        Image.fromarray(np.eye(8, dtype=np.uint8) * 255).save(path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda folder: (folder / "masks/07.png").unlink(),
            r"images/07\.png: has no mask .*masks/07\.png; add the mask",
        ),
        (
            lambda folder: (folder / "images/07.png").unlink(),
            r"masks/07\.png: has no image of that name in .*images; add",
        ),
        (lambda folder: shutil.rmtree(folder / "masks"), r"masks: does not exist; check what follows `masks:`"),
        (lambda folder: shutil.rmtree(folder / "images"), r"has neither a folder images nor a folder train; store"),
        (lambda folder: (folder / "masks/07.png").write_bytes(b"?"), r"masks/07\.png: is not a PNG, JPEG"),
        (lambda folder: (folder / "images/07.png").write_bytes(b"?"), r"images/07\.png: is not a PNG, JPEG"),
        (overwrite(np.zeros((8, 8, 3), np.uint8)), r"masks/07\.png: is a PNG of mode RGB; store masks as PNG with one"),
        (
            overwrite(np.zeros((8, 9), np.uint8)),
            r"masks/07\.png: has 9 x 8 pixels, its image 8 x 8; store masks in the",
        ),
        (binary, r"masks: has 1 classes; give it at least 2, numbered from 0 \(255 means no class\)"),
        (overwrite(MASK + 4), "masks: has label 4 but not 3; number the classes from 0 without gaps"),
    ],
)
def test_files_that_do_not_fit_are_named(tmp_path: Path, damage: Callable[[Path], None], message: str) -> None:
    reference = write(tmp_path)
    damage(tmp_path)
    with pytest.raises(DataError, match=message):
        load_data(reference, SHAPE)


def test_a_class_that_is_never_trained_is_named(tmp_path: Path) -> None:
    write(tmp_path / "train")
    write(tmp_path / "test", 4)
    overwrite(MASK + 3, "02.png")(tmp_path / "test")
    with pytest.raises(
        DataError, match=r"test/masks/02\.png: has label 3, which is not in the training data; leave it"
    ):
        load_data(f"masks:{tmp_path}", SHAPE)


def test_networks_with_another_number_of_classes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has 3 classes, the space 10; give --space-option classes=3"):
        load_data(write(tmp_path), SHAPE, outputs=10)


def test_too_few_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="images: has 2 images; give it at least 3"):
        load_data(write(tmp_path, count=2), SHAPE)
