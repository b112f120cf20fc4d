"""What training, judging and deploying need of data, whatever its kind; and loading it by reference.

Shapes: N examples; an example has one label (images), or one per position (text).
"""

from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from hwnas.core.arrays import IntArray
from hwnas.core.operator import Shape
from hwnas.data.images import load_images
from hwnas.data.sources import LOADERS, LOCATIONS
from hwnas.data.text import load_text
from hwnas.errors import DataError, UnknownNameError

# What a reference has after its colon; None where it has neither.
REFERENCES: Final = {name: LOCATIONS.get(name) for name in LOADERS} | {"text": "FILE"}


class Split(Protocol):
    """Examples that are trained or judged on together."""

    def __len__(self) -> int: ...

    @property
    def raw(self) -> NDArray[Any]:
        """What `Dataset.inputs` takes; shape (N, ...)."""

    @property
    def labels(self) -> IntArray:
        """What is right; shape (N,) or (N, positions)."""


class Dataset(Protocol):
    """Examples in three splits, and how they become what a network is given."""

    @property
    def train(self) -> Split: ...

    @property
    def validation(self) -> Split: ...

    @property
    def test(self) -> Split: ...

    def inputs(self, raw: NDArray[Any]) -> Tensor:
        """What a network is given for `raw` examples of any split; shape (N, *input_shape)."""

    def training_batch(self, indices: IntArray, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Inputs and labels of training examples, varied at random; depends on the generator's state alone."""

    def calibration_order(self) -> IntArray:
        """All training examples, in an order whose every beginning is like the whole; shape (N,)."""

    def describe(self) -> dict[str, Any]:
        """What a run stores of its data; fit for JSON."""

    def digest(self) -> str:
        """Changes when an example, a label or a split changes: what a resumed run checks."""

    def metadata(self) -> dict[str, str]:
        """What an ONNX file says of how to prepare its input and read its output."""


def load_data(
    reference: str,
    input_shape: Shape,
    *,
    classes: int | None = None,
    vocabulary: int | None = None,
    seed: int = 0,
    limit: int | None = None,
) -> Dataset:
    """The data set that `reference` names, for networks that take `input_shape`: images, or token ids below `vocabulary`.

    `classes` is how many the images must have; None allows any number. `seed` decides how images are split; text is cut
    in its order. `limit` is the most training images, or windows of text; validation and test have at most a quarter.

    Raises UnknownNameError, and DataError for what is missing, damaged, too small to split, or unfit for the networks.
    """
    name, _, location = reference.partition(":")
    if name not in REFERENCES or bool(REFERENCES[name]) is not bool(location):
        known = [f"{each}:{after}" if after else each for each, after in REFERENCES.items()]
        raise UnknownNameError("data set", reference, known)
    if name != "text" and vocabulary is not None:
        raise DataError(f"{reference}: holds images, but the space takes token ids; give --data text:FILE")
    if name != "text":
        return load_images(reference, input_shape, classes=classes, seed=seed, limit=limit)
    if vocabulary is None or len(input_shape) != 1:
        raise DataError(
            f"{reference}: is text, but the space takes {'images' if vocabulary is None else 'ids'} of shape "
            f"{tuple(input_shape)}; give a --space of token sequences, or other --data"
        )
    return load_text(location, input_shape[0], vocabulary, limit)
