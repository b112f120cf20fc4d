"""Images and labels to train on: found where a reference says, split, brought to one shape, augmented on the way.

Knows nothing of networks or spaces, only the shape (C, H, W) asked for; that the space has as many classes, the caller
checks. Shapes: N images, K classes, C channels, H rows, W columns.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile
from zlib import error as BadZlib

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.Image import DecompressionBombError
from torch import Tensor
from torch.nn import functional as F

from hwnas.core.cost import IntArray
from hwnas.core.operator import Shape
from hwnas.errors import DataError, UnknownNameError

ByteArray = NDArray[np.uint8]

AUGMENTATIONS: Final = ("none", "shift", "shift+flip")
MODES: Final = {1: "L", 3: "RGB", 4: "RGBA"}  # pillow's name for images of so many channels
FORMATS: Final = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".bmp": "BMP", ".webp": "WEBP"}
FEWEST: Final = 3  # training images per class: one for each split

# What pillow, numpy and zipfile raise for files with bytes changed or missing: all that the fuzz tests have met.
DAMAGE: Final = (OSError, ValueError, EOFError, SyntaxError, RuntimeError, BadZipFile, BadZlib, DecompressionBombError)


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """`images` (N, C, H, W) from 0 to 255, `labels` (N,) from 0 to K-1."""

    images: ByteArray
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ImageData:
    """`mean` and `std` are those of each channel of the training images, scaled to 0..1."""

    reference: str
    train: Split
    validation: Split
    test: Split
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augmentation: str

    def inputs(self, images: ByteArray) -> Tensor:
        """What a network is given for `images` (N, C, H, W): float32 of the same shape, normalised per channel."""
        mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (self.mean, self.std))
        return torch.tensor(images, dtype=torch.float32).div_(255).sub_(mean).div_(std)

    def describe(self) -> dict[str, Any]:
        """What a run stores of its data; fit for JSON."""
        return {
            "reference": self.reference,
            "classes": list(self.classes),
            "mean": list(self.mean),
            "std": list(self.std),
            "augmentation": self.augmentation,
            "sizes": {"train": len(self.train), "validation": len(self.validation), "test": len(self.test)},
            "image_shape": list(self.train.images.shape[1:]),
        }


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """Labels (N,), and images that are decoded one by one when asked for; `where` is for messages."""

    where: str
    labels: IntArray
    image: Callable[[int], Image.Image]


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What a loader found, with enough of each class to split. Without `test`, one is split off `train`."""

    train: Source
    test: Source | None
    classes: tuple[str, ...]
    augmentation: str

    def __post_init__(self) -> None:
        if len(self.classes) < 2:
            raise DataError(f"{self.train.where}: has {len(self.classes)} classes; give it at least 2")
        counts = np.bincount(self.train.labels, minlength=len(self.classes))
        for name, count in zip(self.classes, counts, strict=True):
            if count < FEWEST:
                raise DataError(f"{self.train.where}: class {name!r} has {count} images; give it at least {FEWEST}")
        if self.test is not None:
            foreign = np.setdiff1d(self.test.labels, np.arange(len(self.classes)))
            if len(foreign):
                raise DataError(f"{self.test.where}: label {foreign[0]} is not in the training data; leave it out")
            if not len(self.test.labels):
                raise DataError(f"{self.test.where}: has no images; add some, or leave the test data out")


def load_data(reference: str, input_shape: Shape, *, seed: int = 0, limit: int | None = None) -> ImageData:
    """The data set that `reference` names, its images brought to `input_shape` (C, H, W).

    `limit` is the most training images; validation and test then have at most a quarter of that, but one per class.
    Raises UnknownNameError, and DataError for what is missing, damaged or too small to split.
    """
    name, _, location = reference.partition(":")
    if name not in LOADERS or (name in LOCATIONS) is not bool(location):
        known = [f"{each}:{LOCATIONS[each]}" if each in LOCATIONS else each for each in LOADERS]
        raise UnknownNameError("data set", reference, known)
    if input_shape[0] not in MODES:
        raise DataError(f"{reference}: images have 1, 3 or 4 channels; the space cannot ask for {input_shape[0]}")
    found = LOADERS[name](Path(os.path.expanduser(location)))
    if limit is not None and limit < len(found.classes):
        raise DataError(f"{reference}: a limit of {limit} is below one image for each of {len(found.classes)} classes")
    train, validation, test = (_decoded(*part, input_shape) for part in _parts(found, seed, limit))
    mean, std = _moments(train.images)
    return ImageData(
        reference=reference,
        train=train,
        validation=validation,
        test=test,
        classes=found.classes,
        mean=mean,
        std=std,
        augmentation=found.augmentation,
    )


