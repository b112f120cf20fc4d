"""Memory that examples will take, told before they are loaded."""

import math
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from hwnas.core.groups import ROOT, control_groups
from hwnas.errors import DataError

GIB: Final = 2**30
# A control group's files of its limit and its use, and the entry of memory.stat that can be taken back, by version.
GROUP_FILES: Final = {
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    2: ("memory.max", "memory.current", "inactive_file"),
}


def require_memory(
    where: str, what: str, needed: int, advice: str = "use fewer or smaller examples, or a larger machine"
) -> None:
    """Raises DataError where `needed` bytes are more than this process can have. Systems that do not tell are trusted."""
    available = available_bytes()
    if available is not None and needed > available:
        raise DataError(
            f"{where}: {what} take {needed / GIB:.1f} GiB of memory, {available / GIB:.1f} GiB are available; {advice}"
        )


def available_bytes(root: Path = ROOT) -> int | None:
    """Returns the memory that this process can still have: of the machine, of its control groups, under `ulimit -v`.

    None where the system does not tell; `root` is where its files are.
    """
    machine, process = _kib(root / "proc/meminfo", "MemAvailable"), _of_process()
    limits = [limit for limit in (machine, process, *_of_groups(root)) if limit is not None]
    return max(0, min(limits)) if limits else None


def memory_for(asked_gib: float | None) -> float:
    """Returns the bytes that examples may take before they are streamed: those asked for, or half of what is available."""
    if asked_gib is not None:
        return asked_gib * GIB
    available = available_bytes()
    return math.inf if available is None else available / 2


def addresses() -> float:
    """Returns the bytes that this process can still map, under `ulimit -v`."""
    left = _of_process()
    return math.inf if left is None else left


def _of_groups(root: Path) -> Iterator[int]:
    """Yields what is left of the memory of each of the process's control groups and of their parents."""
    for folder, version in control_groups("memory", root):
        most, used, cached = GROUP_FILES[version]
        with suppress(OSError, ValueError):  # version 2 writes "max" where there is no limit
            facts = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            reclaimable = int(facts.get(cached, 0))
            yield int((folder / most).read_text()) - int((folder / used).read_text()) + reclaimable


def _of_process() -> int | None:
    if sys.platform == "win32":
        return None
    import resource

    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    used = _kib(Path("/proc/self/status"), "VmSize")
    return None if most == resource.RLIM_INFINITY or used is None else most - used


def _kib(path: Path, name: str) -> int | None:
    """Returns a number of KiB in a file of the system, in bytes."""
    try:
        found = [line.split()[1] for line in path.read_text().splitlines() if line.startswith(f"{name}:")]
        return int(found[0]) * 1024
    except (OSError, ValueError, IndexError):
        return None
