"""How well latency is predicted in each space, on networks the predictor never saw, beside the device's repeat noise.

    python scripts/bench/predictors.py                       # every space below, about half an hour on two cores
    python scripts/bench/predictors.py mobilenet vit --out measured

Per space: every operator and 100 random networks are measured in one profile; 60 of the networks fit the predictor, 40
are held out. Those 40 are then measured again, in another session: how far two measurements of one network agree is the
most that any prediction can reach. Tables stay in --out, and are continued.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

import hwnas
from hwnas.core.space import SearchSpace
from hwnas.latency.fit import errors, fit
from hwnas.pipeline.predict import measurements
from hwnas.profiler.device import Conditions, conditions_here
from hwnas.profiler.measure import GroupTimer
from hwnas.profiler.profile import network_subject, profile
from hwnas.profiler.protocol import Protocol
from hwnas.profiler.table import read_table
from hwnas.terminal import TerminalReporter

FITTED: Final = 60
HELD_OUT: Final = 40
SPACES: Final[Mapping[str, Mapping[str, Any]]] = {
    "mobilenet": {},
    "fbnet": {},
    "proxyless": {},
    "nasbench201": {},
    "conv_macro": {},
    "vit": {},
    # The default is 40 times as large, and predicted from the same kinds of operators.
    "gpt": {"embeddings": (128, 192, 256), "heads": (2, 3, 4)},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("spaces", nargs="*", default=list(SPACES))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()) / "hwnas-predictors")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    lines = []
    for name in arguments.spaces:
        start = time.perf_counter()
        lines.append(measured_line(name, arguments.out, arguments.threads) + f" {time.perf_counter() - start:8.0f}")
    print(
        f"{'space':12} {'operators':>9} {'MAPE':>7} {'noise':>7} {'Kendall':>8} {'noise':>7} {'sum':>7} {'seconds':>8}"
    )
    print(*lines, sep="\n")


def measured_line(name: str, out: Path, threads: int) -> str:
    """Errors of the fitted predictor, of another measurement, and of the plain sum of isolated operators."""
    space, reporter = hwnas.space(name, **SPACES[name]), TerminalReporter()
    conditions = conditions_here("cpu", threads=threads)
    path = out / f"{name}.jsonl"
    profile(space, conditions, path, networks=FITTED + HELD_OUT, reporter=reporter)
    known = measurements(read_table(path), space)
    # Neither the ends, which every predictor is fitted to, nor what was measured twice already.
    order = np.random.default_rng(0).permutation(np.arange(2, len(known.rows_NC)))
    held, fitted = order[:HELD_OUT], np.append(order[HELD_OUT:], [0, 1])
    other_ms = {statistic: values[fitted] for statistic, values in known.other_ms.items()}
    part = replace(known, rows_NC=known.rows_NC[fitted], network_ms_N=known.network_ms_N[fitted], other_ms=other_ms)
    predictor = fit(space, part, conditions.describe())
    measured_ms = known.network_ms_N[held]
    assert known.reference_ms is not None
    again_ms = known.reference_ms * repeated(space, known.rows_NC[held], conditions, out / f"{name}.json")
    predicted = errors(predictor.predict_ms(known.rows_NC[held]), measured_ms)
    noise = errors(again_ms, measured_ms)
    plain = predictor.report["isolated_sum"]["mape"]
    return (
        f"{name:12} {len(space.operators()):9} {predicted['mape']:7.2%} {noise['mape']:7.2%} "
        f"{predicted['kendall']:8.3f} {noise['kendall']:7.3f} {plain:7.1%}"
    )


def repeated(space: SearchSpace, rows_NC: np.ndarray, conditions: Conditions, path: Path) -> np.ndarray:
    """Another measurement of the networks, as shares of the reference network's latency; shape (N,)."""
    if path.exists():
        return np.array(json.loads(path.read_text()))
    subjects = [network_subject(space, space.decode(row), conditions) for row in rows_NC]
    reference = network_subject(space, space.largest(), conditions)
    timer = GroupTimer(reference, Protocol(), conditions.threads, TerminalReporter(), np.random.default_rng(1))
    rows: list[Mapping[str, Any]] = []
    for group, _ in timer.groups(subjects):
        rows += group
    # Relative to the reference network of its group, as all rows of a table are compared.
    relative = [row["p10_ms"] / row["reference_ms"] for row in rows]
    path.write_text(json.dumps(relative))
    return np.array(relative)


if __name__ == "__main__":
    main()