def augment(batch: Tensor, augmentation: str, generator: torch.Generator) -> Tensor:
    """Each image of `batch` (N, C, H, W) moved by up to an eighth of its size, zeros filling in, and perhaps mirrored.

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


# ---- which images


def _parts(found: Found, seed: int, limit: int | None) -> list[tuple[Source, IntArray]]:
    """The rows of train, validation and test: 60/20/20, or with a test set a tenth of the training set to validate."""
    rng = np.random.default_rng(seed)
    classes, labels = len(found.classes), found.train.labels
    rows: IntArray = np.arange(len(labels))
    if found.test is None:
        held, rows = _hold_out(labels, rows, max(classes, round(len(rows) / 5)), rng)
        test, share = (found.train, held), 4
    else:
        test, share = (found.test, np.arange(len(found.test.labels))), 10
    validation, train = _hold_out(labels, rows, max(classes, round(len(rows) / share)), rng)
    parts = [(found.train, train), (found.train, validation), test]
    if limit is None:
        return parts
    fewer = max(limit // 4, classes)
    return [
        (source, _hold_out(source.labels, rows, most, rng)[0])
        for (source, rows), most in zip(parts, (limit, fewer, fewer), strict=True)
    ]


def _hold_out(labels: IntArray, rows: IntArray, count: int, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
    """`count` of the rows, each class in proportion, and the other rows; both in order.

    Not scikit-learn's train_test_split, which refuses classes of one image and remainders smaller than the classes.
    """
    order = rows[stratified_order(labels[rows], rng)]
    return np.sort(order[:count]), np.sort(order[count:])


def stratified_order(labels: IntArray, rng: np.random.Generator) -> IntArray:
    """A random order (N,) whose every beginning has the classes in proportion, one of each first.

    >>> labels = np.array([0, 0, 0, 0, 1, 1])
    >>> sorted(labels[stratified_order(labels, np.random.default_rng(0))][:3].tolist())
    [0, 0, 1]
    """
    order = rng.permutation(len(labels))
    _, classes, counts = np.unique(labels[order], return_inverse=True, return_counts=True)
    rank = np.empty(len(labels), dtype=np.int64)
    rank[np.argsort(classes, kind="stable")] = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    place = np.where(rank == 0, 0, (rank + 0.5) / counts[classes])
    return np.asarray(order[np.argsort(place, kind="stable")])


# ---- images of one shape


def _decoded(source: Source, rows: IntArray, shape: Shape) -> Split:
    images = np.empty((len(rows), *shape), dtype=np.uint8)
    for image, row in zip(images, rows, strict=True):
        image[:] = _fitted(source.image(int(row)), shape)
    return Split(images, source.labels[rows].astype(np.int64))


def _fitted(image: Image.Image, shape: Shape) -> ByteArray:
    """The image as (C, H, W): grey by luminance, colour from grey by repetition, size by antialiased interpolation."""
    channels, height, width = shape
    if image.mode.startswith("I"):  # grey of 16 bits, which pillow would clip, not scale
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")  # or pillow warns of palettes with transparency
    image = image.convert(MODES[channels])
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(image).reshape(height, width, channels).transpose(2, 0, 1)


def _moments(images: ByteArray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel, scaled to 0..1; where nothing varies the latter is 1."""
    mean = images.mean(axis=(0, 2, 3))
    variance = np.square(images, dtype=np.uint16).mean(axis=(0, 2, 3)) - mean**2
    std = np.sqrt(np.where(variance > 1e-6, variance, 255**2))
    return tuple((mean / 255).tolist()), tuple((std / 255).tolist())


# ---- loaders: what follows the colon in, what was found out


def _digits(_: Path) -> Found:
    from sklearn.datasets import load_digits  # takes a second to import

    scans = load_digits()
    images = (scans.images * (255 / 16)).round().astype(np.uint8)
    return Found(_arrays("digits", images, scans.target), None, tuple("0123456789"), "shift")


def _parquet(folder: Path) -> Found:
    train, test = (_table(folder / f"{part}.parquet") for part in ("train", "test"))
    return Found(train, test, _numbered(train), "shift+flip")


def _table(path: Path) -> Source:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            types = {field.name: field.type for field in file.schema_arrow}
            missing = {"image", "label"} - set(types)
            if missing:
                raise DataError(f"{path}: has no column {min(missing)!r}, only {', '.join(types)}; rename or add it")
            table = file.read(columns=["image", "label"])
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _unreadable(path, "parquet", error) from error
    images, labels = table["image"], table["label"]
    if pa.types.is_struct(images.type) and images.type.get_field_index("bytes") >= 0:
        (images,) = pa.Table.from_arrays([images], ["image"]).flatten().select(["image.bytes"])
    if not (pa.types.is_binary(images.type) or pa.types.is_large_binary(images.type)):
        raise DataError(f"{path}: column 'image' holds {images.type}; store encoded images (PNG, JPEG) as bytes")
    if not pa.types.is_integer(labels.type) or labels.null_count:
        raise DataError(f"{path}: column 'label' holds {labels.type} or gaps; store integers from 0")

    def image(row: int) -> Image.Image:
        return _picture(BytesIO(images[row].as_py() or b""), f"{path}: the image of row {row}")

    return Source(str(path), labels.to_numpy().astype(np.int64), image)


