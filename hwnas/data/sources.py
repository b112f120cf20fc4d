"""Sources of labelled images: one reader per kind. Images are decoded one by one, when asked for.

Shapes: N images, T targets.
"""

from collections.abc import Callable
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
from hwnas.data.pictures import ByteArray
from hwnas.errors import DataError

FORMATS: Final = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".bmp": "BMP", ".webp": "WEBP"}
FEWEST: Final = 3  # training images per class: one for each split

# Errors of pillow, numpy and zipfile for files with bytes changed or missing: all that the fuzz tests have met.
DAMAGE: Final = (OSError, ValueError, EOFError, SyntaxError, RuntimeError, BadZipFile, BadZlib, DecompressionBombError)


@dataclass(frozen=True, slots=True, eq=False)
class Pictures:
    """Labels (N,) or targets (N, T), and images that are decoded one by one when asked for; `where` is for messages."""

    where: str
    labels: NDArray[Any]
    image: Callable[[int], Image.Image]


@dataclass(frozen=True, slots=True, eq=False)
class ClassCollection:
    """Images with classes, enough of each class to split. Without `test`, a test split is taken from `train`."""

    train: Pictures
    test: Pictures | None
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


@dataclass(frozen=True, slots=True, eq=False)
class TargetCollection:
    """Images with numbers to predict, `targets` by name. Without `test`, a test split is taken from `train`."""

    train: Pictures
    test: Pictures | None
    targets: tuple[str, ...]
    augmentation: str

    def __post_init__(self) -> None:
        for part in (self.train, self.test):
            if part is None:
                continue
            if not np.isfinite(part.labels).all():
                row = int(np.flatnonzero(~np.isfinite(part.labels).all(axis=1))[0])
                raise DataError(f"{part.where}: the target of row {row} is not a finite number; replace or remove it")
            if part.labels.shape[1] != len(self.targets):
                raise DataError(
                    f"{part.where}: {part.labels.shape[1]} targets per image, {len(self.targets)} in the training data; "
                    f"store as many"
                )
            fewest = FEWEST if part is self.train else 1
            if len(part.labels) < fewest:
                raise DataError(f"{part.where}: has {len(part.labels)} images; give it at least {fewest}")


# ---- readers: from the text after the colon to a collection


def read_digits(_: Path) -> ClassCollection:
    """Reads scikit-learn's 1,797 scans of handwritten digits, 8 x 8 pixels."""
    from sklearn.datasets import load_digits  # takes a second to import

    scans = load_digits()
    images = (scans.images * (255 / 16)).round().astype(np.uint8)
    return ClassCollection(wrapped("digits", images, scans.target), None, tuple("0123456789"), "shift")


def read_parquet(folder: Path) -> ClassCollection:
    """Reads `train.parquet` and `test.parquet`, with columns `image` (encoded) and `label`."""
    train, test = (_table(folder / f"{part}.parquet") for part in ("train", "test"))
    return ClassCollection(train, test, numbered(train), "shift+flip")


def _table(path: Path) -> Pictures:
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
        raise unreadable(path, "parquet", error) from error
    images, labels = table["image"], table["label"]
    if pa.types.is_struct(images.type) and images.type.get_field_index("bytes") >= 0:
        (images,) = pa.Table.from_arrays([images], ["image"]).flatten().select(["image.bytes"])
    if not (pa.types.is_binary(images.type) or pa.types.is_large_binary(images.type)):
        raise DataError(f"{path}: column 'image' holds {images.type}; store encoded images (PNG, JPEG) as bytes")
    if not pa.types.is_integer(labels.type) or labels.null_count:
        raise DataError(f"{path}: column 'label' holds {labels.type} or gaps; store integers from 0")

    def image(row: int) -> Image.Image:
        return picture(BytesIO(images[row].as_py() or b""), f"{path}: the image of row {row}")

    return Pictures(str(path), labels.to_numpy().astype(np.int64), image)


def read_image_folder(folder: Path) -> ClassCollection:
    """Reads a folder with a folder per class, or with such folders in `train` and perhaps in `test`."""
    inside = {path.name: path for path in listed(folder, Path.is_dir, "imagefolder")}
    train, test = (inside["train"], inside.get("test")) if "train" in inside else (folder, None)
    classes = tuple(path.name for path in listed(train, Path.is_dir, "imagefolder"))
    return ClassCollection(_pictures(train, classes), _pictures(test, classes) if test else None, classes, "shift+flip")


def _pictures(folder: Path, classes: tuple[str, ...]) -> Pictures:
    paths, labels = list[Path](), list[int]()
    for class_folder in listed(folder, Path.is_dir, "imagefolder"):
        if class_folder.name not in classes:
            raise DataError(f"{folder}: class {class_folder.name!r} is not in the training data; leave it out")
        files = listed(class_folder, is_picture, "imagefolder")
        paths += files
        labels += [classes.index(class_folder.name)] * len(files)
    return Pictures(str(folder), np.array(labels, dtype=np.int64), lambda row: picture(paths[row], str(paths[row])))


# ---- shared by readers


def wrapped(where: str, images: ByteArray, labels: NDArray[Any]) -> Pictures:
    """Returns images (N, H, W) or (N, H, W, C) of an array, with their labels."""
    planes = images[..., 0] if images.shape[3:] == (1,) else images
    return Pictures(where, labels, lambda row: Image.fromarray(np.ascontiguousarray(planes[row])))


def numbered(pictures: Pictures) -> tuple[str, ...]:
    """Returns the class names of labels that are plain numbers."""
    require_numbered(pictures.where, np.unique(pictures.labels))
    return tuple(map(str, range(len(np.unique(pictures.labels)))))


def require_numbered(where: str, labels: IntArray) -> None:
    """Raises DataError where the sorted, distinct labels are not 0, 1, 2, ..."""
    wrong = np.flatnonzero(labels != np.arange(len(labels)))
    if len(wrong):
        raise DataError(
            f"{where}: has label {labels[wrong[0]]} but not {wrong[0]}; number the classes from 0 without gaps"
        )


def is_picture(path: Path) -> bool:
    """Returns True for file names of known formats."""
    return path.suffix.lower() in FORMATS


def picture(file: Path | BytesIO, where: str) -> Image.Image:
    """Returns a decoded image. Raises DataError where `where` says, if there is none or it is damaged."""
    try:
        with Image.open(file, formats=list(FORMATS.values())) as image:
            image.load()
    except UnidentifiedImageError as error:
        raise DataError(f"{where}: is not a PNG, JPEG, BMP or WebP image; replace or remove it") from error
    except DAMAGE as error:
        raise DataError(f"{where}: cannot be decoded ({_line(error)}); replace or remove it") from error
    return image


def listed(folder: Path, keep: Callable[[Path], bool], kind: str) -> list[Path]:
    """Returns the paths in a folder that `keep` accepts, by name, without hidden ones."""
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith(".") and keep(path))
    except OSError as error:
        raise unreadable(folder, kind, error) from error


def unreadable(path: Path, kind: str, error: Exception) -> DataError:
    """Returns the error for a file or folder that cannot be read."""
    if isinstance(error, FileNotFoundError):
        return DataError(f"{path}: does not exist; check what follows `{kind}:`")
    return DataError(f"{path}: cannot be read as {kind} ({_line(error)}); make or fetch it again")


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
