"""Files of the archives of time series (UCR, UEA, Monash), `.ts`: a head of `@` lines, then a series per line.

    @problemName GunPoint
    @univariate true
    @equalLength true
    @classLabel true 1 2
    @data
    -0.647,-0.642,-0.638:2

Channels and the label are separated by colons, samples by commas, and `?` is a missing sample. There are readers of whole
packages (aeon, sktime); the format is small, and they need a compiler (numba) and pandas.

Shapes: N series, C channels, L length.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hwnas.core.arrays import FloatArray
from hwnas.data.image_files import DAMAGE, listed, named, unreadable
from hwnas.data.images import ImageData, classified
from hwnas.data.layout import split_of
from hwnas.data.regression import RegressionData, regressed
from hwnas.data.request import DataRequest
from hwnas.data.series import require_shape
from hwnas.data.sources import ClassCollection, Pictures, TargetCollection
from hwnas.errors import DataError

KIND: Final = "ts"


@dataclass(frozen=True, slots=True, eq=False)
class _File:
    """One file: whether labels are classes, their names or numbers (N,), and the series (N, C, L)."""

    path: Path
    has_classes: bool
    labels: tuple[str, ...]
    series_NCL: FloatArray


def load_ts(request: DataRequest) -> ImageData | RegressionData:
    """Returns the series of a folder with NAME_TRAIN.ts and NAME_TEST.ts, to classify, or to predict numbers from.

    Of a folder with several problems, the path names one by its file NAME_TRAIN.ts.

    Raises DataError for files that are missing or damaged, for series of several lengths, and for those of another shape than
    the networks take.
    """
    request.require_series()
    files = {split: _read(path) for split, path in _paths(request.path).items()}
    for file in files.values():
        require_shape(request, str(file.path), file.series_NCL.shape[1:])
    if files["train"].has_classes:
        return classified(request, _classes(files))
    parts = {split: _part(file, _targets(file)) for split, file in files.items()}
    # No augmentation: a position to predict would change with a shift.
    return regressed(request, TargetCollection(parts=parts, things="series", targets=("y0",), augmentation="none"))


def counted_ts(path: Path) -> int:
    """Returns the number of classes, or of targets. Raises DataError."""
    train = _read(_paths(path)["train"])
    return len(set(train.labels)) if train.has_classes else 1


def shape_of_ts(path: Path) -> tuple[int, ...]:
    """Returns the shape (C, L) of a series. Raises DataError."""
    return _read(_paths(path)["train"]).series_NCL.shape[1:]


def _paths(given: Path) -> dict[str, Path]:
    """Returns the files of a folder, or of one problem there, by split; NAME_TRAIN.ts is one of the training split."""
    folder, only = (given.parent, given.stem.rpartition("_")[0]) if given.is_file() else (given, None)
    paths: dict[str, Path] = {}
    for path in listed(folder, lambda path: path.suffix.lower() == ".ts", KIND):
        name, _, last = path.stem.rpartition("_")
        split = split_of(last)
        if split is None or only not in (None, name):
            continue
        if split in paths:
            raise DataError(
                f"{folder}: has {paths[split].name} and {path.name}, both for {split}; name one, as {KIND}:{folder}/NAME_TRAIN.ts"
            )
        paths[split] = path
    if "train" not in paths:
        raise DataError(
            f"{folder}: has no NAME_TRAIN.ts; give the folder of one problem, with NAME_TRAIN.ts and NAME_TEST.ts"
        )
    return paths


def _classes(files: Mapping[str, _File]) -> ClassCollection:
    names = tuple(sorted(set(files["train"].labels)))
    parts = {}
    for split, file in files.items():
        foreign = sorted(set(file.labels) - set(names))
        if foreign:
            raise DataError(f"{file.path}: class {foreign[0]!r} is not in the training data; leave it out")
        labels = np.array([names.index(label) for label in file.labels], dtype=np.int64)
        parts[split] = _part(file, labels)
    return ClassCollection(parts=parts, things="series", classes=names)


def _part(file: _File, labels: NDArray[Any]) -> Pictures:
    return Pictures(str(file.path), labels, lambda row: file.series_NCL[row])


def _targets(file: _File) -> FloatArray:
    try:
        return np.array([[float(label)] for label in file.labels])
    except ValueError as error:
        raise DataError(f"{file.path}: {error} among its targets; correct it") from None


def _read(path: Path) -> _File:
    """Returns the content of a file. Raises DataError, which names the line, for one that is damaged."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except DAMAGE as error:
        raise unreadable(path, KIND, error) from error
    head, series, labels = dict[str, str](), list[list[list[float]]](), list[str]()
    for number, line in _lines(lines):
        if line.startswith("@"):
            name, _, value = line[1:].replace("\t", " ").partition(" ")
            head[name.lower()] = value.strip().lower()
            continue
        *channels, label = line.split(":")
        if not channels:
            raise DataError(f"{path}: line {number}: has no label after a colon; add it, or fetch the file again")
        try:
            series.append([[_sample(text) for text in channel.split(",")] for channel in channels])
        except ValueError as error:
            raise DataError(f"{path}: line {number}: {error}; correct it, or fetch the file again") from None
        labels.append(label.strip())
    _require_head(path, head, len(series))
    sizes = sorted({len(channel) for channels in series for channel in channels})
    counts = sorted({len(channels) for channels in series})
    if len(sizes) != 1 or len(counts) != 1 or not counts[0]:
        lengths = f"{sizes[0]} to {sizes[-1]} samples" if len(sizes) > 1 else f"{counts[0]} to {counts[-1]} channels"
        raise DataError(f"{path}: series have {lengths}; cut or pad them to one shape (equalLength true)")
    return _File(path, head.get("classlabel", "").startswith("true"), tuple(labels), np.array(series))


def _lines(lines: list[str]) -> Iterator[tuple[int, str]]:
    """Yields the lines that are neither empty nor comments, with their numbers."""
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if text and not text.startswith("#"):
            yield number, text


def _sample(text: str) -> float:
    """Returns a sample; NaN for a missing one.

    >>> _sample(" 1.5"), _sample("?")
    (1.5, nan)
    """
    return float("nan") if text.strip() == "?" else float(text)


def _require_head(path: Path, head: Mapping[str, str], count: int) -> None:
    if not count:
        raise DataError(f"{path}: has no series after @data; fetch the file again")
    if head.get("timestamps", "false") == "true":
        raise DataError(f"{path}: samples have time stamps; store them without (timestamps false)")
    if not any(head.get(name, "").startswith("true") for name in ("classlabel", "targetlabel")):
        known = named(sorted(head)) or "no @ lines"
        raise DataError(
            f"{path}: names neither classes nor targets (@classLabel true, @targetLabel true), only {known}"
        )
