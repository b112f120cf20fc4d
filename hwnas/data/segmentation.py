"""Images with masks to segment: one class per pixel.

Shapes: N images, K classes, C channels, H rows, W columns.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from hwnas.core.arrays import IntArray
from hwnas.data.labelled import LabelledImages
from hwnas.data.pictures import normalisation, shifted_together
from hwnas.data.request import DataRequest
from hwnas.data.splits import Examples


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class SegmentationData(LabelledImages):
    """Splits hold images (N, C, H, W) from 0 to 255 and masks (N, H, W) from 0 to K-1 or `UNLABELLED`, int64.

    `augmentation` is `none` or `shift`. Masks are not mirrored: classes may be sides, as of a road.
    """

    task: ClassVar[str] = "segmentation"

    classes: tuple[str, ...]

    def labelling(self) -> dict[str, tuple[Any, ...]]:
        """Returns the names of the classes, by label."""
        return {"classes": self.classes}

    def training_batch(self, indices: IntArray, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Returns training images (N, C, H, W) and masks (N, H, W), each image shifted with its mask."""
        images, masks = self.train.raw[indices], self.train.labels[indices]
        if self.augmentation == "shift":
            images, masks = shifted_together(images, masks, rng)
        return self.inputs(images), torch.from_numpy(np.ascontiguousarray(masks))

    def calibration_order(self) -> IntArray:
        """Returns a fixed random order of the training images."""
        return np.random.default_rng(0).permutation(len(self.train))


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
