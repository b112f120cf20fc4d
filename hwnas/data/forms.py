"""The forms of examples that networks take by channel: images and series. A form says how examples are read and augmented.

Shapes: N examples, C channels.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from hwnas.core.arrays import IntArray
from hwnas.data import pictures, series
from hwnas.data.decoding import Decoded, decoded
from hwnas.data.options import AUGMENTATIONS, SERIES_AUGMENTATIONS
from hwnas.data.request import DataRequest
from hwnas.data.sources import Collection, Pictures


class Normalising(Protocol):
    """Normalises examples by mean and standard deviation per channel: of the training split, or `given`."""

    @property
    def mean(self) -> tuple[float, ...]: ...

    @property
    def std(self) -> tuple[float, ...]: ...

    @property
    def given(self) -> bool: ...

    def __call__(self, raw: NDArray[Any], /) -> Tensor:
        """Returns float32 of the same shape."""


class Reading(Protocol):
    """Splits a collection, groups (N,) in proportion, and decodes its examples to the request's shape."""

    def __call__(
        self, request: DataRequest, collection: Collection, groups: Callable[[Pictures], IntArray], fewest: int = 1
    ) -> Decoded: ...


@dataclass(frozen=True, slots=True)
class Form:
    """Images or series. `augmented` returns a batch (N, C, ...) changed at random by the name of an augmentation."""

    things: str
    augmentations: tuple[str, ...]
    read: Reading
    normalising: Callable[[DataRequest, NDArray[Any]], Normalising]
    augmented: Callable[[Tensor, str, np.random.Generator], Tensor]


IMAGES: Final = Form("images", AUGMENTATIONS, decoded, DataRequest.normalisation, pictures.augmented)
SERIES: Final = Form("series", SERIES_AUGMENTATIONS, series.read, series.standardisation, series.augmented)


def form_of(request: DataRequest) -> Form:
    """Returns the form of the examples that a request's networks take."""
    return SERIES if request.takes_series else IMAGES
