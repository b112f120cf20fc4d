"""Images and masks of a user's folder: `images/` and `masks/` with the same file names, perhaps inside `train/`, `val/`,
`test/`.

A mask is a PNG whose pixels are class indices, grey or of a palette; 255 marks pixels without a class, as in PASCAL VOC.
Shapes: N images, H rows, W columns.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from hwnas.core.arrays import IntArray
from hwnas.core.labels import UNLABELLED
from hwnas.core.operator import Shape
from hwnas.data.decoding import decoded
from hwnas.data.image_files import left_out, listed, picture, pictures_below, unread
from hwnas.data.layout import by_split
from hwnas.data.request import DataRequest
from hwnas.data.segmentation import SegmentationData, segmented
from hwnas.data.sources import FEWEST, Collection, Pictures, require_numbered
from hwnas.data.splits import Examples
from hwnas.errors import DamagedImageError, DataError

# Pillow's modes of images with one number per pixel: grey, palette, black and white, 16 bits, 32 bits.
INDEX_MODES: Final = ("L", "P", "1", "I;16", "I;16B", "I")
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
    folders, notes = _folders(request.path)
    parts = {split: _pairs(folder) for split, folder in folders.items()}
    count = _class_count(parts["train"])
    request.require_outputs(count, "classes")
    if len(parts["train"]) < FEWEST:
        raise DataError(f"{folders['train'] / 'images'}: has {len(parts['train'])} images; give it at least {FEWEST}")
    collection = Collection(
        notes=(*notes, *(note for folder in folders.values() for note in _unread(folder))),
        parts={split: _pictures(folders[split], pairs, count) for split, pairs in parts.items()},
    )
    height, width = request.input_shape[1:]
    read = decoded(request, collection, lambda pictures: pictures.labels * 0, label_bytes=8 * height * width)
    trained = parts["train"]
    splits = [
        _masked(parts.get(split, trained), part, (height, width))
        for split, part in (("train", read.train), ("validation", read.validation), ("test", read.test))
    ]
    return segmented(request, splits, tuple(map(str, range(count))), read.preparation, read.notes)


def _folders(folder: Path) -> tuple[Mapping[str, Path], tuple[str, ...]]:
    """Returns the folder of each split, or the folder itself as `train`; and notes on folders that are left out."""
    inside = [path.name for path in listed(folder, Path.is_dir, "masks")]
    splits = by_split(str(folder), inside)
    if "train" in splits:
        rest = [name for name in inside if name not in splits.values()]
        return {split: folder / name for split, name in splits.items()}, unread(folder, rest, "of no split")
    if "images" not in inside:
        raise DataError(
            f"{folder}: has neither a folder images nor a folder train; store images/ and masks/ with the same file names, "
            f"or the two inside train/, val/ and test/"
        )
    return {"train": folder}, unread(folder, list(splits.values()), "beside the folder images")


def _pairs(folder: Path) -> list[Pair]:
    images = _by_name(folder / "images", lambda path: True)
    masks = _by_name(folder / "masks", lambda path: path.suffix.lower() == ".png")
    for name, path in images.items():
        if name not in masks:
            raise DataError(f"{path}: has no mask {folder / 'masks' / name}.png; add the mask or remove the image")
    for name, path in masks.items():
        if name not in images:
            raise DataError(
                f"{path}: has no image of that name in {folder / 'images'}; add the image or remove the mask"
            )
    if not images:
        raise DataError(f"{folder / 'images'}: has no images (PNG, JPEG, BMP, WebP, TIFF, GIF); add some")
    return [Pair(path, masks[name]) for name, path in images.items()]


def _by_name(folder: Path, keep: Callable[[Path], bool]) -> dict[Path, Path]:
    """Returns the images below a folder by their path inside it, without suffix. Raises DataError where two are alike."""
    found: dict[Path, Path] = {}
    for path in filter(keep, pictures_below(folder, "masks")[0]):
        name = path.relative_to(folder).with_suffix("")
        if found.setdefault(name, path) != path:
            raise DataError(f"{path}: has the name of {found[name]}; rename one, and its partner")
    return found


def _unread(folder: Path) -> list[str]:
    """Returns the notes on files that are neither images nor masks."""
    inside = [pictures_below(folder / name, "masks") for name in ("images", "masks")]
    others = [path for _, rest in inside for path in rest]
    masks = [path for path in inside[1][0] if path.suffix.lower() != ".png"]
    return [*left_out(folder, others), *unread(folder, masks, "masks that are no PNG")]


def _pictures(folder: Path, pairs: Sequence[Pair], classes: int) -> Pictures:
    """Returns the images of pairs, each checked against its mask; labels are the pairs' numbers."""

    def image(row: int) -> Image.Image:
        pair = pairs[row]
        read, mask = picture(pair.image, str(pair.image)), _mask(pair.mask)
        if mask.shape != (read.height, read.width):
            if mask.shape == (read.width, read.height) and read.info.get("turned"):
                raise DataError(
                    f"{pair.mask}: has {mask.shape[1]} x {mask.shape[0]} pixels, its image {read.width} x {read.height} when "
                    f"turned by its EXIF orientation ({read.info['turned']}); turn the mask, too, or remove EXIF from the image"
                )
            raise DataError(
                f"{pair.mask}: has {mask.shape[1]} x {mask.shape[0]} pixels, its image {read.width} x {read.height}; "
                f"store masks in the size of their images"
            )
        if mask.max() >= classes:
            raise DataError(f"{pair.mask}: has label {mask.max()}, which is not in the training data; leave it out")
        return read

    return Pictures(str(folder / "images"), np.arange(len(pairs)), image)


# ---- decoding


def _class_count(pairs: Sequence[Pair]) -> int:
    """Returns the number of classes in the masks. Raises DataError unless they are numbered from 0 without gaps.

    Damaged masks are left to the decoding of their images, which lists or skips them.
    """
    found: set[int] = set()
    for pair in pairs:
        with suppress(DamagedImageError):
            found.update(np.unique(_mask(pair.mask)).tolist())
    labels: IntArray = np.array(sorted(found - {UNLABELLED}), dtype=np.int64)
    require_numbered(str(pairs[0].mask.parent), labels)
    if len(labels) < 2 and found:
        hint = ", numbered from 0 (255 means no class)" if UNLABELLED in found else ""
        raise DataError(f"{pairs[0].mask.parent}: has {len(labels)} classes; give it at least 2{hint}")
    return len(labels)


def _masked(pairs: Sequence[Pair], part: Examples, shape: Shape) -> Examples:
    """Returns the images of a split with their masks, scaled to `shape` (rows, columns)."""
    masks = np.empty((len(part), *shape), dtype=np.int64)
    for target, row in zip(masks, part.labels.tolist(), strict=True):
        target[:] = nearest(_mask(pairs[row].mask), shape)
    return Examples(part.raw, masks)


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
