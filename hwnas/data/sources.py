"""Where labelled images come from: one loader per kind of source. Images are decoded one by one, when asked for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile
from zlib import error as BadZlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.Image import DecompressionBombError

from hwnas.core.arrays import IntArray
from hwnas.errors import DataError

ByteArray = NDArray[np.uint8]

MODES: Final = {1: "L", 3: "RGB", 4: "RGBA"}  # pillow's name for images of so many channels
FORMATS: Final = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".bmp": "BMP", ".webp": "WEBP"}
FEWEST: Final = 3  # training images per class: one for each split

# What pillow, numpy and zipfile raise for files with bytes changed or missing: all that the fuzz tests have met.
DAMAGE: Final = (OSError, ValueError, EOFError, SyntaxError, RuntimeError, BadZipFile, BadZlib, DecompressionBombError)


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
