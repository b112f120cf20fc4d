"""Counts the CPU cores of the machine, and those of them that this process may use."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from hwnas.core.groups import ROOT, control_groups


def cores() -> int:
    """Returns the number of cores of the machine."""
    return os.cpu_count() or 1


def usable_cores(root: Path = ROOT) -> int:
    """Returns the number of cores that CPU affinity and the CPU quotas of control groups (under `root`) leave, at least 1.

    A quota is rounded down, because one thread more would be stopped in the middle of measurements.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores()
    return max(1, int(min([affinity, *_quotas(root)])))


def cores_in_words() -> str:
    """Returns "2 cores", or "1 of 2 cores" where the process may not use all of them."""
    usable = usable_cores()
    return f"{cores()} cores" if usable >= cores() else f"{usable} of {cores()} cores"


def _quotas(root: Path) -> Iterator[float]:
    """Yields the CPU quota of each of the process's control groups and of their parents, in cores."""
    for folder, version in control_groups("cpu", root):
        with suppress(OSError, ValueError, ZeroDivisionError):
            yield _quota(folder, version)


def _quota(folder: Path, version: int) -> float:
    """Returns a control group's quota in cores. Raises OSError, ValueError where the group has none."""
    if version == 2:
        quota, period = (folder / "cpu.max").read_text().split()
    else:
        quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
    if int(quota) < 0:  # version 1 writes -1, version 2 writes "max"
        raise ValueError("no quota")
    return int(quota) / int(period)
