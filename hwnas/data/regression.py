"""Images or series to predict numbers from: split, brought to one shape; targets standardised by those of the training split.

Shapes: N images, T targets, C channels, H rows, W columns.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hwnas.core.arrays import IntArray
from hwnas.data.forms import form_of
from hwnas.data.labelled import LabelledImages
from hwnas.data.request import DataRequest
from hwnas.data.sources import TargetCollection
from hwnas.data.splits import Examples, quantile_groups, stratified_order


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class RegressionData(LabelledImages):
    """Splits hold images (N, C, H, W) from 0 to 255, or series (N, C, L), and labels (N, T), float32:
    (targets - target_mean) / target_std.

    `targets` names the numbers, with their units.
    """

    task: ClassVar[str] = "regression"
    named_by: ClassVar[str] = "targets"

    targets: tuple[str, ...]
    target_mean: tuple[float, ...]
    target_std: tuple[float, ...]

    def labelling(self) -> dict[str, tuple[Any, ...]]:
        """Returns the names of the targets, and their scales: prediction = output x target_std + target_mean."""
        return {"targets": self.targets, "target_mean": self.target_mean, "target_std": self.target_std}

    def training_batch(self, indices: IntArray, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Returns augmented training examples (N, C, ...) and their standardised targets (N, T)."""
        x = self.form.augmented(self.inputs(self.train.raw[indices]), self.augmentation, rng)
        return x, torch.from_numpy(self.train.labels[indices])

    def calibration_order(self) -> IntArray:
        """Returns a fixed order of the training examples whose every beginning has the first target's tenths in proportion."""
        return stratified_order(quantile_groups(self.train.labels[:, 0]), np.random.default_rng(0))


def regressed(request: DataRequest, collection: TargetCollection) -> RegressionData:
    """Returns the images or series and targets of a collection, for networks with one output per target.

    Splits have the tenths of the first target in proportion. Raises DataError where the networks have other outputs.
    """
    request.require_outputs(len(collection.targets), "targets")
    form = form_of(request)
    read = form.read(request, collection, lambda pictures: quantile_groups(pictures.labels[:, 0]))
    mean_T, std_T = _moments(read.train.labels)

    def standardised(split: Examples) -> Examples:
        return Examples(split.raw, ((split.labels - mean_T) / std_T).astype(np.float32))

    return RegressionData(
        reference=request.reference,
        train=standardised(read.train),
        validation=standardised(read.validation),
        test=standardised(read.test),
        targets=collection.targets,
        target_mean=tuple(mean_T.tolist()),
        target_std=tuple(std_T.tolist()),
        normalise=form.normalising(request, read.train.raw),
        augmentation=request.augmentation(collection.augmentation, form.augmentations),
        preparation=read.preparation,
        form=form,
        notes=read.notes,
    )


def _moments(targets_NT: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Returns mean and standard deviation of each target (T,); the latter counts as 1 where a target is constant."""
    mean_T, std_T = targets_NT.mean(axis=0), targets_NT.std(axis=0)
    return mean_T, np.where(std_T > 1e-12 * np.abs(mean_T), std_T, 1.0)
