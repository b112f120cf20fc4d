"""Latencies that others measured and published, of networks of a search space: to judge predictors on many devices.

The tables are files of a folder that is not part of the package.

Shapes: N networks, C choices.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, final

import numpy as np

from hwnas.benchmarks.columns import LATENCY_COLUMN, Columns, measured, option_indices, read_columns
from hwnas.core.arrays import FloatArray, IntArray
from hwnas.core.space import SearchSpace
from hwnas.errors import DataError, UnknownNameError
from hwnas.spaces import load_space

ENERGY_COLUMN: Final = "energy_mj_"


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class PublishedLatencies:
    """What devices took for networks of `space`.

    `rows_NC` are option indices as written, not normalised: who measured may have built what cannot matter, too.
    `latency_ms` has a device's latencies (N,), NaN where it could not run the network; `other` what else was measured and
    adds up over layers as latency does, by its column: `energy_mj_DEVICE`. `where` is the file, for messages.
    """

    where: str
    space: SearchSpace
    rows_NC: IntArray
    latency_ms: Mapping[str, FloatArray]
    other: Mapping[str, FloatArray]

    def __post_init__(self) -> None:
        if not self.latency_ms:
            raise DataError(f"{self.where}: has no column that begins with {LATENCY_COLUMN!r}; fetch the file again")

    @property
    def measured(self) -> Mapping[str, FloatArray]:
        """All there is to predict: latencies by device, the others by column."""
        return {**self.latency_ms, **self.other}


@cache
def published_space(name: str) -> SearchSpace:
    """The space, as built in, whose networks a table of `TABLES` holds. Raises UnknownNameError."""
    if name not in _OPTIONS:
        raise UnknownNameError("table of latencies", name, list(_OPTIONS))
    return load_space(name, _OPTIONS[name])


def published_rows(name: str, rows_NC: IntArray) -> IntArray:
    """Networks as a table writes them, columns in the file's order, as option indices of its `published_space`.

    Where the file writes options themselves (kernel sizes), their indices will do, too. Raises DataError.
    """
    space = published_space(name)
    written = _written(name, space)
    if rows_NC.ndim != 2 or rows_NC.shape[1] != len(written):
        raise DataError(f"rows of {name} have {len(written)} columns ({', '.join(written)}), not shape {rows_NC.shape}")
    sizes_C = np.array([len(options) for _, options in written.values()])
    if (rows_NC >= 0).all() and (rows_NC < sizes_C).all():
        written = {column: (choice, range(len(options))) for column, (choice, options) in written.items()}
    columns = {column: rows_NC[:, number].astype(np.float64) for number, column in enumerate(written)}
    return _option_rows(Path(name), columns, space, written)


def nasbench201(folder: Path) -> PublishedLatencies:
    """All cells of NAS-Bench-201, edges as in its strings, with the latencies of HELP and HW-NAS-Bench. Raises DataError."""
    return _published(folder / "nasbench201.parquet", "nasbench201")


def fbnet(folder: Path) -> PublishedLatencies:
    """Networks of FBNet's space with the latencies of HELP (Lee et al. 2021). Raises DataError."""
    return _published(folder / "fbnet_latency.parquet", "fbnet")


def ofa(folder: Path) -> PublishedLatencies:
    """Networks of Once-for-All's MobileNetV3 with the latencies of HELP; absent blocks have options, too.

    Raises DataError.
    """
    return _published(folder / "ofa_latency.parquet", "ofa")


# What loads a table from the folder that has it, by the space of its networks.
TABLES: Final[Mapping[str, Callable[[Path], PublishedLatencies]]] = {
    "nasbench201": nasbench201,
    "fbnet": fbnet,
    "ofa": ofa,
}
# Of the built-in spaces of these names.
_OPTIONS: Final[Mapping[str, Mapping[str, Any]]] = {
    "nasbench201": {"cells": 1},  # of each stage: all of them are alike, and features of five no more than of one
    "fbnet": {"resolution": 224, "classes": 1000},
    "ofa": {"resolutions": tuple(range(128, 225, 4)), "classes": 1000},
}

# Of each column, in the file's order: the choice, and what its options are in the column.
Written = Mapping[str, tuple[str, Sequence[Any]]]


def _written(name: str, space: SearchSpace) -> Written:
    if name != "ofa":
        return {choice.name: (choice.name, range(len(choice.options))) for choice in space.choices}
    # The file numbers stages from 0, and the blocks of all stages, four to a stage.
    blocks = {number: f"stage{number // 4 + 1}.block{number % 4 + 1}" for number in range(20)}
    choices = {f"kernel{number}": f"{block}.kernel" for number, block in blocks.items()}
    choices |= {f"expand{number}": f"{block}.expansion" for number, block in blocks.items()}
    choices |= {f"depth{stage}": f"stage{stage + 1}.depth" for stage in range(5)}
    choices["resolution"] = "resolution"
    return {column: (choice, space.choice(choice).options) for column, choice in choices.items()}


def _option_rows(where: Path, columns: Columns, space: SearchSpace, written: Written) -> IntArray:
    """Option indices in the order of the space's choices; shape (N, C)."""
    indices = {choice: option_indices(where, columns, column, options) for column, (choice, options) in written.items()}
    return np.stack([indices[choice.name] for choice in space.choices], axis=1)


def _published(path: Path, name: str) -> PublishedLatencies:
    columns, space = read_columns(path), published_space(name)
    return PublishedLatencies(
        where=str(path),
        space=space,
        rows_NC=_option_rows(path, columns, space, _written(name, space)),
        latency_ms={
            name.removeprefix(LATENCY_COLUMN): measured(column)
            for name, column in columns.items()
            if name.startswith(LATENCY_COLUMN)
        },
        other={name: measured(column) for name, column in columns.items() if name.startswith(ENERGY_COLUMN)},
    )
