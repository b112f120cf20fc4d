"""The data set seam: the protocol, the literal table of built-in kinds, and loading by reference.

Shapes: N examples; an example has one label (images, series), one per position (text), T targets, or one label per pixel.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from hwnas.core.arrays import IntArray
from hwnas.core.operator import Shape
from hwnas.core.references import cause, resolve
from hwnas.core.requests import flag, option_names
from hwnas.data.arrays import load_npz
from hwnas.data.digits import load_digits_angle, load_digits_canvas
from hwnas.data.features import FeatureData
from hwnas.data.folders import read_folder
from hwnas.data.images import load_images
from hwnas.data.masks import load_masks
from hwnas.data.options import ImageOptions
from hwnas.data.recognising import recognised
from hwnas.data.request import DataRequest
from hwnas.data.sources import read_digits
from hwnas.data.splits import Split
from hwnas.data.tables import load_parquet
from hwnas.data.text import load_text
from hwnas.data.ts_files import load_ts
from hwnas.data.wav import load_wav
from hwnas.errors import DataError, is_the_users

__all__ = ["DATASETS", "DataRequest", "Dataset", "Split", "load_data"]


class Dataset(Protocol):
    """Examples in three splits, and how they become a network's inputs."""

    @property
    def task(self) -> str:
        """The name of the task that the labels are for, as in `hwnas.tasks`."""

    @property
    def outputs(self) -> int:
        """The length of the channel axis that the task asks of a network: classes, tokens or targets."""

    @property
    def train(self) -> Split: ...

    @property
    def validation(self) -> Split: ...

    @property
    def test(self) -> Split: ...

    def inputs(self, raw: NDArray[Any]) -> Tensor:
        """Returns a network's inputs for `raw` examples of any split; shape (N, *input_shape)."""

    def training_batch(self, indices: IntArray, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Returns inputs and labels of training examples, augmented; depends on the generator's state alone."""

    def calibration_order(self) -> IntArray:
        """Returns all training examples in an order whose every beginning is like the whole; shape (N,)."""

    def describe(self) -> dict[str, Any]:
        """Returns the facts that a run stores of its data; fit for JSON. `notes`, if any, are lines that a run shows first."""

    def digest(self) -> str:
        """Returns a hash that changes with an example, a label or a split: a resumed run compares it."""

    def metadata(self) -> dict[str, str]:
        """Returns the properties of an ONNX file that say how to prepare its input and read its output."""


# One line per kind of reference; what follows the colon is a file or a folder of the user's.
DATASETS: Final[Mapping[str, Callable[[DataRequest], Dataset]]] = {
    "digits": partial(load_images, read=read_digits),
    "digits-angle": load_digits_angle,
    "digits-canvas": load_digits_canvas,
    "imagefolder:DIR": partial(load_images, read=read_folder),
    "masks:DIR": load_masks,
    "npz:FILE": load_npz,
    "parquet:DIR": load_parquet,
    "text:FILE": load_text,
    "ts:DIR": load_ts,
    "wav:DIR": load_wav,
}


FEATURES: Final = "floating-point features"
KINDS: Final = frozenset(kind.partition(":")[0] for kind in DATASETS)


def load_data(
    reference: str,
    input_shape: Shape,
    *,
    outputs: int | None = None,
    vocabulary: int | None = None,
    seed: int = 0,
    limit: int | None = None,
    images: ImageOptions | None = None,
    image_moments: str = "",
) -> Dataset:
    """Returns the data set that `reference` names, for networks that take `input_shape`.

    The reference is one of `DATASETS`, the path of a folder or file whose kind is recognised (`data/recognising.py`), or
    `FILE.py:NAME`: a function of a user's file with the parameters of this one but the first, `images` and `image_moments`.
    `outputs` is the length of the networks' channel axis, None where any will do;
    `vocabulary` is None where networks take numbers, else all token ids are below it. `seed` decides how examples are split;
    text is cut in its order. `limit` is the most training examples; validation and test have at most a quarter. `images` says
    how images are read, and `image_moments` how they are normalised where `images` leaves that open.

    Raises UnknownNameError, and DataError for data that is missing, damaged, too small to split, or unfit for the networks.
    """
    reference = recognised(reference, KINDS)
    request = DataRequest(
        reference=reference,
        input_shape=tuple(input_shape),
        outputs=outputs,
        vocabulary=vocabulary,
        seed=seed,
        limit=limit,
        images=images or ImageOptions(),
        image_moments=image_moments,
    )
    name, _, location = reference.partition(":")
    kind = next((key for key in DATASETS if key.partition(":")[0] == name), "")
    if kind and (":" in kind) == bool(location):
        if name == "text":
            _refuse_image_options(request, "text", None)
        data = DATASETS[kind](request)
        if isinstance(data, FeatureData):
            _refuse_image_options(request, FEATURES, data.augmentation)
        return data
    return _own(resolve("data set", reference, DATASETS, DataError), request)


def _own(build: Any, request: DataRequest) -> Dataset:
    """Returns the data set of a user's function. Raises DataError where the function fails or returns none."""
    if not callable(build):
        raise DataError(
            f"{request.reference} is a {type(build).__name__}, not a function; write a function that returns a data set"
        )
    try:
        data = build(
            request.input_shape,
            outputs=request.outputs,
            vocabulary=request.vocabulary,
            seed=request.seed,
            limit=request.limit,
        )
    except BaseException as error:
        if is_the_users(error):
            raise DataError(f"{request.reference}: {cause(error, request.reference.rpartition(':')[0])}") from error
        raise
    missing = [name for name in vars(Dataset) if not name.startswith("_") and not hasattr(data, name)]
    if missing:
        raise DataError(
            f"{request.reference} returned {type(data).__name__}, which has no {min(missing)!r}; return an object with all "
            f"of hwnas.data.dataset.Dataset"
        )
    _refuse_image_options(request, "a data set of your own", getattr(data, "augmentation", None))
    return data  # type: ignore[no-any-return]


def _refuse_image_options(request: DataRequest, kind: str, augmentation: str | None) -> None:
    """Raises DataError for options of images that have no effect on data of that kind, with that augmentation."""
    usual = ImageOptions()
    for name in option_names(ImageOptions):
        value = getattr(request.images, name)
        if name == "validation_share" and kind == FEATURES:
            continue
        if value != getattr(usual, name) and not (name == "augmentation" and value == augmentation):
            raise DataError(f"{request.reference}: {flag(name)} has no effect on {kind}; leave it out")
