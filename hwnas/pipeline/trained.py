"""A network of a run, ready to use in Python: weights, recalibrated statistics, preparation of its inputs, names of its outputs.

Shapes: N examples, K outputs.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import final

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from hwnas.core.arch import Arch
from hwnas.core.reporter import Silent
from hwnas.core.space import SearchSpace
from hwnas.data.dataset import Dataset
from hwnas.data.labelled import LabelledImages
from hwnas.data.pictures import Normalisation, Preparation
from hwnas.errors import DataError
from hwnas.pipeline.checked import checked_request
from hwnas.pipeline.models import model_metadata
from hwnas.pipeline.request import reopen
from hwnas.pipeline.weights import RunWeights
from hwnas.pipeline.winners import evaluation_of
from hwnas.profiler.export import Batch, export_onnx
from hwnas.runs.folder import RunFolder

Picture = Image.Image | np.ndarray | str | Path


@final
class TrainedNetwork(nn.Module):
    """A network with `network`, its plain module; `arch` and `arch_id`; `classes`, the names of its outputs; `metadata`.

    `classes` is empty where the task has none. `metadata` are the properties of the network's ONNX files, and `input_shape`
    and `vocabulary` say what the network takes. Called, it gives the outputs (N, K) of inputs (N, *input_shape) that are
    prepared: by `prepare` where these are images.
    """

    def __init__(self, network: nn.Module, arch: Arch, space: SearchSpace, data: Dataset) -> None:
        super().__init__()
        self.network = network
        self.arch, self.arch_id = arch, arch.id
        self.input_shape, self.vocabulary = tuple(space.input_shape), space.vocabulary
        self.metadata = model_metadata(space, data, arch.key)
        classes = json.loads(self.metadata.get("hwnas.classes", "[]"))
        self.classes: tuple[str, ...] = tuple(map(str, classes))
        self._prepared: Callable[[Iterable[Image.Image]], Tensor] | None = None
        if isinstance(data, LabelledImages):
            preparation, normalise = data.preparation, data.normalise
            if isinstance(preparation, Preparation) and isinstance(normalise, Normalisation):
                self._prepared = _Prepared(preparation, normalise)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.network(x)
        return output

    def prepare(self, images: Picture | Sequence[Picture]) -> Tensor:
        """Returns inputs (N, *input_shape) of one picture or several: Pillow images, uint8 arrays (H, W) or (H, W, C), or files.

        Pictures are turned, resized and normalised as those of training were. Raises DataError where the network was not trained
        on images that were prepared so.
        """
        if self._prepared is None:
            raise DataError(
                "this network's inputs are not prepared from pictures; give the tensors that it was trained on"
            )
        several = images if isinstance(images, list | tuple) else [images]
        with torch.no_grad():
            return self._prepared(map(_opened, several))

    @torch.no_grad()
    def predict(self, images: Picture | Sequence[Picture]) -> list[str]:
        """Returns the name of the most probable class of each picture. Raises DataError where the network has no classes."""
        if not self.classes:
            raise DataError("this network has no classes to name; call it, and read its outputs")
        first = next(self.parameters(), torch.zeros(1))
        outputs = self(self.prepare(images).to(first.device))
        return [self.classes[number] for number in outputs.argmax(1).tolist()]

    def export(self, path: str | Path, *, batch: Batch = 1) -> None:
        """Writes an ONNX file with the names of classes and the preparation in its metadata. Raises ExportError."""
        export_onnx(self, self.input_shape, path, batch=batch, vocabulary=self.vocabulary)


class _Prepared:
    """The way from pictures to inputs."""

    def __init__(self, preparation: Preparation, normalise: Normalisation) -> None:
        self._preparation, self._normalise = preparation, normalise

    def __call__(self, images: Iterable[Image.Image]) -> Tensor:
        return self._normalise(np.stack([self._preparation(image) for image in images]))


def _opened(picture: Picture) -> Image.Image:
    """Returns a picture, turned as its EXIF orientation says."""
    from PIL import ImageOps

    if isinstance(picture, np.ndarray):
        return Image.fromarray(picture)
    image = picture if isinstance(picture, Image.Image) else Image.open(picture)
    return ImageOps.exif_transpose(image)


def trained_network(run: RunFolder, arch_id: str) -> TrainedNetwork:
    """Returns an evaluated network of a run with its final weights, on the CPU. Raises RunError, DataError."""
    _, request, space = reopen(run.path, {})
    evaluation = evaluation_of(run, arch_id)
    checked = checked_request(request, space, run)
    networks = RunWeights(run, checked, Silent()).networks(evaluation)
    module = networks.network(evaluation.arch).cpu()
    return TrainedNetwork(module, evaluation.arch, space, checked.data).eval()
