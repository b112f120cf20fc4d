"""Images with masks to segment: one class per pixel.

Shapes: N images, K classes, C channels, H rows, W columns.
"""

import json
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hwnas.core.arrays import IntArray
from hwnas.data.pictures import Normalisation, normalisation, shifted_together
from hwnas.data.request import DataRequest
from hwnas.data.splits import Examples, digest_of, sizes

UNLABELLED: Final = -100  # the label of pixels that are not learned or scored; torch's losses ignore it by default


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class SegmentationData:
    """Splits hold images (N, C, H, W) from 0 to 255 and masks (N, H, W) from 0 to K-1 or `UNLABELLED`, int64.

    `augmentation` is `none` or `shift`. Masks are not mirrored: classes may be sides, as of a road.
    """

    task: ClassVar[str] = "segmentation"

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
        """Returns training images (N, C, H, W) and masks (N, H, W), each image shifted with its mask."""
        images, masks = self.train.raw[indices], self.train.labels[indices]
        if self.augmentation == "shift":
            images, masks = shifted_together(images, masks, rng)
        return self.inputs(images), torch.from_numpy(np.ascontiguousarray(masks))

    def calibration_order(self) -> IntArray:
        """Returns a fixed random order of the training images."""
        return np.random.default_rng(0).permutation(len(self.train))

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
        """Returns a hash that changes with an image, a mask, a class's name or a split."""
        return digest_of([self.classes], (self.train, self.validation, self.test))

    def metadata(self) -> dict[str, str]:
        """Returns the classes by label, and mean and standard deviation per channel; all as JSON."""
        return {
            "hwnas.classes": json.dumps(self.classes),
            "hwnas.mean": json.dumps(self.normalise.mean),
            "hwnas.std": json.dumps(self.normalise.std),
        }


def segmented(
    request: DataRequest, train: Examples, validation: Examples, test: Examples, classes: tuple[str, ...]
) -> SegmentationData:
    """Returns the splits as a data set, normalised by its training images, shifted when trained on."""
    return SegmentationData(
        reference=request.reference,
        train=train,
        validation=validation,
        test=test,
        classes=classes,
        normalise=normalisation(train.raw),
        augmentation="shift",
    )
