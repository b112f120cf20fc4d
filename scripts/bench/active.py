"""Compares informative networks with random ones as calibration networks, and the expected error with the real one.

    HWNAS_BENCH_DATA=DIR python scripts/bench/active.py       # about five minutes on one core

Latencies are published ones. Ten networks are known, then eight more at a time, drawn at random or chosen among 600 as
`hwnas profile --until-error` does. Errors are mean absolute relative errors on the networks of the table that were never
candidates, means over --seeds; `expected` is the posterior's expectation of that error while networks are chosen.
"""

import argparse
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from hwnas.benchmarks.published import TABLES, PublishedLatencies
from hwnas.core.arrays import FloatArray, IntArray
from hwnas.pipeline.until import BATCH, FIRST
from hwnas.predict.active import expected_error, most_telling
from hwnas.predict.additive import AdditiveModel, fit_additive
from hwnas.predict.features import space_basis

CANDIDATES: Final = 600
MOST: Final = FIRST + 8 * BATCH
DEVICES: Final = {
    "fbnet": ("silver_4210r", "gold_6240", "1080ti_64", "titanx_1"),
    "ofa": ("v100_64", "titan_xp_32"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument(
        "--data", type=Path, default=os.environ.get("HWNAS_BENCH_DATA"), help="default: HWNAS_BENCH_DATA"
    )
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("give the folder of the tables with --data or HWNAS_BENCH_DATA")
    sizes = range(FIRST, MOST + 1, BATCH)
    print(f"| device | networks | {' | '.join(map(str, sizes))} |\n|---|---|{'---|' * len(sizes)}")
    for name, devices in DEVICES.items():
        table = TABLES[name](Path(arguments.data))
        for device in devices:
            for what, errors in compared(table, device, arguments.seeds).items():
                print(f"| {name} {device} | {what} | {' | '.join(f'{error:.2%}' for error in errors)} |", flush=True)


def compared(table: PublishedLatencies, device: str, seeds: int) -> dict[str, FloatArray]:
    """Returns the errors at every size for random and chosen networks, and the expected errors for chosen ones."""
    found: dict[str, list[list[float]]] = {"random": [], "chosen": [], "expected": []}
    for seed in range(seeds):
        order = np.random.default_rng(seed).permutation(len(table.rows_NC))
        candidates, asked = order[: FIRST + CANDIDATES], order[FIRST + CANDIDATES :]
        curves = {what: list(curve(table, device, candidates, asked, what)) for what in ("random", "chosen")}
        found["random"].append([error for error, _ in curves["random"]])
        found["chosen"].append([error for error, _ in curves["chosen"]])
        found["expected"].append([expected for _, expected in curves["chosen"]])
    return {what: np.mean(errors, axis=0) for what, errors in found.items()}


def curve(
    table: PublishedLatencies, device: str, candidates: IntArray, asked: IntArray, what: str
) -> Iterator[tuple[float, float]]:
    """Yields the error on `asked` and the expected error after every batch."""
    rows_NC, measured_N = table.space.normalise(table.rows_NC), table.latency_ms[device]
    known = candidates[:FIRST]
    while True:
        model = fitted(table, rows_NC[known], measured_N[known])
        error = np.abs(model.predict(rows_NC[asked]) / measured_N[asked] - 1).mean()
        yield float(error), expected_error(model, rows_NC[asked[:400]])
        if len(known) >= MOST:
            return
        left = candidates[~np.isin(candidates, known)]
        more = left[:BATCH] if what == "random" else left[most_telling(model, rows_NC[left], BATCH)]
        known = np.concatenate([known, more])


def fitted(table: PublishedLatencies, rows_NC: IntArray, latency_ms_N: FloatArray) -> AdditiveModel:
    basis = space_basis(table.space, {}, float(np.median(latency_ms_N)))
    return fit_additive(basis, table.space.columns, rows_NC, latency_ms_N)


if __name__ == "__main__":
    main()
