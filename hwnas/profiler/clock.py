"""Time and what disturbs it: the clock, the system's counters of interruptions, and a core to stay on."""

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
# To tell an idle core from a busy one takes several ticks.
WATCHED_S: Final = 0.05


def interruptions_here() -> int:
    """How often, since it started, other work took the core of this thread: involuntary switches, and stolen ticks.

    Stolen ticks (what the hypervisor gave to other guests) are of all cores. 0 where the system does not count.
    """
    try:
        import resource  # not on Windows
    except ImportError:
        return 0
    who = getattr(resource, "RUSAGE_THREAD", resource.RUSAGE_SELF)
    return resource.getrusage(who).ru_nivcsw + _ticks(STEAL).get("cpu", 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """What a measurement reads: monotonic nanoseconds, and a count that grows when other work took the core; and how it
    waits, in seconds; and in what state the device is after a round, where it tells.
    """

    now_ns: Callable[[], int] = time.perf_counter_ns
    interruptions: Callable[[], int] = interruptions_here
    sleep: Callable[[float], None] = time.sleep
    state: Callable[[], State | None] = lambda: None


@contextmanager
def pinned() -> Iterator[None]:
    """Keeps the calling thread on the idlest core it may use, where the system can do that."""
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
    """The core that idled most while it was watched."""
    before = _ticks(IDLE)
    if len(cores) > 1:
        wait(WATCHED_S)
    after = _ticks(IDLE)
    return max(sorted(cores), key=lambda core: after.get(f"cpu{core}", 0) - before.get(f"cpu{core}", 0))


def _ticks(column: int) -> dict[str, int]:
    """A column of /proc/stat by core name; `cpu` is all cores together. Empty where there is no such file."""
    try:
        lines = [line.split() for line in PROC_STAT.read_text().splitlines() if line.startswith("cpu")]
    except OSError:
        return {}
    return {name: int(values[column]) for name, *values in lines if len(values) > column}
