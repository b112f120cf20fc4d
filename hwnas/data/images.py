"""Images to classify: split, brought to one shape, augmented on the way.

Knows nothing of networks or spaces, only the shape (C, H, W) and the number of classes asked for.
Shapes: N images, K classes, C channels, H rows, W columns.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from hwnas.core.arrays import IntArray
from hwnas.data.decoding import decoded
from hwnas.data.labelled import LabelledImages
from hwnas.data.pictures import augmented
from hwnas.data.request import DataRequest
from hwnas.data.sources import ClassCollection
from hwnas.data.splits import Examples, stratified_order
from hwnas.errors import DataError


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ImageData(LabelledImages):
    """Splits hold images (N, C, H, W) from 0 to 255 and labels (N,) from 0 to K-1."""

    task: ClassVar[str] = "classification"
    named_by: ClassVar[str] = "classes"

    classes: tuple[str, ...]

    def labelling(self) -> dict[str, tuple[Any, ...]]:
        """Returns the names of the classes, by label."""
        return {"classes": self.classes}

    def training_batch(self, indices: IntArray, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Returns augmented training images (N, C, H, W) and their labels (N,)."""
        x = augmented(self.inputs(self.train.raw[indices]), self.augmentation, rng)
        return x, torch.from_numpy(self.train.labels[indices])

    def calibration_order(self) -> IntArray:
        """Returns a fixed order of the training images whose every beginning has the classes in proportion."""
        return stratified_order(self.train.labels, np.random.default_rng(0))


def load_images(request: DataRequest, read: Callable[[Path], ClassCollection]) -> ImageData:
    """Returns the images of a collection, brought to the request's shape (C, H, W).

    Validation and test have at most a quarter of the limit, but one image per class.
    Raises DataError for data that is missing, damaged, too small to split, or of another number of classes.
    """
    request.require_images()
    return classified(request, read(request.path))


def classified(request: DataRequest, collection: ClassCollection) -> ImageData:
    """Returns the images of a collection that was read."""
    count = len(collection.classes)
    request.require_outputs(count, "classes")
    if request.limit is not None and request.limit < count:
        raise DataError(
            f"{request.reference}: a limit of {request.limit} is below one image for each of {count} classes"
        )
    read = decoded(request, collection, lambda pictures: pictures.labels, fewest=count)
    missing = np.setdiff1d(np.arange(count), read.train.labels)
    if len(missing):
        raise DataError(
            f"{request.reference}: no undamaged image of class {collection.classes[missing[0]]!r} is left to train on; "
            f"replace the damaged ones"
        )
    return ImageData(
        reference=request.reference,
        train=_int64(read.train),
        validation=_int64(read.validation),
        test=_int64(read.test),
        classes=collection.classes,
        normalise=request.normalisation(read.train.raw),
        augmentation=request.augmentation(collection.augmentation),
        preparation=read.preparation,
        notes=read.notes,
    )


def _int64(split: Examples) -> Examples:
    return Examples(split.raw, split.labels.astype(np.int64))
