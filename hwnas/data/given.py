"""Data that a caller has in memory: arrays, torch data sets, or anything that yields batches, as an npz file.

A file, because a run must be able to go on in another process: its reference is then `npz:FILE`.
Shapes: N examples.
"""

import io
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hwnas.data.layout import split_of
from hwnas.errors import DataError

HOW: Final = "give (x, y), a torch Dataset, or a mapping of splits, as {'train': (x, y), 'test': (x, y)}"


def as_npz(data: Any) -> bytes:
    """Returns data as the content of an npz file; equal data give equal bytes.

    `data` is a pair of arrays `x` and `y` of N examples each, a torch Dataset, an iterable of batches (such as a DataLoader),
    or a mapping of splits to any of these. Values are those of `npz:FILE`: uint8 images, or floating-point features of the
    networks' input shape; integers are classes, floating-point numbers targets. Raises DataError for other data.
    """
    splits = data if isinstance(data, Mapping) else {"train": data}
    arrays: dict[str, NDArray[Any]] = {}
    for name, part in splits.items():
        split = split_of(str(name))
        if split is None:
            raise DataError(f"data: {name!r} is no split; name splits train, validation and test")
        arrays[f"x_{split}"], arrays[f"y_{split}"] = _pair(part, str(name))
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def _pair(part: Any, name: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Returns the examples and labels of a split, N of each."""
    if isinstance(part, tuple | list) and len(part) == 2 and all(hasattr(one, "shape") for one in part):
        x, y = map(_array, part)
    elif hasattr(part, "__getitem__") and hasattr(part, "__len__") and not isinstance(part, str | tuple | list):
        x, y = _stacked((part[index] for index in range(len(part))), name)
    elif hasattr(part, "__iter__") and not isinstance(part, str | tuple | list):
        x, y = _joined(part, name)
    else:
        raise DataError(f"data: {name} is a {type(part).__name__}; {HOW}")
    if len(x) != len(y) or not len(x):
        raise DataError(f"data: {name} has {len(x)} examples and {len(y)} labels; give one label for each example")
    return x, y


def _stacked(examples: Iterator[Any], name: str) -> tuple[NDArray[Any], NDArray[Any]]:
    pairs = [_two(example, name) for example in examples]
    shapes = sorted({x.shape for x, _ in pairs})
    if len(shapes) > 1:
        raise DataError(
            f"data: {name} has examples of shapes {shapes[0]} and {shapes[1]}; bring them to one shape, as by a transform that "
            "resizes"
        )
    if not pairs:
        return np.zeros(0), np.zeros(0)
    return np.stack([x for x, _ in pairs]), np.stack([y for _, y in pairs])


def _joined(batches: Any, name: str) -> tuple[NDArray[Any], NDArray[Any]]:
    pairs = [_two(batch, name) for batch in batches]
    if not pairs:
        return np.zeros(0), np.zeros(0)
    try:
        return np.concatenate([x for x, _ in pairs]), np.concatenate([y for _, y in pairs])
    except ValueError as error:
        raise DataError(f"data: the batches of {name} cannot be joined ({error}); give batches of one shape") from None


def _two(item: Any, name: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Returns an example, or a batch, and its label or labels."""
    if not isinstance(item, tuple | list) or len(item) != 2:
        raise DataError(f"data: {name} yields a {type(item).__name__}, not pairs of an example and its label; {HOW}")
    return _array(item[0]), _array(item[1])


def _array(value: Any) -> NDArray[Any]:
    """Returns an array of an array, a tensor on any device, a picture or a number; float64 as float32, booleans as integers."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    array: NDArray[Any] = np.asarray(value)
    if array.dtype == np.float64:
        return array.astype(np.float32)
    return array.astype(np.int64) if array.dtype == np.bool_ else array
