"""Published tables of numbers as columns: parquet or CSV files.

Shapes: T rows of the table.
"""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from hwnas.core.arrays import FloatArray, IntArray
from hwnas.core.files import decoded
from hwnas.errors import DataError

Columns = dict[str, FloatArray]

# The prefix of the names of columns of latencies; the device follows.
LATENCY_COLUMN: Final = "latency_ms_"


def read_columns(path: Path) -> Columns:
    """Returns the file's columns of numbers, by name; shape (T,) each. Raises DataError."""
    if not path.is_file():
        raise DataError(f"{path}: does not exist; give the folder that has the benchmark's table")
    return READERS[path.suffix](path)


def read_texts(path: Path, names: Sequence[str]) -> dict[str, list[str]]:
    """Returns columns of text of a parquet file, by name. Raises DataError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise DataError(f"{path}: does not exist; give the folder that has the benchmark's table")
    try:
        table = pq.read_table(path, columns=list(names))
        return {name: [str(value) for value in table[name].to_pylist()] for name in names}
    except (pa.ArrowException, KeyError, OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def option_indices(path: Path, columns: Columns, name: str, options: Sequence[float]) -> IntArray:
    """Returns the index in `options` of each row of a column; shape (T,). Raises DataError, naming the file at `path`."""
    if name not in columns:
        raise DataError(f"{path}: has no column {name!r}; fetch the file again")
    matches = columns[name][:, None] == np.array(options)
    if not matches.any(axis=1).all():
        wrong = columns[name][~matches.any(axis=1)][0]
        raise DataError(f"{path}: column {name!r} holds {wrong:g}, not one of {[*options]}; fetch the file again")
    return np.asarray(matches.argmax(axis=1))


def measured(column: FloatArray) -> FloatArray:
    """Returns a column with NaN in place of numbers that are not positive.

    HW-NAS-Bench writes -1 where the device's compiler refused the network (its issue 11).
    """
    return np.where(column > 0, column, np.nan)


def _parquet(path: Path) -> Columns:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    numbers = [
        field.name for field in table.schema if pa.types.is_integer(field.type) or pa.types.is_floating(field.type)
    ]
    return {name: table[name].to_numpy().astype(np.float64) for name in numbers}


def _csv(path: Path) -> Columns:
    """Returns all columns of a CSV file, which must hold numbers only."""
    try:
        header, *lines = csv.reader(io.StringIO(decoded(path.read_bytes()), newline=""))
        numbers_TK = np.array(lines, dtype=np.float64).reshape(-1, len(header))
    except (OSError, ValueError, csv.Error) as error:
        raise _unreadable(path, error) from error
    return dict(zip(header, numbers_TK.T, strict=True))


READERS: Final[Mapping[str, Callable[[Path], Columns]]] = {".parquet": _parquet, ".csv": _csv}


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(f"{path}: cannot be read ({' '.join(str(error).split())}); fetch the file again")
