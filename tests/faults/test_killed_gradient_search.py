"""A gradient search that is killed again and again, and derives what one that was not derives."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hwnas.runs.database import RunDatabase

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("HWNAS_KILLS", "3"))
# Latency cannot bind, whose measurement is never the same twice; parameters do.
OPTIONS = [
    *(
        "--space",
        "mobilenet",
        "--space-option",
        "resolution=16",
        "--space-option",
        "width=0.5",
        "--max-params",
        "30000",
    ),
    *("--data", "digits", "--limit-images", "256", "--networks", "8", "--latency-budget", "1s"),
    *("--strategy", "gradient", "--epochs", "6", "--final-epochs", "4"),
]
JOINT = ["--scheme", "joint", "--warmup-epochs", "2"]
FROZEN = ["--steps", "20", "--evaluations", "24"]


def start(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "hwnas", "search", *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(*arguments: object) -> None:
    process = start(*arguments)
    _, errors = process.communicate(timeout=1800)
    assert process.returncode == 0, errors


def found(run: Path) -> list[tuple[str, str, tuple[float, ...]]]:
    database = RunDatabase.existing(run / "run.sqlite")
    try:
        return [
            (key, phase, tuple(evaluation.metrics.values()))
            for phase in ("search", "final")
            for key, evaluation in database.evaluations(phase).items()
        ]
    finally:
        database.close()


@pytest.mark.parametrize("options", [JOINT, FROZEN], ids=["joint", "frozen"])
@pytest.mark.slow(reason="kills a gradient search several times and then runs it to its end")
def test_a_gradient_search_killed_again_and_again_derives_what_one_that_was_not_derives(
    tmp_path: Path, options: list[str]
) -> None:
    """Given the same predictor: measured times are never the same twice."""
    reference, run = tmp_path / "reference", tmp_path / "run"
    finish(*OPTIONS, *options, "--out", reference)
    began = time.monotonic()
    again = [*OPTIONS, *options, "--predictor", reference / "predictor.json"]
    finish(*again, "--out", tmp_path / "timed")
    seconds = time.monotonic() - began
    moments = random.Random(0)
    for _ in range(KILLS):
        known = ["--resume"] if (run / "run.json").exists() else again
        process = start(*known, "--out", run)
        time.sleep(moments.uniform(0.2, 0.6) * seconds)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    finish(*(["--resume"] if (run / "run.json").exists() else again), "--out", run)
    assert found(run) == found(reference) == found(tmp_path / "timed")
    curves = [
        [json.loads(path.read_text()) for path in (folder / "searches").glob("*.json")] for folder in (run, reference)
    ]
    assert len(curves[0]) == (1 if options is JOINT else 0) and curves[0] == curves[1]
