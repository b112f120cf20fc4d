"""The request for a data set: which one, and for which networks."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from hwnas.core.operator import Shape
from hwnas.core.requests import flag
from hwnas.data.options import AUGMENTATIONS, AUTO, OWN, ImageOptions, moments
from hwnas.data.pictures import ByteArray, Normalisation, normalisation
from hwnas.errors import DataError

CHANNELS: Final = (1, 3, 4)  # grey; red, green, blue; the same and opacity


@dataclass(frozen=True, slots=True, kw_only=True)
class DataRequest:
    """The data set that `reference` names, for networks that take `input_shape`.

    `outputs` is the length of the networks' channel axis, None where any will do; `vocabulary` is None where networks take
    numbers, else all token ids are below it. `seed` decides random splits. `limit` is the most training examples;
    validation and test then have at most a quarter of it. `images` says how images are read, and `image_moments`
    how the networks expect them to be normalised: empty where any way will do.
    """

    reference: str
    input_shape: Shape
    outputs: int | None = None
    vocabulary: int | None = None
    seed: int = 0
    limit: int | None = None
    images: ImageOptions = field(default_factory=ImageOptions)
    image_moments: str = ""

    @property
    def location(self) -> str:
        """Returns the text after the reference's first colon; empty without one."""
        return self.reference.partition(":")[2]

    @property
    def path(self) -> Path:
        """Returns the location as a path, `~` resolved."""
        return Path(self.location).expanduser()

    @property
    def takes_series(self) -> bool:
        """True where networks take series (C, L)."""
        return self.vocabulary is None and len(self.input_shape) == 2

    def augmentation(self, usual: str, known: Sequence[str] = AUGMENTATIONS) -> str:
        """Returns the augmentation that was asked for, or `usual` where none was. Raises DataError for one not `known`."""
        asked = self.images.augmentation
        if asked not in (AUTO, *known):
            things = "series" if self.takes_series else "images"
            raise DataError(
                f"{self.reference}: holds {things}, and --augmentation {asked} is not one of theirs; give "
                f"{', '.join(known[:-1])} or {known[-1]}"
            )
        return usual if asked == AUTO else asked

    def normalisation(self, images_NCHW: ByteArray) -> Normalisation:
        """Returns the normalisation that was asked for, or that of the training images. Raises DataError for other channels."""
        asked = self.image_moments if self.images.normalise == AUTO else self.images.normalise
        given = moments(asked)
        if given is None:
            return normalisation(images_NCHW)
        channels = images_NCHW.shape[1]
        for values in given:
            if len(values) not in (1, channels):
                raise DataError(
                    f"{self.reference}: --normalise {asked} is for {len(values)} channels, and the networks take "
                    f"{channels}; give as many numbers, or --normalise {OWN}"
                )
        mean, std = (values * channels if len(values) == 1 else values for values in given)
        return Normalisation(mean, std, given=True)

    def require_images(self) -> None:
        """Raises DataError where the networks take no images."""
        if self.vocabulary is not None:
            raise DataError(f"{self.reference}: holds images, but the space takes token ids; give --data text:FILE")
        if len(self.input_shape) != 3:
            raise DataError(
                f"{self.reference}: holds images, but the space takes inputs of shape {tuple(self.input_shape)}; give a "
                f"--space of images"
            )
        if self.input_shape[0] not in CHANNELS:
            raise DataError(
                f"{self.reference}: images have 1, 3 or 4 channels; the space cannot ask for {self.input_shape[0]}"
            )

    def require_series(self) -> None:
        """Raises DataError where the networks take no series, and for options that only images have."""
        if not self.takes_series:
            takes = "token ids" if self.vocabulary is not None else f"inputs of shape {tuple(self.input_shape)}"
            raise DataError(f"{self.reference}: holds series, but the space takes {takes}; give --space series")
        usual = ImageOptions()
        for name in ("background", "normalise"):
            value = getattr(self.images, name)
            if value not in (getattr(usual, name), OWN):
                raise DataError(f"{self.reference}: {flag(name)} is for images, and the data hold series; leave it out")

    def require_outputs(self, count: int, unit: str) -> None:
        """Raises DataError where the networks have another number of outputs than the data has classes or targets."""
        if self.outputs not in (None, count):
            raise DataError(
                f"{self.reference} has {count} {unit}, the space {self.outputs}; give --space-option classes={count}"
            )
