"""Measures the energy of one call, by a counter that grows in steps. Knows only functions and a clock.

A GPU updates its counter (`nvml.Gpu.energy_mj`) every 20 to 100 ms, which is the time of many calls or of a part of one. So
a window begins and ends when the counter was just seen to move, and is many steps long. The idle power of the board is
not subtracted: a device that infers draws that power, too.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from hwnas.errors import MeasurementError

WINDOW_S: Final = 0.5
# The least number of steps in a window. One of 20 steps is 5 %, the limit at which a latency is unconverged, too.
STEPS: Final = 20
# A counter that stands still for so long is not usable: the slowest known counters are updated every 100 ms.
STUCK_S: Final = 2.0
# The least time between two looks at the counter; for short calls it is a fraction of a step.
LOOK_S: Final = 0.002
# The device idles while the counter is read, so the calls between two looks take this many times as long as a look.
READS: Final = 20
# The number of steps that are dropped: the first includes energy of earlier work, at a clock that was still rising.
SETTLING: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy:
    """Millijoules of one call, idle power included: the mean of `calls` calls in a window of `seconds`.

    `uncertainty` is the largest step of the counter, relative to the whole window. At constant power it bounds the error:
    each end of a window is known to within the calls between two looks, and a step is never shorter than those.
    """

    mj: float
    uncertainty: float
    calls: int
    seconds: float

    def __post_init__(self) -> None:
        if not (0 < self.mj < float("inf") and 0 < self.uncertainty <= 1):
            raise MeasurementError(f"a call cannot take {self.mj} mJ (+-{100 * self.uncertainty:.0f} %)")

    @property
    def watts(self) -> float:
        """Mean power in the window, in watts."""
        return self.mj * self.calls / 1e3 / self.seconds

    def describe(self) -> dict[str, float]:
        """Returns the fields that a row of a table has for the energy."""
        return {"energy_mj": self.mj, "energy_uncertainty": self.uncertainty}


@dataclass(frozen=True, slots=True)
class _Edge:
    """A move of the counter: its new value, the number of calls made before it was seen, and the time at which it was."""

    mj: int
    calls: int
    ns: int


def energy_mj_per_call(
    run: Callable[[int], None],
    counter_mj: Callable[[], int],
    *,
    window_s: float = WINDOW_S,
    steps: int = STEPS,
    stuck_s: float = STUCK_S,
    now_ns: Callable[[], int] = time.perf_counter_ns,
) -> Energy:
    """Returns the energy of one call, where `run(n)` makes n calls and waits for the last.

    Warms up first. Then makes calls without a break until the counter has moved at least `steps` times, in at least
    `window_s` seconds. Raises MeasurementError for a counter that goes backwards or stands still for `stuck_s` seconds, and
    for a broken clock.
    """
    if steps < 1 or window_s <= 0 or stuck_s <= 0:
        raise MeasurementError(f"energy needs a window, not {window_s} s of {steps} steps within {stuck_s} s each")
    edges = _edges(run, counter_mj, _calls_between_looks(run, counter_mj, now_ns), stuck_s, now_ns)
    for _ in range(SETTLING):
        next(edges)
    window = [next(edges)]
    while len(window) <= steps or window[-1].ns - window[0].ns < window_s * 1e9:
        window.append(next(edges))
    first, last = window[0], window[-1]
    total_mj, calls = last.mj - first.mj, last.calls - first.calls
    largest_mj = max(after.mj - before.mj for before, after in pairwise(window))
    seconds = (last.ns - first.ns) / 1e9
    return Energy(mj=total_mj / calls, uncertainty=largest_mj / total_mj, calls=calls, seconds=seconds)


def _edges(
    run: Callable[[int], None],
    counter_mj: Callable[[], int],
    calls: int,
    stuck_s: float,
    now_ns: Callable[[], int],
) -> Iterator[_Edge]:
    """Yields the moves of the counter, which is read after every `calls` calls."""
    made, shown_mj, moved_ns = 0, counter_mj(), now_ns()
    while True:
        run(calls)
        made += calls
        read_mj, ns = counter_mj(), now_ns()
        if read_mj < shown_mj:
            raise MeasurementError(f"the energy counter went back from {shown_mj} to {read_mj} mJ; measure again")
        if read_mj > shown_mj:
            shown_mj, moved_ns = read_mj, ns
            yield _Edge(read_mj, made, ns)
        elif ns - moved_ns > stuck_s * 1e9:
            raise MeasurementError(
                f"the energy counter stood still at {read_mj} mJ for {stuck_s:.4g} s of work; leave --energy out on this "
                "device"
            )


def _calls_between_looks(run: Callable[[int], None], counter_mj: Callable[[], int], now_ns: Callable[[], int]) -> int:
    """Returns the number of calls between two looks at the counter, a power of two."""
    reads = []
    for _ in range(3):
        start = now_ns()
        counter_mj()
        reads.append(now_ns() - start)
    enough_ns = max(LOOK_S * 1e9, READS * min(reads))
    calls = 1
    while calls < 2**30:
        start = now_ns()
        run(calls)
        if now_ns() - start >= enough_ns:
            return calls
        calls *= 2
    raise MeasurementError(f"{calls} calls took next to no time; the clock is broken")
