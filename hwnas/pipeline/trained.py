"""A network of a run, ready to use in Python: weights, recalibrated statistics, preparation of its inputs, names of its outputs.

Shapes: N examples, K outputs.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from hwnas.core.arch import Arch
from hwnas.core.operator import Shape
from hwnas.core.reporter import Silent
from hwnas.core.space import SearchSpace
from hwnas.data.dataset import Dataset
from hwnas.data.features import FeatureData
from hwnas.data.labelled import LabelledImages
from hwnas.data.pictures import MODES, Normalisation, Preparation
from hwnas.data.series import Standardisation
from hwnas.data.wav import Recording, fitted, recording
from hwnas.errors import DataError
from hwnas.pipeline.checked import checked_request
from hwnas.pipeline.models import model_metadata
from hwnas.pipeline.request import reopen
from hwnas.pipeline.weights import RunWeights
from hwnas.pipeline.winners import evaluation_of
from hwnas.profiler.export import Batch, export_onnx
from hwnas.runs.folder import RunFolder

# An example: a picture as Pillow's or as a uint8 array, an array of numbers, or a file of a picture or a recording.
Example = Image.Image | np.ndarray | Tensor | str | Path
PICTURES: Final = "give files, Pillow images, or uint8 arrays (H, W), (H, W, C), (C, H, W), or four axes for several"


@final
class TrainedNetwork(nn.Module):
    """A network with `network`, its plain module; `arch` and `arch_id`; `classes`, the names of its outputs; `metadata`.

    `classes` is empty where the task has none. `metadata` are the properties of the network's ONNX files, and `input_shape`
    and `vocabulary` say what the network takes. Called, it gives the outputs (N, K) of inputs (N, *input_shape) that are
    prepared by `prepare`.
    """

    def __init__(self, network: nn.Module, arch: Arch, space: SearchSpace, data: Dataset) -> None:
        super().__init__()
        self.network = network
        self.arch, self.arch_id = arch, arch.id
        self.input_shape, self.vocabulary = tuple(space.input_shape), space.vocabulary
        self.metadata = model_metadata(space, data, arch.key)
        classes = json.loads(self.metadata.get("hwnas.classes", "[]"))
        self.classes: tuple[str, ...] = tuple(map(str, classes))
        self._prepared = _preparing(data, self.input_shape)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.network(x)
        return output

    def prepare(self, examples: Example | Sequence[Example]) -> Tensor:
        """Returns inputs (N, *input_shape) of one example or several, as those of training were prepared.

        Pictures are files, Pillow images, or uint8 arrays (H, W), (H, W, C), (C, H, W) or four axes; they are turned, resized and
        normalised. Features and series are arrays (*input_shape) or (N, *input_shape); one channel needs no axis. Recordings are
        WAV files. Raises DataError for other examples, and where the network takes none of these.
        """
        if self._prepared is None:
            raise DataError(
                "this network's inputs are not prepared from examples; give the tensors that it was trained on"
            )
        with torch.no_grad():
            return self._prepared(examples)

    @torch.no_grad()
    def predict(self, examples: Example | Sequence[Example]) -> list[str]:
        """Returns the name of the most probable class of each example. Raises DataError where the network has no classes."""
        if not self.classes:
            raise DataError("this network has no classes to name; call it, and read its outputs")
        first = next(self.parameters(), torch.zeros(1))
        outputs = self(self.prepare(examples).to(first.device))
        return [self.classes[number] for number in outputs.argmax(1).tolist()]

    def export(self, path: str | Path, *, batch: Batch = 1) -> None:
        """Writes an ONNX file with the names of classes and the preparation in its metadata. Raises ExportError."""
        export_onnx(self, self.input_shape, path, batch=batch, vocabulary=self.vocabulary)


def _preparing(data: Dataset, input_shape: Shape) -> Callable[[Any], Tensor] | None:
    """Returns the way from examples of a data set's kind to inputs; None where there is none. It does not hold the data."""
    if isinstance(data, FeatureData):
        return _Numbers(data.standardise, input_shape)
    if not isinstance(data, LabelledImages):
        return None
    preparation, normalise = data.preparation, data.normalise
    if isinstance(preparation, Preparation) and isinstance(normalise, Normalisation):
        return _Pictures(preparation, normalise)
    if isinstance(normalise, Standardisation):
        numbers = _Numbers(normalise, input_shape)
        return _Recordings(preparation, numbers) if isinstance(preparation, Recording) else numbers
    return None


