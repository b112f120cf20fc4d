"""Times commands that answer at once, by two states of hwnas in turn: how long a user waits before anything happens.

    git worktree add ../before COMMIT
    python scripts/bench/startup.py --before ../before --runs 10

Each command runs in a process of its own, first by the one checkout, then by the other, RUNS times. A row has the least and the
median time of a checkout: CPU seconds, which other work on the machine changes little, and seconds as the user waits. A command
that a checkout does not have is left empty.
"""

import argparse
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
COMMANDS: Final[dict[str, tuple[str, ...]]] = {
    "import hwnas": ("-c", "import hwnas"),
    "--help": ("-m", "hwnas", "--help"),
    "search --help": ("-m", "hwnas", "search", "--help"),
    "spaces": ("-m", "hwnas", "spaces"),
    "devices": ("-m", "hwnas", "devices"),
    "predict": ("-m", "hwnas", "predict", "--predictor", "amd-epyc/mobilenet", "--arch", "ARCH"),
}


def seconds_of(checkout: Path, words: Sequence[str]) -> tuple[float, float] | None:
    """Returns the CPU seconds and the seconds of a command; None where it fails."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    done = subprocess.run([sys.executable, *words], cwd=checkout, env=environment, capture_output=True, check=False)
    waited, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return None if done.returncode else (cpu, waited)


def cells(times: Sequence[tuple[float, float] | None]) -> list[str]:
    """Returns the least and the median CPU seconds, and the same of the seconds waited."""
    found = [one for one in times if one is not None]
    if not found:
        return [""] * 4
    return [f"{statistic(column):.2f}" for column in zip(*found, strict=True) for statistic in (min, median)]


def main() -> None:
    """Prints a row per command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, required=True, help="a checkout of an earlier commit")
    parser.add_argument("--runs", type=int, default=10)
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    import hwnas

    arch = hwnas.space("mobilenet").smallest().key
    checkouts = {"before": options.before.resolve(), "now": ROOT}
    titles = [f"{name} {column}" for name in checkouts for column in ("CPU least", "CPU median", "least", "median")]
    print("|".join(["command", *titles]))
    for name, words in COMMANDS.items():
        asked = [arch if word == "ARCH" else word for word in words]
        times: dict[str, list[tuple[float, float] | None]] = {checkout: [] for checkout in checkouts}
        for _ in range(options.runs):
            for checkout, path in checkouts.items():
                times[checkout].append(seconds_of(path, asked))
        print("|".join([name, *cells(times["before"]), *cells(times["now"])]), flush=True)


if __name__ == "__main__":
    main()
