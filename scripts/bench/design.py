"""Compares four ways to choose calibration networks, at several numbers of networks.

    python scripts/bench/design.py                     # mobilenet at 32 px; about five minutes
    python scripts/bench/design.py --out measured      # keeps the table, and continues it

Networks are chosen at random (as `hwnas profile` does: a quarter uniform, the rest spread from small to large), far from
one another, or D-optimally for the operators' corrections. Two more designs are the first two with every second network
replaced by a neighbour of the network before it, which differs in one choice. The first 10, 20, 40 and 60 networks of a
design fit a predictor, whose error is that on 80 spread networks of another seed.
"""

import argparse
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

import hwnas
from hwnas.core.arch import Arch
from hwnas.core.space import SearchSpace
from hwnas.pipeline.predict import measurements
from hwnas.predict.fit import fit
from hwnas.predict.measurements import Measurements
from hwnas.predict.report import errors
from hwnas.profiler.device import conditions_here
from hwnas.profiler.measure import fill
from hwnas.profiler.profile import calibration_networks, network_subject, operator_workloads, provenance
from hwnas.profiler.protocol import Protocol
from hwnas.profiler.setup import Setup
from hwnas.profiler.store import TableWriter
from hwnas.profiler.table import read_table
from hwnas.terminal import TerminalReporter

SIZES = (10, 20, 40, 60)
HELD_OUT = 80
CANDIDATES = 2000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("space", nargs="?", default="mobilenet")
    parser.add_argument("--out", type=Path, default=Path(tempfile.mkdtemp()) / "table.jsonl")
    arguments = parser.parse_args()
    space = hwnas.space(arguments.space)
    designs = {name: design(space, max(SIZES)) for name, design in DESIGNS.items()}
    held = calibration_networks(space, HELD_OUT, seed=1)[2:]
    known = measured(space, [*held, *(arch for archs in designs.values() for arch in archs)], arguments.out)
    print(f"{'design':17}" + "".join(f"{size:>18}" for size in SIZES) + "   (error, Kendall)")
    for name, archs in designs.items():
        cells = []
        for size in SIZES:
            predictor = fit(space, part(known, space, archs[: size + 2]), {})
            held_rows = space.encode(held)
            found = errors(predictor.predict_ms(held_rows), part(known, space, held).networks_N)
            cells.append(f"{found['mape']:10.2%} {found['kendall']:6.3f} ")
        print(f"{name:17}" + "".join(cells))


def measured(space: SearchSpace, archs: list[Arch], path: Path) -> Measurements:
    """Returns the measurements of the operators and of the networks, made now where the table lacks them."""
    conditions = conditions_here("cpu")
    operators = [each.subject(conditions) for each in operator_workloads(space)]
    networks = [network_subject(space, arch, conditions) for arch in dict.fromkeys(archs)]
    # In one shuffled order: the speed of a device drifts, and must not differ between designs.
    order = np.random.default_rng(0).permutation(len(networks))
    reference = network_subject(space, space.largest(), conditions)
    with TableWriter(path, conditions.describe(), space.describe(), provenance(Protocol())) as table:
        parts = [operators, [networks[i] for i in order]]
        setup = Setup(rng=np.random.default_rng(0), reporter=TerminalReporter(), clock=conditions.clock())
        fill(table, parts, reference, setup)
    return measurements(read_table(path), space)


def part(known: Measurements, space: SearchSpace, archs: list[Arch]) -> Measurements:
    """Returns the measurements of some of the networks."""
    place = {row.tobytes(): i for i, row in enumerate(known.rows_NC)}
    chosen = [place[row.tobytes()] for row in space.encode(archs)]
    other = {name: values[chosen] for name, values in known.other.items()}
    return replace(known, rows_NC=known.rows_NC[chosen], networks_N=known.networks_N[chosen], other=other)


def candidates(space: SearchSpace) -> np.ndarray:
    """Returns the smallest and the largest network, then different ones as `calibration_networks` draws them; (N, choices)."""
    return space.encode(calibration_networks(space, CANDIDATES))


def random(space: SearchSpace, count: int) -> list[Arch]:
    return calibration_networks(space, count)


def filling(space: SearchSpace, count: int) -> list[Arch]:
    """Chooses greedily the candidate whose nearest chosen network differs in most choices."""
    rows_NC = candidates(space)
    chosen = [0, 1]
    nearest_N = np.minimum(*((rows_NC != rows_NC[i]).sum(1) for i in chosen))
    while len(chosen) < count + 2:
        chosen.append(int(nearest_N.argmax()))
        nearest_N = np.minimum(nearest_N, (rows_NC != rows_NC[chosen[-1]]).sum(1))
    return [space.decode(rows_NC[i]) for i in chosen]


def optimal(space: SearchSpace, count: int) -> list[Arch]:
    """Chooses greedily the candidate of largest variance under a linear model of the operators (Bayesian D-optimal design)."""
    rows_NC = candidates(space)
    column = {key: i for i, key in enumerate(space.operators())}
    features_NF = np.zeros((len(rows_NC), len(column)))
    for row, features_F in zip(rows_NC, features_NF, strict=True):
        arch = space.decode(row)
        for layer in space.layers:
            operator = layer.operator(arch)
            if operator is not None:
                features_F[column[operator.key]] += 1
    covariance_FF = np.eye(len(column))
    chosen: list[int] = []
    for number in range(count + 2):
        spread_NF = features_NF @ covariance_FF
        variance_N = (spread_NF * features_NF).sum(1)
        variance_N[chosen] = -1
        best = number if number < 2 else int(variance_N.argmax())
        chosen.append(best)
        covariance_FF -= np.outer(spread_NF[best], spread_NF[best]) / (0.1 + features_NF[best] @ spread_NF[best])
    return [space.decode(rows_NC[i]) for i in chosen]


def with_swaps(space: SearchSpace, archs: list[Arch], count: int) -> list[Arch]:
    """Returns every network of a design followed by one that differs from it in one choice."""
    rng = np.random.default_rng(0)
    result = dict.fromkeys(calibration_networks(space, 0))
    for arch in archs[2:]:
        result.setdefault(arch)
        other = arch
        while other in result:
            row = space.encode([arch])[0]
            column = int(rng.integers(len(row)))
            row[column] = rng.integers(len(space.choices[column].options))
            other = space.decode(space.normalise(row[None])[0])
        result.setdefault(other)
    return list(result)[: count + 2]


def filling_swaps(space: SearchSpace, count: int) -> list[Arch]:
    return with_swaps(space, filling(space, count), count)


def random_swaps(space: SearchSpace, count: int) -> list[Arch]:
    return with_swaps(space, calibration_networks(space, count), count)


DESIGNS: Mapping[str, Callable[[SearchSpace, int], list[Arch]]] = {
    "random": random,
    "far apart": filling,
    "D-optimal": optimal,
    "far apart, swaps": filling_swaps,
    "random, swaps": random_swaps,
}


if __name__ == "__main__":
    main()