def _image_folder(folder: Path) -> Found:
    """`folder` has a folder per class, or has such folders in `train` and perhaps in `test`."""
    inside = {path.name: path for path in _listed(folder, Path.is_dir)}
    train, test = (inside["train"], inside.get("test")) if "train" in inside else (folder, None)
    classes = tuple(path.name for path in _listed(train, Path.is_dir))
    return Found(_pictures(train, classes), _pictures(test, classes) if test else None, classes, "shift+flip")


def _pictures(folder: Path, classes: tuple[str, ...]) -> Source:
    paths, labels = list[Path](), list[int]()
    for each in _listed(folder, Path.is_dir):
        if each.name not in classes:
            raise DataError(f"{folder}: class {each.name!r} is not in the training data; leave it out")
        found = _listed(each, lambda path: path.suffix.lower() in FORMATS)
        paths += found
        labels += [classes.index(each.name)] * len(found)
    return Source(str(folder), np.array(labels, dtype=np.int64), lambda row: _picture(paths[row], str(paths[row])))


def _npz(path: Path) -> Found:
    try:
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if isinstance(archive, np.ndarray):
                raise ValueError("a single array, as .npy files have")
            parts = ("_train", "_test") if "x_train" in archive else ("",)
            missing = [axis + part for part in parts for axis in "xy" if axis + part not in archive]
            if missing:
                raise DataError(f"{path}: has no {missing[0]!r}; store x_train, y_train, x_test, y_test, or x and y")
            arrays = [(f"{path}: x{part}, y{part}", archive[f"x{part}"], archive[f"y{part}"]) for part in parts]
    except DAMAGE as error:
        raise _unreadable(path, "npz", error) from error
    train, *test = (_stored(*each) for each in arrays)
    return Found(train, test[0] if test else None, _numbered(train), "shift")


def _stored(where: str, x: NDArray[Any], y: NDArray[Any]) -> Source:
    """`x` (N, H, W), (N, H, W, C) or (N, C, H, W), the last only if it cannot be the second; `y` (N,)."""
    if x.dtype != np.uint8 or not np.issubdtype(y.dtype, np.integer):
        raise DataError(f"{where}: hold {x.dtype} and {y.dtype}; store images as uint8 (0 to 255), labels as integers")
    is_channels_first = x.ndim == 4 and x.shape[-1] not in MODES
    images = np.moveaxis(x, 1, -1) if is_channels_first else x
    if x.ndim not in (3, 4) or 0 in x.shape[1:] or (x.ndim == 4 and images.shape[-1] not in MODES):
        raise DataError(f"{where}: images of shape {x.shape}; store (N, H, W), (N, H, W, C) or (N, C, H, W), C 1, 3, 4")
    if y.shape != (len(x),):
        raise DataError(f"{where}: {len(x)} images but labels of shape {y.shape}; store one label per image")
    return _arrays(where, images, y)


def _arrays(where: str, images: ByteArray, labels: IntArray) -> Source:
    """`images` (N, H, W) or (N, H, W, C)."""
    planes = images[..., 0] if images.shape[3:] == (1,) else images
    return Source(where, labels.astype(np.int64), lambda row: Image.fromarray(np.ascontiguousarray(planes[row])))


# ---- shared by loaders


def _numbered(source: Source) -> tuple[str, ...]:
    """The class names of labels that are plain numbers."""
    present = np.unique(source.labels)
    wrong = np.flatnonzero(present != np.arange(len(present)))
    if len(wrong):
        strange, due = present[wrong[0]], wrong[0]
        raise DataError(f"{source.where}: has label {strange} but not {due}; number the classes from 0 without gaps")
    return tuple(map(str, range(len(present))))


def _picture(file: Path | BytesIO, where: str) -> Image.Image:
    try:
        with Image.open(file, formats=list(FORMATS.values())) as image:
            image.load()
    except UnidentifiedImageError as error:
        raise DataError(f"{where}: is not a PNG, JPEG, BMP or WebP image; replace or remove it") from error
    except DAMAGE as error:
        raise DataError(f"{where}: cannot be decoded ({_line(error)}); replace or remove it") from error
    return image


def _listed(folder: Path, keep: Callable[[Path], bool]) -> list[Path]:
    """What to keep of what is in `folder`, by name, less what is hidden."""
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith(".") and keep(path))
    except OSError as error:
        raise _unreadable(folder, "imagefolder", error) from error


def _unreadable(path: Path, kind: str, error: Exception) -> DataError:
    if isinstance(error, FileNotFoundError):
        return DataError(f"{path}: does not exist; check what follows `{kind}:`")
    return DataError(f"{path}: cannot be read as {kind} ({_line(error)}); make or fetch it again")


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


LOADERS: Final[Mapping[str, Callable[[Path], Found]]] = {
    "digits": _digits,
    "parquet": _parquet,
    "imagefolder": _image_folder,
    "npz": _npz,
}
LOCATIONS: Final = {"parquet": "DIR", "imagefolder": "DIR", "npz": "FILE"}  # what follows the colon