class _Pictures:
    """The way from pictures to inputs."""

    def __init__(self, preparation: Preparation, normalise: Normalisation) -> None:
        self._preparation, self._normalise = preparation, normalise

    def __call__(self, pictures: Example | Sequence[Example]) -> Tensor:
        return self._normalise(np.stack([self._preparation(image) for image in _images(pictures)]))


class _Numbers:
    """The way from arrays of features or series to inputs."""

    def __init__(self, standardise: Callable[[np.ndarray], Tensor], shape: Shape) -> None:
        self._standardise, self._shape = standardise, tuple(shape)

    def __call__(self, examples: Example | Sequence[Example]) -> Tensor:
        try:
            x = np.asarray(examples, np.float32)
        except (TypeError, ValueError) as error:
            raise DataError(
                f"these are no numbers of one shape ({error}); give arrays of shape {self._shape}"
            ) from None
        given, without_channel = x.shape, self._shape[1:] if self._shape[0] == 1 else None
        if given in (self._shape, without_channel):
            x = x.reshape(1, *self._shape)
        elif given[1:] == without_channel:
            x = x[:, None]
        if x.shape[1:] != self._shape:
            raise DataError(
                f"examples of shape {given}, and the network takes {self._shape}; give an array of that shape, or one with the "
                "examples along a first axis"
            )
        return self._standardise(x)


class _Recordings:
    """The way from WAV files to inputs; samples that are read already are as those of series."""

    def __init__(self, preparation: Recording, numbers: _Numbers) -> None:
        self._preparation, self._numbers = preparation, numbers

    def __call__(self, examples: Example | Sequence[Example]) -> Tensor:
        several: Sequence[Any] = examples if isinstance(examples, list | tuple) else [examples]
        rate, length = self._preparation.rate, self._preparation.length
        if all(isinstance(one, str | Path) for one in several):
            return self._numbers([fitted(recording(Path(one), rate), length) for one in several])
        return self._numbers(examples)


def _images(pictures: Example | Sequence[Example]) -> Iterator[Image.Image]:
    """Yields pictures, turned as their EXIF orientation says. Raises DataError for arrays that are none."""
    from PIL import ImageOps

    several: Sequence[Any] = pictures if isinstance(pictures, list | tuple) else [pictures]
    if not len(several):
        raise DataError(f"no picture is given; {PICTURES}")
    for picture in several:
        if isinstance(picture, np.ndarray | Tensor):
            yield from map(Image.fromarray, _arrays(np.asarray(picture)))
            continue
        try:
            yield ImageOps.exif_transpose(picture if isinstance(picture, Image.Image) else Image.open(picture))
        except OSError as error:
            raise DataError(
                f"{picture}: cannot be read as an image ({error}); give the path of an image file"
            ) from None


def _arrays(array: np.ndarray) -> Iterator[np.ndarray]:
    """Yields the pictures (H, W) or (H, W, C) of an array; the channels may also stand first."""
    if array.dtype != np.uint8:
        raise DataError(
            f"an array of {array.dtype} is no picture; scale it to uint8, 0 to 255, as the training images were"
        )
    if array.ndim in (3, 4) and array.shape[-1] not in MODES and array.shape[-3] in MODES:
        array = np.moveaxis(array, -3, -1)
    if array.ndim not in (2, 3, 4) or (array.ndim > 2 and array.shape[-1] not in MODES):
        raise DataError(f"an array of shape {array.shape} is no picture; {PICTURES}")
    for one in array if array.ndim == 4 else array[None]:
        yield one[..., 0] if one.ndim == 3 and one.shape[-1] == 1 else np.ascontiguousarray(one)


def trained_network(run: RunFolder, arch_id: str) -> TrainedNetwork:
    """Returns an evaluated network of a run with its final weights, on the CPU. Raises RunError, DataError."""
    _, request, space = reopen(run.path, {})
    evaluation = evaluation_of(run, arch_id)
    checked = checked_request(request, space, run)
    networks = RunWeights(run, checked, Silent()).networks(evaluation)
    module = networks.network(evaluation.arch).cpu()
    return TrainedNetwork(module, evaluation.arch, space, checked.data).eval()
