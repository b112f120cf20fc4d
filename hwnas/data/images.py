"""Images and labels to train on: found where a reference says, split, brought to one shape, augmented on the way.

Knows nothing of networks or spaces, only the shape (C, H, W) and the number of classes asked for.
Shapes: N images, K classes, C channels, H rows, W columns.
"""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from hwnas.core.arrays import IntArray
from hwnas.core.operator import Shape
from hwnas.data.sources import LOADERS, MODES, ByteArray, Found, Source
from hwnas.errors import DataError, UnknownNameError

AUGMENTATIONS: Final = ("none", "shift", "shift+flip")


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """`images` (N, C, H, W) from 0 to 255, `labels` (N,) from 0 to K-1."""

    images: ByteArray
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def raw(self) -> ByteArray:
        """What `ImageData.inputs` takes: the images."""
        return self.images


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ImageData:
    """`mean` and `std` are those of each channel of the training images, scaled to 0..1."""

    reference: str
    train: Split
    validation: Split
    test: Split
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augmentation: str

    def inputs(self, raw: NDArray[Any]) -> Tensor:
        """What a network is given for images (N, C, H, W): float32 of the same shape, normalised per channel."""
        mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (self.mean, self.std))
        x = torch.tensor(raw, dtype=torch.float32).div_(255).sub_(mean).div_(std)
        # Channels last: depthwise convolutions on a CPU train two to five times as fast.
        return x.contiguous(memory_format=torch.channels_last)

    def training_batch(self, indices: IntArray, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Augmented training images (N, C, H, W) and their labels (N,)."""
        generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
        x = augment(self.inputs(self.train.images[indices]), self.augmentation, generator)
        return x, torch.from_numpy(self.train.labels[indices])

    def calibration_order(self) -> IntArray:
        """A fixed order in which every class is alike."""
        return stratified_order(self.train.labels, np.random.default_rng(0))

    def describe(self) -> dict[str, Any]:
        """What a run stores of its data; fit for JSON."""
        return {
            "reference": self.reference,
            "classes": list(self.classes),
            "mean": list(self.mean),
            "std": list(self.std),
            "augmentation": self.augmentation,
            "sizes": {"train": len(self.train), "validation": len(self.validation), "test": len(self.test)},
            "image_shape": list(self.train.images.shape[1:]),
            "digest": self.digest(),
        }

    def digest(self) -> str:
        """Changes when an image, a label, a class's name or a split changes: what a resumed run checks."""
        hashed = hashlib.blake2s(repr(self.classes).encode())
        for split in (self.train, self.validation, self.test):
            for array in (split.images, split.labels):
                hashed.update(np.ascontiguousarray(array).data)
        return hashed.hexdigest()[:16]

    def metadata(self) -> dict[str, str]:
        """The classes by label, and mean and standard deviation per channel; all as JSON."""
        return {
            "hwnas.classes": json.dumps(self.classes),
            "hwnas.mean": json.dumps(self.mean),
            "hwnas.std": json.dumps(self.std),
        }


def load_images(
    reference: str, input_shape: Shape, *, classes: int | None = None, seed: int = 0, limit: int | None = None
) -> ImageData:
    """The images that a reference of `LOADERS` names, brought to `input_shape` (C, H, W).

    `limit` is the most training images; validation and test then have at most a quarter of that, but one per class.
    Raises DataError for what is missing, damaged or too small to split, or has not as many `classes` as asked for.
    """
    name, _, location = reference.partition(":")
    if input_shape[0] not in MODES:
        raise DataError(f"{reference}: images have 1, 3 or 4 channels; the space cannot ask for {input_shape[0]}")
    found = LOADERS[name](Path(os.path.expanduser(location)))
    if classes not in (None, len(found.classes)):
        raise DataError(
            f"{reference} has {len(found.classes)} classes, the space {classes}; "
            f"give --space-option classes={len(found.classes)}"
        )
    if limit is not None and limit < len(found.classes):
        raise DataError(f"{reference}: a limit of {limit} is below one image for each of {len(found.classes)} classes")
    train, validation, test = (_decoded(*part, input_shape) for part in _parts(found, seed, limit))
    mean, std = _moments(train.images)
    return ImageData(
        reference=reference,
        train=train,
        validation=validation,
        test=test,
        classes=found.classes,
        mean=mean,
        std=std,
        augmentation=found.augmentation,
    )


def augment(batch: Tensor, augmentation: str, generator: torch.Generator) -> Tensor:
    """Each image of `batch` (N, C, H, W) moved by up to an eighth of its size, zeros filling in, and perhaps mirrored.

    The result has the batch's device and memory format, and depends on the generator's state alone.
    """
    if augmentation not in AUGMENTATIONS:
        raise UnknownNameError("augmentation", augmentation, list(AUGMENTATIONS))
    if augmentation == "none":
        return batch
    n, _, h, w = batch.shape

    def draw(options: int) -> Tensor:
        return torch.randint(options, (n,), generator=generator, device=generator.device).to(batch.device)

    far_h, far_w = h // 8, w // 8
    top, left = draw(2 * far_h + 1), draw(2 * far_w + 1)
    if augmentation == "shift+flip":
        batch = torch.where(draw(2).view(-1, 1, 1, 1) == 1, batch.flip(3), batch)
    # A view of every window of the padded images, of which each image takes one: no copy but the result.
    windows = F.pad(batch, (far_w, far_w, far_h, far_h)).unfold(2, h, 1).unfold(3, w, 1)
    moved = windows[torch.arange(n, device=batch.device), :, top, left]
    return torch.empty_like(batch).copy_(moved)


# ---- which images


def _parts(found: Found, seed: int, limit: int | None) -> list[tuple[Source, IntArray]]:
    """The rows of train, validation and test: 60/20/20, or with a test set a tenth of the training set to validate."""
    rng = np.random.default_rng(seed)
    classes, labels = len(found.classes), found.train.labels
    rows: IntArray = np.arange(len(labels))
    if found.test is None:
        held, rows = _hold_out(labels, rows, max(classes, round(len(rows) / 5)), rng)
        test, share = (found.train, held), 4
    else:
        test, share = (found.test, np.arange(len(found.test.labels))), 10
    validation, train = _hold_out(labels, rows, max(classes, round(len(rows) / share)), rng)
    parts = [(found.train, train), (found.train, validation), test]
    if limit is None:
        return parts
    fewer = max(limit // 4, classes)
    return [
        (source, _hold_out(source.labels, rows, most, rng)[0])
        for (source, rows), most in zip(parts, (limit, fewer, fewer), strict=True)
    ]


def _hold_out(labels: IntArray, rows: IntArray, count: int, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
    """`count` of the rows, each class in proportion, and the other rows; both in order.

    Not scikit-learn's train_test_split, which refuses classes of one image and remainders smaller than the classes.
    """
    order = rows[stratified_order(labels[rows], rng)]
    return np.sort(order[:count]), np.sort(order[count:])


def stratified_order(labels: IntArray, rng: np.random.Generator) -> IntArray:
    """A random order (N,) whose every beginning has the classes in proportion, one of each first.

    >>> labels = np.array([0, 0, 0, 0, 1, 1])
    >>> sorted(labels[stratified_order(labels, np.random.default_rng(0))][:3].tolist())
    [0, 0, 1]
    """
    order = rng.permutation(len(labels))
    _, classes, counts = np.unique(labels[order], return_inverse=True, return_counts=True)
    rank = np.empty(len(labels), dtype=np.int64)
    rank[np.argsort(classes, kind="stable")] = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    place = np.where(rank == 0, 0, (rank + 0.5) / counts[classes])
    return np.asarray(order[np.argsort(place, kind="stable")])


# ---- images of one shape


def _decoded(source: Source, rows: IntArray, shape: Shape) -> Split:
    images = np.empty((len(rows), *shape), dtype=np.uint8)
    for image, row in zip(images, rows, strict=True):
        image[:] = _fitted(source.image(int(row)), shape)
    return Split(images, source.labels[rows].astype(np.int64))


def _fitted(image: Image.Image, shape: Shape) -> ByteArray:
    """The image as (C, H, W): grey by luminance, colour from grey by repetition, size by antialiased interpolation."""
    channels, height, width = shape
    if image.mode.startswith("I"):  # grey of 16 bits, which pillow would clip, not scale
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")  # or pillow warns of palettes with transparency
    image = image.convert(MODES[channels])
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(image).reshape(height, width, channels).transpose(2, 0, 1)


def _moments(images: ByteArray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel, scaled to 0..1; where nothing varies the latter is 1."""
    mean = images.mean(axis=(0, 2, 3))
    variance = np.square(images, dtype=np.uint16).mean(axis=(0, 2, 3)) - mean**2
    std = np.sqrt(np.where(variance > 1e-6, variance, 255**2))
    return tuple((mean / 255).tolist()), tuple((std / 255).tolist())
