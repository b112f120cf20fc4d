"""Memory that images will take, told before they are loaded."""

import sys
from pathlib import Path
from typing import Final

from hwnas.errors import DataError

GIB: Final = 2**30
MEMINFO: Final = Path("/proc/meminfo")
CGROUP: Final = Path("/sys/fs/cgroup")


def require_memory(
    where: str, what: str, needed: int, advice: str = "give it in parts, or use a larger machine"
) -> None:
    """Raises DataError where `needed` bytes are more than this process can have. Systems that do not tell are trusted."""
    available = available_bytes()
    if available is not None and needed > available:
        raise DataError(
            f"{where}: {what} take {needed / GIB:.1f} GiB of memory, {available / GIB:.1f} GiB are available; {advice}"
        )


def available_bytes() -> int | None:
    """Returns the memory that this process can still have: of the machine, of its control group, under `ulimit -v`."""
    limits = [limit for limit in (_of_machine(), _of_group(), _of_process()) if limit is not None]
    return max(0, min(limits)) if limits else None


def _of_machine() -> int | None:
    return _kib(MEMINFO, "MemAvailable")


def _of_group() -> int | None:
    try:
        most = (CGROUP / "memory.max").read_text().strip()
        used = int((CGROUP / "memory.current").read_text())
        facts = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
        cached = int(facts.get("inactive_file", 0))
    except (OSError, ValueError):
        return None
    return None if most == "max" else int(most) - used + cached


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
