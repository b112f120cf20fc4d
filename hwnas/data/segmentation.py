"""Images with masks to segment: one class per pixel.

Shapes: N images, K classes, C channels, H rows, W columns.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from hwnas.core.arrays import IntArray
from hwnas.data.labelled import LabelledImages
from hwnas.data.pictures import augmented_together
from hwnas.data.request import DataRequest
from hwnas.data.sources import Prepared
from hwnas.data.splits import Examples


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class SegmentationData(LabelledImages):
    """Splits hold images (N, C, H, W) from 0 to 255 and masks (N, H, W) from 0 to K-1 or `UNLABELLED`, int64.

    Masks are not mirrored unless that is asked for: classes may be sides, as of a road.
    """

    task: ClassVar[str] = "segmentation"
    named_by: ClassVar[str] = "classes"

    classes: tuple[str, ...]

    def labelling(self) -> dict[str, tuple[Any, ...]]:
        """Returns the names of the classes, by label."""
        return {"classes": self.classes}

    def training_batch(self, indices: IntArray, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Returns training images (N, C, H, W) and masks (N, H, W), each image changed with its mask."""
        images, masks = self.train.raw[indices], self.train.labels[indices]
        images, masks = augmented_together(images, masks, self.augmentation, rng)
        return self.inputs(images), torch.from_numpy(np.ascontiguousarray(masks))

    def calibration_order(self) -> IntArray:
        """Returns a fixed random order of the training images."""
        return np.random.default_rng(0).permutation(len(self.train))


def segmented(
    request: DataRequest,
    splits: Sequence[Examples],
    classes: tuple[str, ...],
    preparation: Prepared | None,
    notes: tuple[str, ...] = (),
) -> SegmentationData:
    """Returns train, validation and test as a data set, normalised by its training images, shifted when trained on."""
    train, validation, test = splits
    return SegmentationData(
        reference=request.reference,
        train=train,
        validation=validation,
        test=test,
        classes=classes,
        normalise=request.normalisation(train.raw),
        augmentation=request.augmentation("shift"),
        preparation=preparation,
        notes=notes,
    )
