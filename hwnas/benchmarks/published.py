"""Published latencies of networks of a search space, to judge predictors on many devices.

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
    """The latencies of networks of `space` on many devices.

    `rows_NC` are option indices as written, not normalised: the authors may have built parts that cannot matter, too.
    `latency_ms` holds a device's latencies (N,), NaN where the device could not run the network; `other` holds further
    costs that add up over layers, by column: `energy_mj_DEVICE`. `where` is the file, for messages.
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
        """Everything to predict: latencies by device, other costs by column."""
        return {**self.latency_ms, **self.other}


@cache
def published_space(name: str) -> SearchSpace:
    """Returns the built-in space whose networks a table of `TABLES` holds. Raises UnknownNameError."""
    if name not in _OPTIONS:
        raise UnknownNameError("table of latencies", name, list(_OPTIONS))
    return load_space(name, _OPTIONS[name])


def published_rows(name: str, rows_NC: IntArray) -> IntArray:
    """Returns option indices of a table's `published_space`, from rows as the table writes them, columns in its order.

    Where the file writes options themselves (kernel sizes), their indices are accepted, too. Raises DataError.
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
    """Returns all cells of NAS-Bench-201, edges as in its strings, with latencies of HELP and HW-NAS-Bench.

    Raises DataError.
    """
    return _published(folder / "nasbench201.parquet", "nasbench201")


def fbnet(folder: Path) -> PublishedLatencies:
    """Returns networks of FBNet's space with the latencies of HELP (Lee et al. 2021). Raises DataError."""
    return _published(folder / "fbnet_latency.parquet", "fbnet")


def ofa(folder: Path) -> PublishedLatencies:
    """Returns networks of Once-for-All's MobileNetV3 with the latencies of HELP; absent blocks have options, too.

    Raises DataError.
    """
    return _published(folder / "ofa_latency.parquet", "ofa")


# Loaders of tables from the folder that holds them, by the space of the networks.
TABLES: Final[Mapping[str, Callable[[Path], PublishedLatencies]]] = {
    "nasbench201": nasbench201,
    "fbnet": fbnet,
    "ofa": ofa,
}
# The options with which the built-in spaces are made.
_OPTIONS: Final[Mapping[str, Mapping[str, Any]]] = {
    "nasbench201": {
        "cells": 1
    },  # cells of a stage: all are alike, so the features of five say no more than those of one
    "fbnet": {"resolution": 224, "classes": 1000},
    "ofa": {"resolutions": tuple(range(128, 225, 4)), "classes": 1000},
}

# For each column, in the file's order: the choice, and its options as the column writes them.
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
    """Returns option indices in the order of the space's choices; shape (N, C)."""
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
