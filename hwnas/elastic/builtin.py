"""The built-in space `elastic`: a trained network, by name, with its smaller versions."""

from dataclasses import replace
from pathlib import Path

import torch

from hwnas.core.space import SearchSpace
from hwnas.elastic.elasticity import Elasticity
from hwnas.elastic.importance import first_order
from hwnas.elastic.sources import (
    USUAL_RESOLUTION,
    LoadedModel,
    freeze_weights,
    load_gradients,
    load_model,
    with_classes,
)
from hwnas.elastic.space import elastic_space
from hwnas.errors import SpaceError

USUAL_LENGTH = 64
# The end of the name of a file of gradients.
GRADIENTS = ".safetensors"


def elastic(
    model: str,
    weights: str = "",
    resolution: int = 0,
    channels: int = 0,
    length: int = 0,
    classes: int = 0,
    widths: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0),
    smaller_resolutions: tuple[int, ...] = (),
    depth: bool = True,
    kernels: bool = True,
    streams: bool = False,
    importance: str = "l1",
    freeze: tuple[str, ...] = (),
) -> SearchSpace:
    """Returns the space of the smaller versions of a trained network.

    `model` and `weights` are those of `load_model`. `resolution` and `channels` are those of images, by default the model's own
    where it names them, else 224 and 3; `length` is the number of token ids, by default 64. With `classes`, a model of another
    number of outputs gets a new last layer. `freeze` are patterns of layers and weights that training leaves as they are
    (`freeze_weights`). `importance` is a name of `IMPORTANCES`, or a file of gradients (`load_gradients`). The other options are
    those of `Elasticity`. Raises UnknownNameError and SpaceError.
    """
    for name, size in {"resolution": resolution, "channels": channels, "length": length, "classes": classes}.items():
        if not isinstance(size, int) or size < 0:
            raise SpaceError(f"{name} is a positive whole number, not {size!r}; correct it")
    for name, sizes in {"widths": widths, "smaller_resolutions": smaller_resolutions, "freeze": freeze}.items():
        if not isinstance(sizes, (list, tuple)):
            raise SpaceError(f"{name} is a list, not {sizes!r}; write {name}=[{sizes}]")
    in_a_file = str(importance).endswith(GRADIENTS)
    elasticity = Elasticity(
        widths=tuple(widths),
        smaller_resolutions=tuple(smaller_resolutions),
        depth=depth,
        kernels=kernels,
        streams=streams,
        importance="none" if in_a_file else importance,
    )
    loaded = load_sized(model, weights, resolution, channels, length, classes)
    freeze_weights(loaded.module, freeze)
    by_gradients = first_order(load_gradients(loaded.module, Path(importance))) if in_a_file else None
    space = elastic_space(loaded.module, loaded.example(), elasticity, by_gradients)
    notes = (*loaded.notes, *space.notes)
    return replace(space, notes=notes, image_moments=loaded.image_moments if channels in (0, 3) else "")


def load_sized(
    model: str, weights: str = "", resolution: int = 0, channels: int = 0, length: int = 0, classes: int = 0
) -> LoadedModel:
    """Returns the model that the options of `elastic` name, with its weights, the shape of its input, and its last layer."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # what is not loaded is the same in every process
        loaded = _of_size(load_model(model, weights), channels, resolution, length)
        return with_classes(loaded, classes) if classes else loaded


def _of_size(loaded: LoadedModel, channels: int, resolution: int, length: int) -> LoadedModel:
    """Returns the model with the shape of its input: images of a resolution, token ids, or other numbers as they are."""
    if loaded.takes_ids and resolution:
        raise SpaceError("the model reads token ids; give length=N instead of resolution")
    if not loaded.takes_ids and length:
        raise SpaceError("the model reads images; give resolution=N instead of length")
    if loaded.takes_ids:
        return replace(loaded, input_shape=(length,) if length else loaded.input_shape or (USUAL_LENGTH,))
    if len(loaded.input_shape) not in (0, 3):
        if resolution or channels:
            raise SpaceError(
                f"the model reads inputs of shape {loaded.input_shape}, not images; leave out resolution and channels"
            )
        return loaded
    own_channels, *own = loaded.input_shape or (3, USUAL_RESOLUTION)
    sizes = (resolution, resolution) if resolution else (own[0], own[-1])
    return replace(loaded, input_shape=(channels or own_channels, *sizes))
