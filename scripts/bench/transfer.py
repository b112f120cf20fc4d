"""Prints the errors of predicting a new device from few measurements and from known devices: published latencies.

    HWNAS_BENCH_DATA=DIR python scripts/bench/transfer.py    # about two minutes on one core
    python scripts/bench/transfer.py --data DIR --spaces fbnet --devices gold_6240 --samples 10 --seeds 3

The protocol is HELP's (Lee et al. 2021): the first networks of the table, the pool, are measured on all known devices, and
some of them, drawn at random, on the new device. A cell of the Markdown tables is the mean absolute relative error and
Spearman's rank correlation, means over --seeds draws.

10        10 measured networks and the known devices, by `hwnas.predict.transfer`
10 alone  the same 10 measured networks, without other devices

Errors are on all networks that were not measured or, as in HELP, on the next thousand after the pool without the fastest
and the slowest tenth. HELP's own figures are for devices that are not in these tables, so they are only a rough comparison;
HELP measures 10 samples and 10 fixed networks on every device, 20 in all.

Shapes: N networks of a table.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from published import Figures, Networks, Task, additive_ms, figures_of, lines, median, parsed

from hwnas.benchmarks.published import TABLES, PublishedLatencies
from hwnas.core.arrays import FloatArray, IntArray
from hwnas.predict.transfer import KnownDevices

SAMPLES: Final = (5, 10, 20, 50)
# The first networks of a table, which are known; HELP asks for those after them.
POOL: Final[Mapping[str, int]] = {"nasbench201": 900, "fbnet": 4000, "ofa": 4000}
QUERIES: Final = 1000
# The share of its queries that HELP drops at either end.
EXTREME: Final = 0.1

# Devices that are alike, by how their names begin; a phone is like none.
FAMILIES: Final[Mapping[str, str]] = {"1080ti": "GPUs", "titanx": "GPUs", "silver": "Xeons", "gold": "Xeons"}
NEW: Final = ("titanx", "gold")  # not among HELP's devices for training
ODD: Final = ("edgegpu", "edgetpu")  # HW-NAS-Bench's, not HELP's
HELP: Final[Mapping[str, str]] = {
    "nasbench201": "HELP's own mean over six other devices: Spearman .932",
    "fbnet": "HELP's own mean over three other devices: Spearman .910",
}

# Maps a device's latencies and the measured networks to the networks that are tested.
Tested = Callable[[FloatArray, IntArray], IntArray]


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """New devices, and the known devices for each of them."""

    title: str
    known: Mapping[str, Sequence[str]]
    tested: Tested


def main() -> None:
    arguments = parsed(__doc__, SAMPLES, seeds=20)
    for name in arguments.spaces:
        table = TABLES[name](arguments.data)
        bench = Bench(table, POOL[name], arguments.samples, arguments.seeds)
        for question in questions(name, list(table.latency_ms)):
            devices = [device for device in question.known if device in (arguments.devices or question.known)]
            if devices:
                print(f"\n{name}, {question.title}\n")
                print(*bench.report(question, devices), sep="\n", flush=True)


def questions(name: str, devices: Sequence[str]) -> Iterator[Question]:
    if name == "ofa":
        gpus = {device: device.rpartition("_")[0] for device in devices}
        others = {device: [other for other in devices if gpus[other] != gpu] for device, gpu in gpus.items()}
        yield Question("from the other GPUs, any batch: all other networks", others, all_others)
        return
    new, odd = ([device for device in devices if device.startswith(some)] for some in (NEW, ODD))
    sources = [device for device in devices if device not in (*new, *odd)]
    as_help = dict.fromkeys(new, sources)
    yield Question(f"from HELP's devices, its query networks ({HELP[name]})", as_help, queries_after(POOL[name]))
    yield Question("from HELP's devices, all other networks", as_help, all_others)
    others = {device: [other for other in sources if family(other) != family(device)] for device in sources}
    yield Question("from devices of other families, all other networks", others, all_others)
    if odd:
        yield Question("from HELP's devices, all other networks, edge devices", dict.fromkeys(odd, sources), all_others)


def family(device: str) -> str:
    return next((family for begin, family in FAMILIES.items() if device.startswith(begin)), device)


def all_others(latency_ms_N: FloatArray, measured: IntArray) -> IntArray:
    return np.setdiff1d(np.flatnonzero(np.isfinite(latency_ms_N)), measured)


def queries_after(pool: int) -> Tested:
    """Returns HELP's queries: networks after the pool without the fastest and slowest."""

    def queries(latency_ms_N: FloatArray, _: IntArray) -> IntArray:
        asked_ms = latency_ms_N[pool : pool + QUERIES]
        low_ms, high_ms = np.nanquantile(asked_ms, (EXTREME, 1 - EXTREME))
        return pool + np.flatnonzero((low_ms <= asked_ms) & (asked_ms <= high_ms))

    return queries


class Bench:
    """The bench of one table; it fits each set of known devices once."""

    def __init__(self, table: PublishedLatencies, pool: int, samples: Sequence[int], seeds: int) -> None:
        self.table, self.pool, self.samples, self.seeds = table, pool, samples, seeds
        self.networks = Networks.of(table.space, table.rows_NC)
        self.known: dict[tuple[str, ...], KnownDevices] = {}

    def report(self, question: Question, devices: Collection[str]) -> Iterator[str]:
        """Yields a Markdown table: a row per device, their mean, and their median, which latencies near 0 do not distort."""
        rows = {device: self.judged(question, device) for device in devices}
        columns = next(iter(rows.values()))
        mean = {column: np.mean([row[column] for row in rows.values()], axis=0) for column in columns}
        yield from lines("device", rows | {"mean": mean, "median": median(rows)})

    def judged(self, question: Question, device: str) -> dict[str, Figures]:
        """Returns the means over draws, by number of samples."""
        latency_ms_N, known = self.table.latency_ms[device], self.of_devices(tuple(question.known[device]))
        pool = np.flatnonzero(np.isfinite(latency_ms_N[: self.pool]))
        row: dict[str, Figures] = {}
        for samples in self.samples:
            found, alone = [], []
            for seed in range(self.seeds):
                measured = np.random.default_rng(seed).permutation(pool)[:samples]
                asked = question.tested(latency_ms_N, measured)
                predicted_ms_N = known.predict_ms(measured, latency_ms_N[measured])
                found.append(figures_of(predicted_ms_N[asked], latency_ms_N[asked]))
                alone_ms_N = additive_ms(Task(self.networks, measured, latency_ms_N[measured]))
                alone.append(figures_of(alone_ms_N[asked], latency_ms_N[asked]))
            row |= {f"{samples}": np.mean(found, axis=0), f"{samples} alone": np.mean(alone, axis=0)}
        return row

    def of_devices(self, devices: tuple[str, ...]) -> KnownDevices:
        if devices not in self.known:
            in_pool_N = np.arange(len(self.table.rows_NC)) < self.pool
            source_ms = {device: np.where(in_pool_N, self.table.latency_ms[device], np.nan) for device in devices}
            self.known[devices] = KnownDevices(self.table.space, self.table.rows_NC, source_ms)
        return self.known[devices]


if __name__ == "__main__":
    main()
