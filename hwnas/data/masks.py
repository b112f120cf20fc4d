"""Images and masks of a user's folder: `images/` and `masks/` with the same file names, perhaps inside `train/`, `val/`,
`test/`.

A mask is a PNG whose pixels are class indices, grey or of a palette; 255 marks pixels without a class, as in PASCAL VOC.
Shapes: N images, H rows, W columns.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from hwnas.core.arrays import IntArray
from hwnas.core.labels import UNLABELLED
from hwnas.core.operator import Shape
from hwnas.data.pictures import fitted
from hwnas.data.request import DataRequest
from hwnas.data.segmentation import SegmentationData, segmented
from hwnas.data.sources import FEWEST, is_picture, listed, picture, require_numbered
from hwnas.data.splits import Examples, split_rows
from hwnas.errors import DataError

# Pillow's modes of images with one number per pixel: grey, palette, black and white, 16 bits, 32 bits.
INDEX_MODES: Final = ("L", "P", "1", "I;16", "I;16B", "I")
PARTS: Final = ("train", "val", "test")
VOID: Final = 255


@dataclass(frozen=True, slots=True)
class Pair:
    """The files of an image and of its mask."""

    image: Path
    mask: Path


def load_masks(request: DataRequest) -> SegmentationData:
    """Returns the images and masks of `masks:DIR`, images by antialiased interpolation, masks by nearest neighbour.

    Without `train/`, images are split 60/20/20 at random; without `test/`, a fifth of `train/` tests; without `val/`, a tenth
    or, if that fifth was taken, a quarter of the others validates.
    Raises DataError for files that are missing, damaged, without a partner, or not of the number of classes asked for.
    """
    request.require_images()
    parts = _parts(request)
    count = _class_count(parts["train"])
    request.require_outputs(count, "classes")
    train, validation, test = (_examples(pairs, request.input_shape, count) for pairs in _split(parts, request))
    return segmented(request, train, validation, test, tuple(map(str, range(count))))


def _parts(request: DataRequest) -> Mapping[str, Sequence[Pair]]:
    """Returns the pairs of each subfolder of `PARTS` that is there, or all pairs of the folder as `train`."""
    folder = request.path
    inside = {path.name for path in listed(folder, Path.is_dir, "masks")}
    if "train" in inside:
        return {part: _pairs(folder / part) for part in PARTS if part in inside}
    if "images" not in inside:
        raise DataError(
            f"{folder}: has neither a folder images nor a folder train; store images/ and masks/ with the same file names, "
            f"or the two inside train/, val/ and test/"
        )
    return {"train": _pairs(folder)}


def _pairs(folder: Path) -> list[Pair]:
    images = {path.stem: path for path in listed(folder / "images", is_picture, "masks")}
    masks = {path.stem: path for path in listed(folder / "masks", lambda path: path.suffix.lower() == ".png", "masks")}
    for name, path in images.items():
        if name not in masks:
            raise DataError(f"{path}: has no mask {folder / 'masks' / name}.png; add the mask or remove the image")
    for name, path in masks.items():
        if name not in images:
            raise DataError(
                f"{path}: has no image of that name in {folder / 'images'}; add the image or remove the mask"
            )
    if not images:
        raise DataError(f"{folder / 'images'}: has no images (PNG, JPEG, BMP, WebP); add some")
    return [Pair(path, masks[name]) for name, path in images.items()]


def _split(parts: Mapping[str, Sequence[Pair]], request: DataRequest) -> list[list[Pair]]:
    """Returns the pairs of train, validation and test."""
    if len(parts["train"]) < FEWEST:
        folder = parts["train"][0].image.parent
        raise DataError(f"{folder}: has {len(parts['train'])} images; give it at least {FEWEST}")
    alike = {part: np.zeros(len(pairs), dtype=np.int64) for part, pairs in parts.items()}
    rows = split_rows(
        alike["train"],
        validation_groups=alike.get("val"),
        test_groups=alike.get("test"),
        seed=request.seed,
        limit=request.limit,
    )
    sources = [(parts["train"], rows.train), (parts.get("val"), rows.validation), (parts.get("test"), rows.test)]
    return [[(pairs or parts["train"])[row] for row in part] for pairs, part in sources]


# ---- decoding


def _class_count(pairs: Sequence[Pair]) -> int:
    """Returns the number of classes in the masks. Raises DataError unless they are numbered from 0 without gaps."""
    labels: IntArray = np.unique(np.concatenate([np.unique(_mask(pair.mask)) for pair in pairs]))
    labels = labels[labels != UNLABELLED]
    require_numbered(str(pairs[0].mask.parent), labels)
    if len(labels) < 2:
        raise DataError(f"{pairs[0].mask.parent}: has {len(labels)} classes; give it at least 2")
    return len(labels)


def _examples(pairs: Sequence[Pair], shape: Shape, classes: int) -> Examples:
    images = np.empty((len(pairs), *shape), dtype=np.uint8)
    masks = np.empty((len(pairs), *shape[1:]), dtype=np.int64)
    for row, pair in enumerate(pairs):
        image, mask = picture(pair.image, str(pair.image)), _mask(pair.mask)
        if mask.shape != (image.height, image.width):
            raise DataError(
                f"{pair.mask}: has {mask.shape[1]} x {mask.shape[0]} pixels, its image {image.width} x {image.height}; "
                f"store masks in the size of their images"
            )
        if mask.max() >= classes:
            raise DataError(f"{pair.mask}: has label {mask.max()}, which is not in the training data; leave it out")
        images[row], masks[row] = fitted(image, shape), nearest(mask, shape[1:])
    return Examples(images, masks)


def _mask(path: Path) -> IntArray:
    """Returns the class of each pixel, or `UNLABELLED`; shape (H, W)."""
    image = picture(path, str(path))
    if image.format != "PNG" or image.mode not in INDEX_MODES:
        raise DataError(
            f"{path}: is a {image.format} of mode {image.mode}; store masks as PNG with one class index per pixel (grey or "
            f"palette)"
        )
    labels_HW = np.asarray(image).astype(np.int64)
    labels_HW[labels_HW == VOID] = UNLABELLED
    return labels_HW


def nearest(mask_HW: IntArray, shape: Shape) -> IntArray:
    """Returns the mask scaled to `shape` (rows, columns): each pixel takes the class of the nearest one.

    >>> nearest(np.array([[1, 2], [3, 4]]), (2, 4)).tolist()
    [[1, 1, 2, 2], [3, 3, 4, 4]]
    """
    rows, columns = (
        ((np.arange(size) + 0.5) * before / size).astype(np.int64)
        for size, before in zip(shape, mask_HW.shape, strict=True)
    )
    return np.asarray(mask_HW[rows[:, None], columns])
