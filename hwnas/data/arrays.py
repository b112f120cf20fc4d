"""Arrays of an .npz file: images, series or features, with classes or with numbers to predict.

Shapes: N examples, C channels, H rows, W columns, T targets, L length of series.
"""

import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hwnas.core.archives import require_bounded, require_whole_arrays
from hwnas.data.features import FeatureData, Stored, featured
from hwnas.data.image_files import DAMAGE, named, unread, unreadable
from hwnas.data.images import ImageData, classified
from hwnas.data.layout import split_of
from hwnas.data.memory import require_memory
from hwnas.data.pictures import MODES
from hwnas.data.regression import RegressionData, regressed
from hwnas.data.request import DataRequest
from hwnas.data.series import require_shape
from hwnas.data.sources import ClassCollection, Pictures, TargetCollection, numbered, wrapped
from hwnas.errors import DataError

# Examples by row, and what checks an array of them, beside the labels.
Rows = Callable[[int], Any]
RowsOf = Callable[[str, NDArray[Any], NDArray[Any]], Rows]
# Words of names: x_train is `x` of a split, train_images too.
AXES: Final = {"x": "x", "images": "x", "y": "y", "labels": "y", "targets": "y"}
PARTNERS: Final = {"x": "y", "y": "x", "images": "labels", "labels": "images", "targets": "images"}
# The names of arrays by split and axis.
Roles = Mapping[tuple[str, str], str]
STORE: Final = "store x_train, y_train, x_test, y_test, or x and y"


def load_npz(request: DataRequest) -> ImageData | RegressionData | FeatureData:
    """Returns images or series: to classify where `y` holds integers, to predict numbers from where it holds floating-point
    numbers. Returns features for either where `x` holds floating-point numbers, and the networks take no series.

    Raises DataError for arrays that are missing, damaged, too small to split or unfit for the networks.
    """
    if request.takes_series:
        request.require_series()
        collection = read_npz(request.path, partial(_series, request), "series")
    else:
        arrays, roles, notes = _arrays(request.path)
        if all(np.issubdtype(x.dtype, np.floating) for _, x, _ in arrays.values()):
            _require_alike(request.path, arrays, roles)
            return featured(request, arrays, notes)
        request.require_images()
        collection = _collection(request.path, arrays, roles, notes, _images, "images")
    return (
        regressed(request, collection) if isinstance(collection, TargetCollection) else classified(request, collection)
    )


def read_npz(path: Path, rows_of: RowsOf | None = None, things: str = "images") -> ClassCollection | TargetCollection:
    """Reads examples and labels, x_train, y_train and those of other splits, or x and y: integers are classes, floating-point
    numbers targets.

    `rows_of` checks an array of examples and returns them by row; None: images. Names may be spelled as in
    `hwnas.data.layout`, also as `train_images` and `train_labels`.
    """
    return _collection(path, *_arrays(path), rows_of or _images, things)


def counted_npz(path: Path) -> int:
    """Returns the number of classes, or of targets. Raises DataError."""
    arrays, _, _ = _arrays(path, labels_only=True)
    _, _, y = arrays["train"]
    if np.issubdtype(y.dtype, np.integer):
        return len(np.unique(y))
    return 1 if y.ndim == 1 else y.shape[1]


def stored_shape(path: Path) -> tuple[int, ...] | None:
    """Returns the shape of a floating-point example; None for images. Raises DataError."""
    arrays, _, _ = _arrays(path)
    _, x, _ = arrays["train"]
    return x.shape[1:] if np.issubdtype(x.dtype, np.floating) else None


def _arrays(path: Path, labels_only: bool = False) -> tuple[Stored, Roles, tuple[str, ...]]:
    """Returns the arrays by split, each pair with the words for it; their names; and notes. Examples are read unless only labels
    are asked for, whose arrays of examples are empty then."""
    try:
        require_bounded(path, DataError)
        require_whole_arrays(path)
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if isinstance(archive, np.ndarray):
                raise ValueError("a single array, as .npy files have")
            roles = _roles(path, archive.files)
            with zipfile.ZipFile(path) as members:
                require_memory(str(path), "its arrays", sum(member.file_size for member in members.infolist()))
            arrays = {
                split: (f"{path}: {x}, {y}", np.zeros(0) if labels_only else archive[x], archive[y])
                for split, (x, y) in _pairs(path, roles, archive.files).items()
            }
            notes = unread(path, [name for name in archive.files if name not in roles.values()], "of no split")
    except (*DAMAGE, MemoryError) as error:
        raise unreadable(path, "npz", error) from error
    return arrays, roles, tuple(notes)


def _require_alike(path: Path, arrays: Stored, roles: Roles) -> set[str]:
    """Returns whether labels are integers or numbers. Raises DataError where splits differ."""
    kinds = {"integers" if np.issubdtype(y.dtype, np.integer) else "numbers" for _, _, y in arrays.values()}
    if len(kinds) > 1:
        names = " and ".join(roles[split, "y"] for split in arrays)
        raise DataError(f"{path}: {names} are not all integers or all floating-point; store them alike")
    return kinds


