"""Laws of cores: what affinity and quotas withhold is not counted, cannot be asked for, and stands in the conditions."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hwnas.profiler.cores import cores, usable_cores
from hwnas.profiler.device import conditions_here

needs_affinity = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity") or cores() < 2, reason="needs two cores and affinity"
)
ON_ONE_CORE = """
import os, sys
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from hwnas.__main__ import main
main()
"""


def on_one_core(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", ON_ONE_CORE, *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def written(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


FREE = usable_cores()


@pytest.mark.parametrize(
    ("files", "allowed"),
    [
        ({}, FREE),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/cpu.max": "max 100000\n"}, FREE),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/cpu.max": "100000 100000\n"}, 1),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/cpu.max": "150000 100000\n"}, 1),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"}, 1),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "9900000 100000\n"}, FREE),
        (
            {
                "proc/self/cgroup": "4:memory:/m\n3:cpu,cpuacct:/d\n0::/\n",
                "sys/fs/cgroup/cpu,cpuacct/d/cpu.cfs_quota_us": "120000\n",
                "sys/fs/cgroup/cpu,cpuacct/d/cpu.cfs_period_us": "100000\n",
            },
            1,
        ),
        (
            {
                "proc/self/cgroup": "1:cpu:/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            FREE,
        ),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "broken\n"}, FREE),
    ],
    ids=["none", "max", "one", "parent", "half", "many", "version-1", "version-1-none", "damaged"],
)
def test_a_quota_of_a_group_or_its_parents_is_rounded_down_to_at_least_one(
    files: dict[str, str], allowed: int, tmp_path: Path
) -> None:
    assert usable_cores(written(tmp_path, files)) == allowed


@needs_affinity
def test_more_threads_than_allowed_cores_are_refused_in_one_line(tmp_path: Path) -> None:
    message = f"hwnas: 2 threads on 1 of {cores()} cores (CPU affinity or a CPU quota withholds the others); give --threads 1\n"
    out = str(tmp_path / "out")
    for command in (["profile", "--out", out], ["search", "--data", "digits", "--out", out]):
        outcome = on_one_core(*command, "--threads", "2")
        assert (outcome.returncode, outcome.stderr) == (2, message)
    assert not (tmp_path / "out").exists()


@needs_affinity
@pytest.mark.skipif(usable_cores() < cores(), reason="not all cores are allowed here")
def test_conditions_tell_allowed_cores_only_where_some_are_withheld() -> None:
    assert f", {cores()} cores, " in conditions_here("cpu").hardware  # as in tables of earlier versions
    outcome = on_one_core("devices")
    assert f", 1 of {cores()} cores, " in " ".join(outcome.stdout.split())
