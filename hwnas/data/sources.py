"""Sources of labelled examples: images or series with labels, in splits of their own or in one; decoded when asked for.

Shapes: N images, T targets.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hwnas.core.arrays import IntArray
from hwnas.data.pictures import ByteArray
from hwnas.errors import DataError

FEWEST: Final = 3  # training images per class: one for each split


class Prepared(Protocol):
    """A preparation of an example before it is normalised."""

    def describe(self) -> dict[str, Any]:
        """Returns all that is needed to prepare an example elsewhere; fit for JSON."""


@dataclass(frozen=True, slots=True, eq=False)
class Pictures:
    """Labels (N,) or targets (N, T), and images that are decoded one by one when asked for; `where` is for messages.

    An image is one of pillow's, or a series: an array (C, L).
    """

    where: str
    labels: NDArray[Any]
    image: Callable[[int], Any]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Collection:
    """Pictures by split: `train`, and `validation` and `test` where they are given, else these are taken from `train`.

    `things` are images or series; series have their `preparation` here. `augmentation` is the usual one, and `notes` are what
    people should know of the reading. `on_disk` is True for images that are decoded from files.
    """

    parts: Mapping[str, Pictures]
    things: str = "images"
    augmentation: str = "shift"
    preparation: Prepared | None = None
    notes: tuple[str, ...] = ()
    on_disk: bool = False

    @property
    def train(self) -> Pictures:
        return self.parts["train"]

    def held_out(self) -> list[Pictures]:
        """Returns the validation and test pictures, as far as they are given."""
        return [part for part in self.parts.values() if part is not self.train]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ClassCollection(Collection):
    """Images or series with classes, enough of each class to split."""

    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.classes) < 2:
            raise DataError(f"{self.train.where}: has {len(self.classes)} classes; give it at least 2")
        counts = np.bincount(self.train.labels, minlength=len(self.classes))
        for name, count in zip(self.classes, counts, strict=True):
            if count < FEWEST:
                raise DataError(
                    f"{self.train.where}: class {name!r} has {count} {self.things}; give it at least {FEWEST}"
                )
        for part in self.held_out():
            foreign = np.setdiff1d(part.labels, np.arange(len(self.classes)))
            if len(foreign):
                raise DataError(f"{part.where}: label {foreign[0]} is not in the training data; leave it out")
            if not len(part.labels):
                raise DataError(f"{part.where}: has no {self.things}; add some, or leave this split out")


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class TargetCollection(Collection):
    """Images or series with numbers to predict, `targets` by name."""

    targets: tuple[str, ...]

    def __post_init__(self) -> None:
        for part in (self.train, *self.held_out()):
            if not np.isfinite(part.labels).all():
                row = int(np.flatnonzero(~np.isfinite(part.labels).all(axis=1))[0])
                raise DataError(f"{part.where}: the target of row {row} is not a finite number; replace or remove it")
            if part.labels.shape[1] != len(self.targets):
                raise DataError(
                    f"{part.where}: {part.labels.shape[1]} targets per example, {len(self.targets)} in the training data; "
                    f"store as many"
                )
            fewest = FEWEST if part is self.train else 1
            if len(part.labels) < fewest:
                raise DataError(f"{part.where}: has {len(part.labels)} {self.things}; give it at least {fewest}")


def read_digits(_: Path) -> ClassCollection:
    """Reads scikit-learn's 1,797 scans of handwritten digits, 8 x 8 pixels."""
    from sklearn.datasets import load_digits  # takes a second to import

    scans = load_digits()
    images = (scans.images * (255 / 16)).round().astype(np.uint8)
    return ClassCollection(parts={"train": wrapped("digits", images, scans.target)}, classes=tuple("0123456789"))


def wrapped(where: str, images: ByteArray, labels: NDArray[Any]) -> Pictures:
    """Returns images (N, H, W) or (N, H, W, C) of an array, with their labels."""
    planes = images[..., 0] if images.shape[3:] == (1,) else images
    return Pictures(where, labels, lambda row: Image.fromarray(np.ascontiguousarray(planes[row])))


def numbered(pictures: Pictures) -> tuple[str, ...]:
    """Returns the class names of labels that are plain numbers."""
    require_numbered(pictures.where, np.unique(pictures.labels))
    return tuple(map(str, range(len(np.unique(pictures.labels)))))


def require_numbered(where: str, labels: IntArray) -> None:
    """Raises DataError where the sorted, distinct labels are not 0, 1, 2, ..."""
    wrong = np.flatnonzero(labels != np.arange(len(labels)))
    if len(wrong):
        raise DataError(
            f"{where}: has label {labels[wrong[0]]} but not {wrong[0]}; number the classes from 0 without gaps"
        )
