"""Arrays of an .npz file: images with classes, or with numbers to predict.

Shapes: N images, C channels, H rows, W columns, T targets.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.core.archives import require_bounded, require_whole_arrays
from hwnas.data.images import ImageData, classified
from hwnas.data.pictures import MODES
from hwnas.data.regression import RegressionData, regressed
from hwnas.data.request import DataRequest
from hwnas.data.sources import DAMAGE, ClassCollection, Pictures, TargetCollection, numbered, unreadable, wrapped
from hwnas.errors import DataError


def load_npz(request: DataRequest) -> ImageData | RegressionData:
    """Returns images to classify where `y` holds integers, to predict numbers from where `y` holds floating-point numbers.

    Raises DataError for arrays that are missing, damaged, too small to split or unfit for the networks.
    """
    request.require_images()
    collection = read_npz(request.path)
    return (
        regressed(request, collection) if isinstance(collection, TargetCollection) else classified(request, collection)
    )


def read_npz(path: Path) -> ClassCollection | TargetCollection:
    """Reads arrays x_train, y_train, x_test, y_test, or x and y: integers are classes, floating-point numbers targets."""
    try:
        require_bounded(path, DataError)
        require_whole_arrays(path)
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
        raise unreadable(path, "npz", error) from error
    kinds = {"integers" if np.issubdtype(y.dtype, np.integer) else "numbers" for _, _, y in arrays}
    if len(kinds) > 1:
        raise DataError(f"{path}: y_train and y_test are not both integers or both floating-point; store them alike")
    train, *tests = (_stored(*stored) for stored in arrays)
    test = tests[0] if tests else None
    if kinds == {"integers"}:
        return ClassCollection(train, test, numbered(train), "shift")
    targets = tuple(f"y{number}" for number in range(train.labels.shape[1]))
    return TargetCollection(train, test, targets, "none")  # a position to predict would change with a shift


def _stored(where: str, x: NDArray[Any], y: NDArray[Any]) -> Pictures:
    """Checks images `x` (N, H, W), (N, H, W, C) or (N, C, H, W), the last only if it cannot be the second; and `y`: classes
    (N,), or targets (N,) or (N, T)."""
    if x.dtype != np.uint8 or y.dtype.kind not in "iuf":
        raise DataError(
            f"{where}: hold {x.dtype} and {y.dtype}; store images as uint8 (0 to 255), classes as integers, or targets as "
            f"floating-point numbers"
        )
    is_channels_first = x.ndim == 4 and x.shape[-1] not in MODES
    images = np.moveaxis(x, 1, -1) if is_channels_first else x
    if x.ndim not in (3, 4) or 0 in x.shape[1:] or (x.ndim == 4 and images.shape[-1] not in MODES):
        raise DataError(f"{where}: images of shape {x.shape}; store (N, H, W), (N, H, W, C) or (N, C, H, W), C 1, 3, 4")
    if np.issubdtype(y.dtype, np.floating):
        return wrapped(where, images, _targets(where, len(x), y))
    if y.shape != (len(x),):
        raise DataError(f"{where}: {len(x)} images but labels of shape {y.shape}; store one label per image")
    return wrapped(where, images, y.astype(np.int64))


def _targets(where: str, count: int, y: NDArray[Any]) -> NDArray[np.float64]:
    """Returns targets (N, T)."""
    targets_NT = y[:, None] if y.ndim == 1 else y
    if targets_NT.ndim != 2 or len(targets_NT) != count or not targets_NT.shape[1]:
        raise DataError(f"{where}: {count} images but targets of shape {y.shape}; store targets as (N,) or (N, T)")
    return targets_NT.astype(np.float64)
