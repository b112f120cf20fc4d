"""Prints the errors of cold predictors: nothing of a space was measured, only another space on the same device.

    python scripts/bench/predictors.py --out measured     # tables of seven spaces, about half an hour on two cores
    python scripts/bench/cold.py measured                 # from each to each, a second a pair

A row has, for one pair of spaces, the median error of estimated operators, then the mean error and rank correlation of
networks and the share of networks inside the 90 % interval (which is that of the source's networks). The last columns are
the mean error and rank correlation of two baselines: the sum of measured isolated operators, which a cold predictor does
not have, and FLOPs at the source's median milliseconds per FLOP.
"""

import argparse
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from hwnas.core.space import SearchSpace
from hwnas.pipeline.predict import measurements
from hwnas.predict.cold import cold_predictor, estimated_costs
from hwnas.predict.measurements import Measurements
from hwnas.predict.report import baselines, errors
from hwnas.profiler.table import Table, read_table, require_conditions
from hwnas.spaces import reload_space

COLUMNS: Final = ("operators", "cold", "rank", "in interval", "sum", "rank", "FLOPs", "rank")


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """A space and its measurements."""

    table: Table
    space: SearchSpace
    known: Measurements

    @classmethod
    def read(cls, path: Path) -> "Measured":
        table = read_table(path)
        space = reload_space(table.space)
        return cls(table, space, measurements(table, space))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the folder of the tables of one device")
    found = [Measured.read(path) for path in sorted(parser.parse_args().folder.glob("*.jsonl"))]
    print(f"{'from':12} {'to':12}" + "".join(f"{column:>12}" for column in COLUMNS))
    for source, target in itertools.permutations(found, 2):
        require_conditions(target.table, source.table.conditions)
        print(f"{source.space.name:12} {target.space.name:12}" + pair_line(source, target))


def pair_line(source: Measured, target: Measured) -> str:
    """Returns the cells of one pair: errors of the source's predictor on all measured networks of the target."""
    rows_NC, measured_ms_N = target.known.rows_NC, target.known.networks_N
    predictor = cold_predictor(target.space, source.space, source.known, source.table.conditions)
    cold_ms_N = predictor.predict_ms(rows_NC)
    low, high = predictor.interval
    kept = np.mean((low * cold_ms_N <= measured_ms_N) & (measured_ms_N <= high * cold_ms_N))
    ms_per_flop = np.median(source.known.networks_N / source.space.costs("flops", source.known.rows_NC))
    cold, isolated, flops = (
        errors(predicted_ms_N, measured_ms_N)
        for predicted_ms_N in (
            cold_ms_N,
            baselines(target.space, target.known)["isolated_sum"],
            ms_per_flop * target.space.costs("flops", rows_NC),
        )
    )
    figures = [f"{operator_error(source, target):.1%}", f"{cold['mape']:.1%}", f"{cold['spearman']:.3f}", f"{kept:.0%}"]
    for baseline in (isolated, flops):
        figures += [f"{baseline['mape']:.1%}", f"{baseline['spearman']:.3f}"]
    return "".join(f"{figure:>12}" for figure in figures)


def operator_error(source: Measured, target: Measured) -> float:
    """Returns the median relative error of the operators that had to be estimated; NaN where there are none."""
    known_ms = {operator: source.known.isolated[key] for key, operator in source.space.operators().items()}
    estimates_ms = estimated_costs(known_ms, target.space.operators().values())
    new = target.space.operators().keys() - source.space.operators().keys()
    relative = [abs(estimates_ms[key] / target.known.isolated[key] - 1) for key in new]
    return float(np.median(relative)) if relative else float("nan")


if __name__ == "__main__":
    main()
