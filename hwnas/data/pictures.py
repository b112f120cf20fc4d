"""Images as arrays: prepared for networks, normalised per channel, shifted and mirrored at random.

Shapes: N images, C channels, H rows, W columns.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageColor
from torch import Tensor
from torch.nn import functional as F

from hwnas.core.arrays import IntArray
from hwnas.core.operator import Shape
from hwnas.data.options import AUGMENTATIONS
from hwnas.data.streamed import Streamed
from hwnas.errors import UnknownNameError

ByteArray = NDArray[np.uint8]

MODES: Final = {1: "L", 3: "RGB", 4: "RGBA"}  # pillow's name for images of so many channels
Range = tuple[float, float]
ALL_16_BITS: Final[Range] = (0, 65536)
CHUNK: Final = 2**22  # bytes of images whose squares are in memory at once


@dataclass(frozen=True, slots=True)
class Normalisation:
    """`mean` and `std` are those of each channel, scaled to 0..1: of the training images, or `given` by the user or a model."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    given: bool = False

    def __call__(self, images_NCHW: NDArray[Any]) -> Tensor:
        """Returns float32 of the same shape: (image / 255 - mean) / std."""
        mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (self.mean, self.std))
        x = torch.tensor(images_NCHW, dtype=torch.float32).div_(255).sub_(mean).div_(std)
        # Channels last: depthwise convolutions on a CPU train two to five times as fast.
        return x.contiguous(memory_format=torch.channels_last)


def normalisation(images_NCHW: ByteArray | Streamed) -> Normalisation:
    """Returns the moments of the images' channels; the standard deviation of a constant channel counts as 1.

    Sums are of integers, so they are exact, and the same for images in memory and streamed ones.
    """
    images, _, rows, columns = images_NCHW.shape
    sums_2C = images_NCHW.sums_2C if isinstance(images_NCHW, Streamed) else channel_sums(images_NCHW)
    mean, squares = sums_2C / (images * rows * columns)
    variance = squares - mean**2
    std = np.sqrt(np.where(variance > 1e-6, variance, 255**2))
    return Normalisation(tuple((mean / 255).tolist()), tuple((std / 255).tolist()))


def channel_sums(images_NCHW: ByteArray) -> NDArray[np.uint64]:
    """Returns the sums of each channel and of its squares, (2, C); a few images at a time."""
    images, channels, rows, columns = images_NCHW.shape
    sums_2C = np.zeros((2, channels), np.uint64)
    step = max(1, CHUNK // (channels * rows * columns))
    for start in range(0, images, step):
        part = images_NCHW[start : start + step]
        sums_2C[0] += part.sum(axis=(0, 2, 3), dtype=np.uint64)
        sums_2C[1] += np.square(part, dtype=np.uint16).sum(axis=(0, 2, 3), dtype=np.uint64)
    return sums_2C


@dataclass(frozen=True, slots=True)
class Preparation:
    """All that is done to an upright image before it is normalised.

    `shape` is (C, H, W). `grey_range` holds the values of deep grey (16 bits and more) that become 0 and 256.
    """

    shape: Shape
    background: str = "white"
    grey_range: Range = ALL_16_BITS

    def __call__(self, image: Image.Image) -> ByteArray:
        """Returns the image as (C, H, W): grey by luminance, colour from grey by repetition, transparency over the
        background, size by antialiased interpolation."""
        channels, height, width = self.shape
        if is_deep(image):
            image = _of_8_bits(image, self.grey_range)
        if image.has_transparency_data:
            image = image.convert("RGBA")  # or pillow warns of palettes with transparency
            if channels != 4:
                behind = Image.new("RGBA", image.size, (*self._colour, 255))
                image = Image.alpha_composite(behind, image).convert("RGB")
        image = image.convert(MODES[channels])
        if image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        return np.asarray(image).reshape(height, width, channels).transpose(2, 0, 1)

    @property
    def _colour(self) -> tuple[int, ...]:
        return ImageColor.getrgb(self.background)[:3]

    def describe(self) -> dict[str, Any]:
        """Returns all that is needed to prepare an image elsewhere; fit for JSON."""
        channels, height, width = self.shape
        return {
            "orientation": "exif",
            "grey_range": list(self.grey_range),
            "channels": MODES[channels],
            "background": list(self._colour) if channels != 4 else None,
            "size": [height, width],
            "resize": "bilinear",
            "antialias": True,
            "fit": "squash",
            "scale": 255,
        }


def is_deep(image: Image.Image) -> bool:
    """Returns True for grey of 16 bits and more, which pillow would clip, not scale."""
    return image.mode.startswith("I") or image.mode == "F"


def _of_8_bits(image: Image.Image, grey_range: Range) -> Image.Image:
    low, high = grey_range
    stored = np.asarray(image).astype(np.float64)
    grey = Image.fromarray(np.floor((stored - low) * 256 / (high - low)).clip(0, 255).astype(np.uint8))
    if "transparency" not in image.info:
        return grey
    opacity = Image.fromarray(np.where(stored == image.info["transparency"], 0, 255).astype(np.uint8))
    return Image.merge("LA", (grey, opacity))


def augment(batch: Tensor, augmentation: str, generator: torch.Generator) -> Tensor:
    """Shifts each image of `batch` (N, C, H, W) by up to an eighth of its size, filled with zeros, and perhaps mirrors it.

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


def augmented(normalised: Tensor, augmentation: str, rng: np.random.Generator) -> Tensor:
    """Returns `augment` of a batch with randomness from a numpy generator."""
    return augment(normalised, augmentation, torch.Generator().manual_seed(int(rng.integers(2**31))))


def augmented_together(
    images_NCHW: ByteArray, masks_NHW: NDArray[Any], augmentation: str, rng: np.random.Generator
) -> tuple[ByteArray, NDArray[Any]]:
    """Shifts, and perhaps mirrors, each image and its mask alike."""
    if augmentation == "none":
        return images_NCHW, masks_NHW
    images_NCHW, masks_NHW = shifted_together(images_NCHW, masks_NHW, rng)
    if augmentation == "shift+flip":
        is_mirrored = rng.integers(0, 2, len(masks_NHW)) == 1
        images_NCHW = np.where(is_mirrored[:, None, None, None], images_NCHW[..., ::-1], images_NCHW)
        masks_NHW = np.where(is_mirrored[:, None, None], masks_NHW[..., ::-1], masks_NHW)
    return images_NCHW, masks_NHW


def shifted_together(
    images_NCHW: ByteArray, masks_NHW: NDArray[Any], rng: np.random.Generator
) -> tuple[ByteArray, NDArray[Any]]:
    """Shifts each image and its mask alike by up to an eighth of the size; the border pixels are repeated into the gap.

    Repeating keeps image and mask consistent, which zeros would not: class 0 need not look like the fill.
    """
    n, _, height, width = images_NCHW.shape

    def sources(size: int) -> IntArray:
        far = size // 8
        shift_N1: IntArray = rng.integers(-far, far + 1, (n, 1))
        return np.asarray(np.clip(np.arange(size) + shift_N1, 0, size - 1))

    rows_NH1, columns_N1W = sources(height)[:, :, None], sources(width)[:, None, :]
    example_N11 = np.arange(n)[:, None, None]
    moved = images_NCHW.transpose(0, 2, 3, 1)[example_N11, rows_NH1, columns_N1W]
    return moved.transpose(0, 3, 1, 2), masks_NHW[example_N11, rows_NH1, columns_N1W]