def _collection(
    path: Path, arrays: Stored, roles: Roles, notes: tuple[str, ...], rows_of: RowsOf, things: str
) -> ClassCollection | TargetCollection:
    """Returns the splits as examples of classes or with targets; `rows_of` checks an array and returns its examples by row."""
    kinds = _require_alike(path, arrays, roles)
    parts = {split: _stored(*stored, rows_of, things) for split, stored in arrays.items()}
    if kinds == {"integers"}:
        return ClassCollection(parts=parts, things=things, classes=numbered(parts["train"]), notes=notes)
    targets = tuple(f"y{number}" for number in range(parts["train"].labels.shape[1]))
    # No augmentation: a position to predict would change with a shift.
    notes = (*notes, *_classes_as_targets(roles["train", "y"], parts["train"].labels))
    return TargetCollection(parts=parts, things=things, targets=targets, augmentation="none", notes=notes)


def _roles(path: Path, names: Iterable[str]) -> dict[tuple[str, str], str]:
    """Returns the arrays' names by split and axis. Raises DataError where two names are for one."""
    roles: dict[tuple[str, str], str] = {}
    for name in names:
        words = name.lower().split("_")
        axes = [AXES[word] for word in words if word in AXES]
        splits = [split_of(word) for word in words if word not in AXES]
        if len(axes) != 1 or len(splits) > 1 or None in splits:
            continue
        role = (splits[0] or "train" if splits else "train", axes[0])
        if roles.setdefault(role, name) != name:
            raise DataError(f"{path}: has {roles[role]} and {name}, both for {role[0]}; join them, or remove one")
    return roles


def _pairs(path: Path, roles: dict[tuple[str, str], str], names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Returns the names of images and labels by split. Raises DataError where one of the two, or training data, is missing."""
    for (split, axis), name in roles.items():
        if (split, "y" if axis == "x" else "x") not in roles:
            partner = "_".join(PARTNERS.get(word, word) for word in name.lower().split("_"))
            raise DataError(f"{path}: has no {partner!r}; {STORE}")
    if ("train", "x") not in roles:
        raise DataError(f"{path}: has no 'x_train'{f', only {named(names)}' if names else ''}; {STORE}")
    return {split: (name, roles[split, "y"]) for (split, axis), name in roles.items() if axis == "x"}


def _stored(where: str, x: NDArray[Any], y: NDArray[Any], rows_of: RowsOf, things: str) -> Pictures:
    """Checks examples `x` by `rows_of`; and `y`: classes (N,) or (N, 1), or targets (N,) or (N, T)."""
    rows = rows_of(where, x, y)
    if np.issubdtype(y.dtype, np.floating):
        return Pictures(where, _targets(where, len(x), y, things), rows)
    if y.shape not in ((len(x),), (len(x), 1)):
        hint = " (y.argmax(axis=1))" if _is_one_hot(y) else ""
        raise DataError(f"{where}: {len(x)} {things} but labels of shape {y.shape}; store one label per example{hint}")
    return Pictures(where, y.reshape(-1).astype(np.int64), rows)


def _images(where: str, x: NDArray[Any], y: NDArray[Any]) -> Rows:
    """Checks images (N, H, W), (N, H, W, C) or (N, C, H, W), the last only if it cannot be the second."""
    if x.dtype != np.uint8 or y.dtype.kind not in "iuf":
        raise DataError(
            f"{where}: hold {x.dtype} and {y.dtype}; store images as uint8 (0 to 255) or features as floating-point numbers "
            f"in all splits; classes as integers, or targets as floating-point numbers"
        )
    is_channels_first = x.ndim == 4 and x.shape[-1] not in MODES
    images = np.moveaxis(x, 1, -1) if is_channels_first else x
    if x.ndim not in (3, 4) or 0 in x.shape[1:] or (x.ndim == 4 and images.shape[-1] not in MODES):
        raise DataError(f"{where}: images of shape {x.shape}; store (N, H, W), (N, H, W, C) or (N, C, H, W), C 1, 3, 4")
    return wrapped(where, images, y).image


def _series(request: DataRequest, where: str, x: NDArray[Any], y: NDArray[Any]) -> Rows:
    """Checks series (N, L) or (N, C, L) of the shape that the networks take."""
    if x.dtype.kind not in "iuf" or y.dtype.kind not in "iuf" or x.ndim not in (2, 3):
        raise DataError(
            f"{where}: hold {x.dtype} of shape {x.shape} and {y.dtype}; store series as numbers (N, C, L) or (N, L), classes as "
            f"integers, or targets as floating-point numbers"
        )
    series_NCL = x[:, None] if x.ndim == 2 else x
    require_shape(request, where, series_NCL.shape[1:])
    return lambda row: series_NCL[row]


def _classes_as_targets(name: str, targets_NT: NDArray[Any]) -> tuple[str, ...]:
    """Returns the note on targets that may be meant as classes."""
    if _is_one_hot(targets_NT):
        return (f"targets: each row of {name} has a single 1; if these are classes, store {name}.argmax(axis=1)",)
    if targets_NT.shape[1] == 1 and np.array_equal(targets_NT, np.round(targets_NT)):
        return (f"targets: {name} holds whole numbers alone; if these are classes, store {name}.astype(int)",)
    return ()


def _is_one_hot(y: NDArray[Any]) -> bool:
    return y.ndim == 2 and y.shape[1] > 1 and bool(((y == 0) | (y == 1)).all() and (y.sum(axis=1) == 1).all())


def _targets(where: str, count: int, y: NDArray[Any], things: str) -> NDArray[np.float64]:
    """Returns targets (N, T)."""
    targets_NT = y[:, None] if y.ndim == 1 else y
    if targets_NT.ndim != 2 or len(targets_NT) != count or not targets_NT.shape[1]:
        raise DataError(f"{where}: {count} {things} but targets of shape {y.shape}; store targets as (N,) or (N, T)")
    return targets_NT.astype(np.float64)
