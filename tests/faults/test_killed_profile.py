"""A profile that is killed again and again loses nothing it had written, and finishes as if it had not been."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import hwnas
from hwnas.core.space import SearchSpace
from hwnas.profiler.measure import REPEATED
from hwnas.profiler.profile import calibration_networks
from hwnas.profiler.table import read_table

# Thirty, for one, are `HWNAS_KILLS=30 pytest tests/faults/test_killed_profile.py`: about five minutes.
KILLS = int(os.environ.get("HWNAS_KILLS", "5"))
NETWORKS = max(12, 4 * KILLS)

TINY = '''
from functools import partial

from hwnas.core.choice import Choice
from hwnas.core.layer import Layer
from hwnas.core.space import SearchSpace
from hwnas.core.wiring import Chain
from hwnas.operators.conv import ConvBlock, MBConv, PoolClassifier


def fixed(operator, options):
    return operator


def block(number, options):
    kernel, expansion = options[f"block{number}.kernel"], options[f"block{number}.expansion"]
    return MBConv(input_shape=(4, 4, 4), channels=4, kernel=kernel, expansion=expansion, shortcut=number > 1)


def tiny():
    """Stem, four blocks of two kernels and two expansions each, head."""
    choices, layers = [], [Layer("stem", (), partial(fixed, ConvBlock(input_shape=(3, 8, 8), channels=4, stride=2)))]
    for number in (1, 2, 3, 4):
        own = (Choice(f"block{number}.kernel", (3, 5)), Choice(f"block{number}.expansion", (2, 3)))
        layers.append(Layer(f"block{number}", tuple(choice.name for choice in own), partial(block, number)))
        choices += own
    layers.append(Layer("head", (), partial(fixed, PoolClassifier(input_shape=(4, 4, 4), features=8, classes=3))))
    return SearchSpace("tiny", tuple(choices), Chain(tuple(layers)), (3, 8, 8), 3)
'''

# Groups of three, so that there is something to lose at many moments.
PROFILE = """
import sys
from pathlib import Path

import hwnas
from hwnas.profiler import measure, profile
from hwnas.profiler.device import conditions_here
from hwnas.profiler.protocol import Protocol

measure.GROUP_SIZE = 3
measure.WORTH_WAITING = measure.MUCH_SLOWER = float("inf")  # tests run beside one another
path, reference, networks = sys.argv[1:]
quick = Protocol(rounds=3, most_rounds=3, burst_ms=0.5, warmup_ms=0.5, unconverged=10.0)
print("ready", flush=True)
profiling = profile.Profiling(
    space=hwnas.space(reference), conditions=conditions_here("cpu"), path=Path(path), protocol=quick
)
profile.profile(profiling, networks=int(networks))
"""


def start_profile(path: Path, reference: str) -> subprocess.Popen[str]:
    """A process about to profile; it has done its imports."""
    command = [sys.executable, "-c", PROFILE, str(path), reference, str(NETWORKS)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


def wanted(space: SearchSpace) -> Counter[tuple[str, str, int]]:
    archs = [arch.key for arch in calibration_networks(space, NETWORKS)]
    operators = [("floor", "identity", 0)]
    operators += [("operator", key, 0) for key in space.operators()]
    networks = [("network", key, repeat) for repeat, keys in enumerate((archs, archs[:REPEATED])) for key in keys]
    return Counter(operators + networks)


def lines(path: Path) -> list[bytes]:
    """The whole lines of a file that may not be there yet."""
    return path.read_bytes().split(b"\n")[:-1] if path.exists() else []


def test_a_profile_killed_at_any_moment_finishes_with_no_row_lost_or_doubled(tmp_path: Path) -> None:
    (tmp_path / "space.py").write_text(TINY)
    reference = f"{tmp_path / 'space.py'}:tiny"
    path = tmp_path / "table.jsonl"
    rng = random.Random(0)
    killed = 0
    for _ in range(KILLS):
        before = lines(path)
        with start_profile(path, reference) as process:
            # A moment in terms of progress, whatever the machine's speed: up to one more group behind the first.
            start = time.monotonic()
            while len(lines(path)) <= len(before) and process.poll() is None and time.monotonic() < start + 60:
                time.sleep(0.002)
            time.sleep(rng.uniform(0, 0.8) * (time.monotonic() - start))
            process.send_signal(signal.SIGKILL)
        killed += process.returncode == -signal.SIGKILL
        after = lines(path)
        assert after[: len(before)] == before
        assert len(after) > len(before) or process.returncode == 0

    with start_profile(path, reference) as process:
        process.communicate(timeout=1800)
    assert process.returncode == 0
    assert killed >= 0.6 * KILLS  # else the killing tested nothing; the profile is shorter than it was
    table = read_table(path)
    assert path.read_bytes().endswith(b"\n")
    rows = [json.loads(line) for line in lines(path)[1:]]
    assert len(table.rows) == len(rows)
    assert Counter((row["kind"], row["key"], row.get("repeat", 0)) for row in rows) == wanted(hwnas.space(reference))
    assert table.space == json.loads(json.dumps(hwnas.space(reference).describe()))
