"""Compares two profiles of one space, made by separate processes.

    python scripts/bench/profiler_repeatability.py                       # mobilenet at 32 px, about two minutes
    python scripts/bench/profiler_repeatability.py vit --networks 20 --device cuda --runtime torch
    python scripts/bench/profiler_repeatability.py --bundle bare/bin/python     # the second by a bundle, in a Python
                                                                                # with numpy and onnxruntime alone

The bench compares the rows of the two tables, raw and relative to the reference network in the same rounds; predictors are
fitted to the relative ones. Then it runs the first profile again, which must measure nothing.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from hwnas.profiler.table import Table, identity, read_table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("space", nargs="?", default="mobilenet")
    parser.add_argument("--networks", default="60")
    parser.add_argument(
        "--bundle", type=Path, metavar="PYTHON", help="the interpreter that measures the second table by a bundle"
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--runtime", default="onnxruntime")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        what = ["--space", arguments.space, "--networks", arguments.networks]
        paths = [Path(folder) / f"{number}.jsonl" for number in range(2)]
        where = ["--device", arguments.device, "--runtime", arguments.runtime]
        seconds = [profiled([*what, *where], paths[0])]
        if arguments.bundle:
            bundle = Path(folder) / "bundle.zip"
            ran([sys.executable, "-m", "hwnas", "bundle", *what, "--device", arguments.device, "--out", str(bundle)])
            print(f"the bundle has {bundle.stat().st_size / 2**20:.1f} MiB")
            seconds.append(ran([str(arguments.bundle), str(bundle), "--out", str(paths[1])], environment={}))
        else:
            seconds.append(profiled([*what, *where], paths[1]))
        again = profiled([*what, *where], paths[0])
        first, second = (read_table(path) for path in paths)
    print(f"first {seconds[0]:.1f} s, second {seconds[1]:.1f} s, nothing to do {again:.1f} s; {len(first.rows)} rows")
    print(f"unconverged: {len(first.unconverged)} and {len(second.unconverged)}")
    print(f"{'rows':10} {'count':>5} {'median':>8} {'95th':>8} {'median, raw':>12} {'95th, raw':>10}")
    for kind in ("operator", "network"):
        relative, raw = (differences(first, second, kind, scaled=scaled) for scaled in (True, False))
        figures = [float(value) for part in (relative, raw) for value in (np.median(part), np.percentile(part, 95))]
        print(f"{kind:10} {len(raw):5} {figures[0]:8.2%} {figures[1]:8.2%} {figures[2]:12.2%} {figures[3]:10.2%}")


def profiled(what: Sequence[str], path: Path) -> float:
    """Returns the seconds that `hwnas profile` took."""
    return ran([sys.executable, "-m", "hwnas", "profile", *what, "--out", str(path)])


def ran(command: Sequence[str], environment: Mapping[str, str] | None = None) -> float:
    """Returns the seconds that a process took."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    return time.perf_counter() - start


def differences(first: Table, second: Table, kind: str, *, scaled: bool) -> np.ndarray:
    """Returns |a - b| / mean(a, b) for every row of a kind; shape (N,)."""
    times = [
        {
            identity(row): row["p10_ms"] / (row["reference_ms"] if scaled else 1)
            for row in table.rows
            if row["kind"] == kind
        }
        for table in (first, second)
    ]
    pairs = np.array([(times[0][name], times[1][name]) for name in times[0]])
    return np.asarray(np.abs(pairs[:, 0] - pairs[:, 1]) / pairs.mean(1))


if __name__ == "__main__":
    main()
