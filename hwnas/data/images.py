"""Images to classify: split, brought to one shape, augmented on the way.

Knows nothing of networks or spaces, only the shape (C, H, W) and the number of classes asked for.
Shapes: N images, K classes, C channels, H rows, W columns.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hwnas.core.arrays import IntArray
from hwnas.data.pictures import Normalisation, augmented, decoded, normalisation
from hwnas.data.request import DataRequest
from hwnas.data.sources import ClassCollection
from hwnas.data.splits import Examples, digest_of, sizes, split_rows, stratified_order
from hwnas.errors import DataError


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ImageData:
    """Splits hold images (N, C, H, W) from 0 to 255 and labels (N,) from 0 to K-1."""

    task: ClassVar[str] = "classification"

    reference: str
    train: Examples
    validation: Examples
    test: Examples
    classes: tuple[str, ...]
    normalise: Normalisation
    augmentation: str

    @property
    def outputs(self) -> int:
        """Returns the number of classes."""
        return len(self.classes)

    def inputs(self, raw: NDArray[Any]) -> Tensor:
        """Returns the images (N, C, H, W) as float32 of the same shape, normalised per channel."""
        return self.normalise(raw)

    def training_batch(self, indices: IntArray, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Returns augmented training images (N, C, H, W) and their labels (N,)."""
        x = augmented(self.inputs(self.train.raw[indices]), self.augmentation, rng)
        return x, torch.from_numpy(self.train.labels[indices])

    def calibration_order(self) -> IntArray:
        """Returns a fixed order of the training images whose every beginning has the classes in proportion."""
        return stratified_order(self.train.labels, np.random.default_rng(0))

    def describe(self) -> dict[str, Any]:
        """Returns the facts that a run stores of its data; fit for JSON."""
        return {
            "reference": self.reference,
            "classes": list(self.classes),
            "mean": list(self.normalise.mean),
            "std": list(self.normalise.std),
            "augmentation": self.augmentation,
            "sizes": sizes(self.train, self.validation, self.test),
            "image_shape": list(self.train.raw.shape[1:]),
            "digest": self.digest(),
        }

    def digest(self) -> str:
        """Returns a hash that changes with an image, a label, a class's name or a split."""
        return digest_of([self.classes], (self.train, self.validation, self.test))

    def metadata(self) -> dict[str, str]:
        """Returns the classes by label, and mean and standard deviation per channel; all as JSON."""
        return {
            "hwnas.classes": json.dumps(self.classes),
            "hwnas.mean": json.dumps(self.normalise.mean),
            "hwnas.std": json.dumps(self.normalise.std),
        }


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
