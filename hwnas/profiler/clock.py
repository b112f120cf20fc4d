"""The clock of a measurement, the system's counters of interruptions, and the core that a measurement stays on."""

import os
import time
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hwnas.profiler.rounds import State

PROC_STAT: Final = Path("/proc/stat")
# Columns of /proc/stat after a core's name (proc_stat(5)); in ticks, usually of 10 ms.
IDLE: Final = 3
STEAL: Final = 7
# Several ticks are needed to tell an idle core from a busy one.
WATCHED_S: Final = 0.05


def interruptions_here() -> int:
    """Returns how often other work has taken this thread's core since the thread started.

    Counts involuntary context switches, and the ticks that the hypervisor gave to other guests, which are those of all
    cores. Returns 0 if the system does not count.
    """
    try:
        import resource  # Windows has no such module
    except ImportError:
        return 0
    who = getattr(resource, "RUSAGE_THREAD", resource.RUSAGE_SELF)
    return resource.getrusage(who).ru_nivcsw + _ticks(STEAL).get("cpu", 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """The functions by which a measurement reads and passes time.

    `now_ns` returns monotonic nanoseconds, `interruptions` a count that grows when other work takes the core. `sleep` waits
    for some seconds. `state` returns the state of the device after a round, or None if the device does not tell it.
    """

    now_ns: Callable[[], int] = time.perf_counter_ns
    interruptions: Callable[[], int] = interruptions_here
    sleep: Callable[[float], None] = time.sleep
    state: Callable[[], State | None] = lambda: None


@contextmanager
def pinned() -> Iterator[None]:
    """Keeps the calling thread on the idlest core that it may use, if the system supports that."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    with suppress(OSError):  # sandboxes forbid it
        os.sched_setaffinity(0, {idlest(allowed)})
    try:
        yield
    finally:
        with suppress(OSError):
            os.sched_setaffinity(0, allowed)


def idlest(cores: Set[int], wait: Callable[[float], None] = time.sleep) -> int:
    """Watches the cores for a moment and returns the one that idled most."""
    before = _ticks(IDLE)
    if len(cores) > 1:
        wait(WATCHED_S)
    after = _ticks(IDLE)
    return max(sorted(cores), key=lambda core: after.get(f"cpu{core}", 0) - before.get(f"cpu{core}", 0))


def _ticks(column: int) -> dict[str, int]:
    """Returns a column of /proc/stat by the core's name; `cpu` means all cores together. Empty without such a file."""
    try:
        lines = [line.split() for line in PROC_STAT.read_text().splitlines() if line.startswith("cpu")]
    except OSError:
        return {}
    return {name: int(values[column]) for name, *values in lines if len(values) > column}
