"""Series: samples along one axis, such as time, in one or more channels; read, standardised, shifted and disturbed.

Shapes: N series, C channels, L length.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from hwnas.core.arrays import IntArray
from hwnas.data.decoding import Decoded, require_whole, sizes_note, split_parts
from hwnas.data.image_files import named
from hwnas.data.memory import require_memory
from hwnas.data.options import SERIES_AUGMENTATIONS
from hwnas.data.request import DataRequest
from hwnas.data.sources import Collection, Pictures
from hwnas.data.splits import Examples
from hwnas.errors import DamagedImageError, DataError, UnknownNameError

NOISE: Final = 0.1  # standard deviation of the noise that is added, of 1 of the standardised series


@dataclass(frozen=True, slots=True)
class Standardisation:
    """`mean` and `std` are those of each channel of the training series, in the units of the samples."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    given: bool = False

    def __call__(self, series_NCL: NDArray[Any], /) -> Tensor:
        """Returns float32 of the same shape: (series - mean) / std."""
        mean, std = (torch.tensor(values).view(1, -1, 1) for values in (self.mean, self.std))
        return torch.tensor(series_NCL, dtype=torch.float32).sub_(mean).div_(std)


def standardisation(_: DataRequest, series_NCL: NDArray[Any]) -> Standardisation:
    """Returns the moments of the channels; the standard deviation of a constant channel counts as 1."""
    mean_C = series_NCL.mean(axis=(0, 2), dtype=np.float64)
    std_C = series_NCL.std(axis=(0, 2), dtype=np.float64)
    std_C = np.where(std_C > 1e-6 * np.abs(mean_C), std_C, 1.0)
    return Standardisation(tuple(mean_C.tolist()), tuple(std_C.tolist()))


def augmented(series_NCL: Tensor, augmentation: str, rng: np.random.Generator) -> Tensor:
    """Shifts each standardised series by up to an eighth of its length, filled with zeros, and perhaps adds noise.

    The result has the batch's device, and depends on the generator's state alone.
    """
    if augmentation not in SERIES_AUGMENTATIONS:
        raise UnknownNameError("augmentation of series", augmentation, list(SERIES_AUGMENTATIONS))
    if augmentation == "none":
        return series_NCL
    count, _, length = series_NCL.shape
    far = length // 8
    start = torch.from_numpy(rng.integers(0, 2 * far + 1, count))
    windows = F.pad(series_NCL, (far, far)).unfold(2, length, 1)  # a view of every window of the padded series
    moved = windows[torch.arange(count), :, start.to(series_NCL.device)]
    if augmentation == "shift+noise":
        noise = rng.normal(0, NOISE, moved.shape).astype(np.float32)
        moved = moved + torch.from_numpy(noise).to(moved.device)
    return moved


def read(
    request: DataRequest, collection: Collection, groups: Callable[[Pictures], IntArray], fewest: int = 1
) -> Decoded:
    """Splits a collection of series, `groups` (N,) in proportion, and reads them as float32 of the request's shape (C, L).

    Raises DataError for series that do not fit into memory, of another shape, and damaged ones (all of them in one message).
    """
    parts = split_parts(request, collection, groups, fewest)
    count = sum(len(rows) for _, rows in parts)
    shape = " x ".join(map(str, request.input_shape))
    needed = 4 * count * prod(request.input_shape)
    require_memory(
        request.reference, f"{count:,} series of {shape}", needed, "give --limit-images, or a shorter length"
    )
    damaged: dict[str, DamagedImageError] = {}
    splits = [_examples(request, *part, damaged) for part in parts]
    require_whole(request, damaged, splits, "series")
    notes = [sizes_note(collection, splits, request.seed), *collection.notes]
    if damaged:
        notes.append(f"damaged: {len(damaged)} series are left out ({named(sorted(damaged))})")
    return Decoded(splits[0], splits[1], splits[2], collection.preparation, tuple(notes))


def _examples(request: DataRequest, part: Pictures, rows: IntArray, damaged: dict[str, DamagedImageError]) -> Examples:
    """Returns the series of those rows (N, C, L) and their labels, without damaged ones, which are added to `damaged`."""
    series_NCL, kept = np.empty((len(rows), *request.input_shape), np.float32), list[int]()
    for row in rows.tolist():
        try:
            series_NCL[len(kept)] = _finite(f"{part.where}, series {row}", part.image(row))
        except DamagedImageError as error:
            damaged[error.where] = error
        else:
            kept.append(row)
    return Examples(series_NCL[: len(kept)], part.labels[kept])


def _finite(where: str, series_CL: NDArray[Any]) -> NDArray[Any]:
    if not np.isfinite(series_CL).all():
        raise DamagedImageError(where, "holds samples that are missing or not finite")
    return series_CL


def require_shape(request: DataRequest, where: str, shape: tuple[int, ...]) -> None:
    """Raises DataError where series of a shape (C, L) are not what the networks take."""
    if shape != tuple(request.input_shape):
        takes, has = (f"{one[0]} channels of {one[1]} samples" for one in (request.input_shape, shape))
        raise DataError(
            f"{where}: series have {has}, and the space takes {takes}; give --space-option channels={shape[0]} "
            f"--space-option length={shape[1]}"
        )
