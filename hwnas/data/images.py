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
from hwnas.data.labelled import LabelledImages
from hwnas.data.pictures import augmented, decoded, normalisation
from hwnas.data.request import DataRequest
from hwnas.data.sources import ClassCollection
from hwnas.data.splits import Examples, split_rows, stratified_order
from hwnas.errors import DataError


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ImageData(LabelledImages):
    """Splits hold images (N, C, H, W) from 0 to 255 and labels (N,) from 0 to K-1."""

    task: ClassVar[str] = "classification"

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
    train, test = collection.train, collection.test
    rows = split_rows(
        train.labels,
        test_groups=None if test is None else test.labels,
        seed=request.seed,
        limit=request.limit,
        fewest=count,
    )
    tested = test or train
    splits = [
        Examples(decoded(pictures.image, part, request.input_shape), pictures.labels[part].astype(np.int64))
        for pictures, part in ((train, rows.train), (train, rows.validation), (tested, rows.test))
    ]
    return ImageData(
        reference=request.reference,
        train=splits[0],
        validation=splits[1],
        test=splits[2],
        classes=collection.classes,
        normalise=normalisation(splits[0].raw),
        augmentation=collection.augmentation,
    )
