"""Data that a caller has in memory: arrays, torch data sets, or anything that yields batches, as an npz file.

A file, because a run must be able to go on in another process: its reference is then `npz:FILE`.
Shapes: N examples.
"""

import io
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hwnas.data.layout import split_of
from hwnas.errors import DataError

Pair = tuple[NDArray[Any], NDArray[Any]]
HOW: Final = "give (x, y), a torch Dataset, or a mapping of splits, as {'train': (x, y), 'test': (x, y)}"


def as_npz(data: Any) -> bytes:
    """Returns data as the content of an npz file; equal data give equal bytes.

    `data` is a pair of arrays `x` and `y` of N examples each, a torch Dataset, a list of pairs of an example and its label, an
    iterable of such pairs or of batches (such as a DataLoader), or a mapping of splits to any of these. Values are those of
    `npz:FILE`: uint8 images, or floating-point features of the networks' input shape; integers are classes, floating-point
    numbers targets. Raises DataError for other data.
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


def _pair(part: Any, name: str) -> Pair:
    """Returns the examples and labels of a split, N of each."""
    if _is_pair(part):
        x, y = map(_array, part)
    elif isinstance(part, list | tuple) and not all(isinstance(one, list | tuple) for one in part):
        raise DataError(f"data: {name} is a {type(part).__name__} of {type(part[0]).__name__}; {HOW}")
    elif isinstance(part, str) or not (_is_indexed(part) or hasattr(part, "__iter__")):
        raise DataError(f"data: {name} is a {type(part).__name__}; {HOW}")
    elif _is_indexed(part):
        x, y = _joined([_two(part[index], name) for index in range(len(part))], False, name)
    else:
        pairs = [_two(item, name) for item in part]
        x, y = _joined(pairs, _are_batches(part, pairs, name), name)
    if x.ndim < 2:
        raise DataError(
            f"data: {name} has examples that are single numbers; give arrays of examples (N, ...) and labels (N,)"
        )
    if len(x) != len(y) or not len(x):
        raise DataError(f"data: {name} has {len(x)} examples and {len(y)} labels; give one label for each example")
    return x, y


def _is_pair(part: Any) -> bool:
    """Returns True for arrays `(x, y)`; labels may also be a list."""
    if not isinstance(part, tuple | list) or len(part) != 2:
        return False
    return hasattr(part[0], "shape") and (hasattr(part[1], "shape") or isinstance(part[1], list | tuple))


def _is_indexed(part: Any) -> bool:
    """Returns True where examples are read by index; a torch IterableDataset has the method, which raises NotImplementedError."""
    if not (hasattr(part, "__getitem__") and hasattr(part, "__len__")):
        return False
    try:
        part[0]
    except NotImplementedError:
        return False
    except (IndexError, KeyError, TypeError):
        pass  # of an empty one, and of others: reading it tells what is wrong
    return True


def _are_batches(part: Any, pairs: Sequence[Pair], name: str) -> bool:
    """Returns True where an iterable yields batches: a DataLoader's batch size says so, or else their different lengths do.

    Raises DataError where pairs may be either: batches, or examples with as many targets as they have channels.
    """
    if not all(x.ndim and y.ndim and len(x) == len(y) for x, y in pairs):
        return False
    if getattr(part, "batch_size", None) is not None or len({len(x) for x, _ in pairs}) > 1:
        return True
    if len(pairs) == 1:
        return True
    raise DataError(
        f"data: {name} yields examples or batches, and nothing tells which; give a DataLoader with a batch size, or a list of "
        "pairs of an example and its targets"
    )


def _joined(pairs: Sequence[Pair], is_batches: bool, name: str) -> Pair:
    """Returns the examples and labels of pairs of an example and its label, or of batches of both."""
    if not pairs:
        return np.zeros((0, 0)), np.zeros(0)
    shapes = sorted({x.shape[is_batches:] for x, _ in pairs})
    if len(shapes) > 1:
        raise DataError(
            f"data: {name} has examples of shapes {shapes[0]} and {shapes[1]}; bring them to one shape, as by a transform that "
            "resizes"
        )
    join = np.concatenate if is_batches else np.stack
    try:
        return join([x for x, _ in pairs]), join([y for _, y in pairs])
    except ValueError as error:
        raise DataError(f"data: the labels of {name} cannot be joined ({error}); give each the same shape") from None


def _two(item: Any, name: str) -> Pair:
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
