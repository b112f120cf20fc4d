"""Images or series to classify: split, brought to one shape, augmented on the way.

Knows nothing of networks or spaces, only the shape, (C, H, W) or (C, L), and the number of classes asked for.
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
from hwnas.data.forms import form_of
from hwnas.data.labelled import LabelledImages
from hwnas.data.request import DataRequest
from hwnas.data.sources import ClassCollection
from hwnas.data.splits import Examples, stratified_order
from hwnas.errors import DataError


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ImageData(LabelledImages):
    """Splits hold images (N, C, H, W) from 0 to 255, or series (N, C, L), and labels (N,) from 0 to K-1."""

    task: ClassVar[str] = "classification"
    named_by: ClassVar[str] = "classes"

    classes: tuple[str, ...]

    def labelling(self) -> dict[str, tuple[Any, ...]]:
        """Returns the names of the classes, by label."""
        return {"classes": self.classes}

    def training_batch(self, indices: IntArray, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Returns augmented training examples (N, C, ...) and their labels (N,)."""
        x = self.form.augmented(self.inputs(self.train.raw[indices]), self.augmentation, rng)
        return x, torch.from_numpy(self.train.labels[indices])

    def calibration_order(self) -> IntArray:
        """Returns a fixed order of the training examples whose every beginning has the classes in proportion."""
        return stratified_order(self.train.labels, np.random.default_rng(0))


def load_images(request: DataRequest, read: Callable[[Path], ClassCollection]) -> ImageData:
    """Returns the images of a collection, brought to the request's shape (C, H, W).

    Validation and test have at most a quarter of the limit, but one image per class.
    Raises DataError for data that is missing, damaged, too small to split, or of another number of classes.
    """
    request.require_images()
    return classified(request, read(request.path))


def classified(request: DataRequest, collection: ClassCollection) -> ImageData:
    """Returns the images or series of a collection that was read."""
    form, count = form_of(request), len(collection.classes)
    request.require_outputs(count, "classes")
    if request.limit is not None and request.limit < count:
        raise DataError(
            f"{request.reference}: a limit of {request.limit} is below one example for each of {count} classes"
        )
    read = form.read(request, collection, lambda pictures: pictures.labels, fewest=count)
    missing = np.setdiff1d(np.arange(count), read.train.labels)
    if len(missing):
        raise DataError(
            f"{request.reference}: no undamaged example of class {collection.classes[missing[0]]!r} is left to train on; "
            f"replace the damaged ones"
        )
    return ImageData(
        reference=request.reference,
        train=_int64(read.train),
        validation=_int64(read.validation),
        test=_int64(read.test),
        classes=collection.classes,
        normalise=form.normalising(request, read.train.raw),
        augmentation=request.augmentation(collection.augmentation, form.augmentations),
        preparation=read.preparation,
        form=form,
        notes=read.notes,
    )


def _int64(split: Examples) -> Examples:
    return Examples(split.raw, split.labels.astype(np.int64))
