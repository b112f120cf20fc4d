"""The number of classes or targets of a data set, read without decoding its images."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from hwnas.data.arrays import counted_npz
from hwnas.data.dataset import KINDS
from hwnas.data.folders import read_folder
from hwnas.data.recognising import recognised
from hwnas.data.sources import ClassCollection
from hwnas.data.tables import read_parquet
from hwnas.data.ts_files import counted_ts
from hwnas.data.wav import read_recordings


def _classes(path: Path, read: Callable[[Path], ClassCollection]) -> int:
    return len(read(path).classes)


# The kinds whose number is known before a network is.
COUNTED: Final[Mapping[str, Callable[[Path], int]]] = {
    "digits": lambda _: 10,
    "digits-angle": lambda _: 1,
    "digits-canvas": lambda _: 11,
    "imagefolder": partial(_classes, read=read_folder),
    "npz": counted_npz,
    "parquet": partial(_classes, read=read_parquet),
    "ts": counted_ts,
    "wav": partial(_classes, read=read_recordings),
}


def outputs_of(reference: str) -> int | None:
    """Returns the number of classes or targets; None for kinds that do not tell before networks are known.

    Raises DataError where the data cannot be read.
    """
    kind, _, location = recognised(reference, KINDS).partition(":")
    return COUNTED[kind](Path(location).expanduser()) if kind in COUNTED else None
