"""Images to predict numbers from: split, brought to one shape; targets standardised by those of the training split.

Shapes: N images, T targets, C channels, H rows, W columns.
"""

import json
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hwnas.core.arrays import IntArray
from hwnas.data.pictures import Normalisation, augmented, decoded, normalisation
from hwnas.data.request import DataRequest
from hwnas.data.sources import Pictures, TargetCollection
from hwnas.data.splits import Examples, digest_of, quantile_groups, sizes, split_rows, stratified_order


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class RegressionData:
    """Splits hold images (N, C, H, W) from 0 to 255 and labels (N, T): (targets - target_mean) / target_std, float32.

    `targets` names the numbers, with their units.
    """

    task: ClassVar[str] = "regression"

    reference: str
    train: Examples
    validation: Examples
    test: Examples
    targets: tuple[str, ...]
    target_mean: tuple[float, ...]
    target_std: tuple[float, ...]
    normalise: Normalisation
    augmentation: str

    @property
    def outputs(self) -> int:
        """Returns the number of targets."""
        return len(self.targets)

    def inputs(self, raw: NDArray[Any]) -> Tensor:
        """Returns the images (N, C, H, W) as float32 of the same shape, normalised per channel."""
        return self.normalise(raw)

    def training_batch(self, indices: IntArray, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Returns augmented training images (N, C, H, W) and their standardised targets (N, T)."""
        x = augmented(self.inputs(self.train.raw[indices]), self.augmentation, rng)
        return x, torch.from_numpy(self.train.labels[indices])

    def calibration_order(self) -> IntArray:
        """Returns a fixed order of the training images whose every beginning has the first target's tenths in proportion."""
        return stratified_order(quantile_groups(self.train.labels[:, 0]), np.random.default_rng(0))

    def describe(self) -> dict[str, Any]:
        """Returns the facts that a run stores of its data; fit for JSON."""
        return {
            "reference": self.reference,
            "targets": list(self.targets),
            "target_mean": list(self.target_mean),
            "target_std": list(self.target_std),
            "mean": list(self.normalise.mean),
            "std": list(self.normalise.std),
            "augmentation": self.augmentation,
            "sizes": sizes(self.train, self.validation, self.test),
            "image_shape": list(self.train.raw.shape[1:]),
            "digest": self.digest(),
        }

    def digest(self) -> str:
        """Returns a hash that changes with an image, a target, its scale, its name or a split."""
        facts = (self.targets, self.target_mean, self.target_std)
        return digest_of(facts, (self.train, self.validation, self.test))

    def metadata(self) -> dict[str, str]:
        """Returns, as JSON, what an ONNX file needs: prediction = output x target_std + target_mean, by target."""
        return {
            "hwnas.targets": json.dumps(self.targets),
            "hwnas.target_mean": json.dumps(self.target_mean),
            "hwnas.target_std": json.dumps(self.target_std),
            "hwnas.mean": json.dumps(self.normalise.mean),
            "hwnas.std": json.dumps(self.normalise.std),
        }


def regressed(request: DataRequest, collection: TargetCollection) -> RegressionData:
    """Returns the images and targets of a collection, for networks with one output per target.

    Splits have the tenths of the first target in proportion. Raises DataError where the networks have other outputs.
    """
    request.require_outputs(len(collection.targets), "targets")
    train = collection.train
    tested = collection.test or train
    groups = quantile_groups(train.labels[:, 0])
    test_groups = None if collection.test is None else quantile_groups(tested.labels[:, 0])
    rows = split_rows(groups, test_groups=test_groups, seed=request.seed, limit=request.limit)
    mean_T, std_T = _moments(train.labels[rows.train])

    def split(pictures: Pictures, part: IntArray) -> Examples:
        standardised = ((pictures.labels[part] - mean_T) / std_T).astype(np.float32)
        return Examples(decoded(pictures.image, part, request.input_shape), standardised)

    trained_on = split(train, rows.train)
    return RegressionData(
        reference=request.reference,
        train=trained_on,
        validation=split(train, rows.validation),
        test=split(tested, rows.test),
        targets=collection.targets,
        target_mean=tuple(mean_T.tolist()),
        target_std=tuple(std_T.tolist()),
        normalise=normalisation(trained_on.raw),
        augmentation=collection.augmentation,
    )


def _moments(targets_NT: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Returns mean and standard deviation of each target (T,); the latter counts as 1 where a target is constant."""
    mean_T, std_T = targets_NT.mean(axis=0), targets_NT.std(axis=0)
    return mean_T, np.where(std_T > 1e-12 * np.abs(mean_T), std_T, 1.0)
