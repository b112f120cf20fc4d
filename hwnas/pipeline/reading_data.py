"""A data set told: what was read, how often each class occurs in each split, the files' sizes and modes.

Shapes: N examples, K classes.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import numpy as np
from PIL import Image

from hwnas.core.operator import Shape
from hwnas.data.arrays import stored_shape
from hwnas.data.dataset import KINDS, Dataset, load_data
from hwnas.data.folders import read_folder
from hwnas.data.options import ImageOptions
from hwnas.data.recognising import recognised
from hwnas.data.sources import ClassCollection, read_digits
from hwnas.data.tables import read_parquet
from hwnas.data.ts_files import shape_of_ts
from hwnas.errors import DamagedImageError, DataError

# Files of which size and mode are looked at, spread over the training images.
LOOKED_AT: Final = 500
# The most sizes and modes that are told, the most frequent first.
TOLD: Final = 5
PICTURES: Final = 3
VOCABULARY: Final = 2**31
FILES: Final[Mapping[str, Callable[[Path], ClassCollection]]] = {
    "digits": read_digits,
    "imagefolder": read_folder,
    "parquet": read_parquet,
}

# The kinds whose files have the shape of their examples.
STORED: Final[Mapping[str, Callable[[Path], Shape | None]]] = {"npz": stored_shape, "ts": shape_of_ts}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The networks' input that a data set is read for."""

    resolution: int
    channels: int
    length: int
    seed: int

    def shape(self, reference: str) -> Shape:
        """Returns the input's shape for a kind of data. Floating-point features are read in their own."""
        kind, _, location = reference.partition(":")
        if kind == "text":
            return (self.length,)
        if kind == "wav":
            return (1, self.length)
        own = STORED[kind](Path(location).expanduser()) if kind in STORED else None
        return own or (self.channels, self.resolution, self.resolution)


def read_data(reference: str, reading: Reading, options: ImageOptions) -> tuple[dict[str, Any], Dataset]:
    """Returns what people ask of a data set, fit for JSON, and the data set. Raises DataError, UnknownNameError."""
    reference = recognised(reference, KINDS)
    kind, _, location = reference.partition(":")
    vocabulary = VOCABULARY if kind == "text" else None
    data = load_data(reference, reading.shape(reference), vocabulary=vocabulary, seed=reading.seed, images=options)
    told = data.describe()
    facts = {"reference": reference, "task": data.task, "outputs": told.get("tokens", data.outputs)}
    facts["read as"] = f"{' x '.join(map(str, data.train.raw.shape[1:]))}, {data.train.raw.dtype}"
    if kind in FILES:
        facts |= _files(FILES[kind](Path(location).expanduser()))
    for name in ("mean", "std", "augmentation"):
        if name in told:
            facts[name] = told[name]
    facts["notes"] = list(told.get("notes", []))
    facts["counts"] = list(_counts(data, told))
    return facts, data


def _files(collection: ClassCollection) -> dict[str, Any]:
    """Returns how many of the training images have each size and mode, the most frequent first."""
    sizes, modes = Counter[str](), Counter[str]()
    train = collection.train
    rows = np.unique(np.linspace(0, len(train.labels) - 1, LOOKED_AT).astype(int))
    for row in rows.tolist():
        try:
            image = train.image(row)
        except DamagedImageError:
            modes["damaged"] += 1
            continue
        sizes[f"{image.width} x {image.height}"] += 1
        modes[image.mode] += 1
    return {
        "looked at": f"{len(rows):,} of {len(train.labels):,} training files, for sizes and modes",
        "sizes": dict(sizes.most_common(TOLD)),
        "modes": dict(modes.most_common(TOLD)),
    }


def _counts(data: Dataset, told: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yields a row per class with its count in each split, and one with all."""
    splits = {"train": data.train, "validation": data.validation, "test": data.test}
    names = told.get("classes")
    labels = {split: np.asarray(examples.labels) for split, examples in splits.items()}
    if names and all(own.ndim == 1 for own in labels.values()):
        for number, name in enumerate(names):
            yield {"class": name, **{split: int((own == number).sum()) for split, own in labels.items()}}
    yield {"class": "all", **{split: len(examples) for split, examples in splits.items()}}


def write_pictures(data: Dataset, folder: Path) -> list[Path]:
    """Writes training images as networks get them, before they are normalised. Raises DataError for other data."""
    raw = data.train.raw
    if raw.dtype != np.uint8 or len(raw.shape) != 4:
        raise DataError("these data hold no images; leave out --pictures")
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, row in enumerate(data.calibration_order()[:PICTURES].tolist()):
        planes = np.moveaxis(raw[row], 0, -1)
        image = Image.fromarray(planes[..., 0] if planes.shape[-1] == 1 else planes)
        paths.append(folder / f"train-{number}.png")
        image.save(paths[-1])
    return paths
