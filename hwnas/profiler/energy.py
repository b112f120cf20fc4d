"""Energy of one call, from a counter that grows in steps: knows only functions and a clock.

A GPU's counter (`nvml.Gpu.energy_mj`) is brought up to date every 20 to 100 ms, which is many calls or a part of one. So a
window begins and ends where the counter was just seen to move, and is many steps long. What the board draws while it
idles is not subtracted: a device that infers draws it, too.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from hwnas.errors import MeasurementError

WINDOW_S: Final = 0.5
# One step of so many is 5 %, at which a latency is no measurement either (`Protocol.unconverged`).
STEPS: Final = 20
# The slowest counters known are brought up to date every 100 ms.
STUCK_S: Final = 2.0
# The counter is looked at this often: where calls are short, a fraction of a step.
LOOK_S: Final = 0.002
# The device idles while the counter is read; so calls between looks take this many times as long as a look.
READS: Final = 20
# The first step is partly of what ran before, and of a clock that was not up yet.
SETTLING: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy:
    """Millijoules of one call, of `calls` in a window of `seconds`; idle power included.

    `uncertainty` is the largest step of the counter relative to the whole window. At constant power it bounds the error:
    both ends of a window are known to within the calls between two looks, which no step is shorter than.
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
        """Mean power in the window."""
        return self.mj * self.calls / 1e3 / self.seconds

    def describe(self) -> dict[str, float]:
        """What a row of a table says of it."""
        return {"energy_mj": self.mj, "energy_uncertainty": self.uncertainty}


@dataclass(frozen=True, slots=True)
class _Edge:
    """A move of the counter: what it shows since, the calls made when it was seen, and when that was."""

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
    """Energy of one of the calls that `run(n)` makes n of and waits for, warmed up before.

    Calls are made without a break until the counter has moved at least `steps` times in at least `window_s` seconds.
    Raises MeasurementError for a counter that goes backwards or stands still for `stuck_s` seconds, and a broken clock.
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
    """The moves of the counter, looked for after every so many calls."""
    made, shown_mj, moved_ns = 0, counter_mj(), now_ns()
    while True:
        run(calls)
        made += calls
        found_mj, ns = counter_mj(), now_ns()
        if found_mj < shown_mj:
            raise MeasurementError(f"the energy counter went back from {shown_mj} to {found_mj} mJ; measure again")
        if found_mj > shown_mj:
            shown_mj, moved_ns = found_mj, ns
            yield _Edge(found_mj, made, ns)
        elif ns - moved_ns > stuck_s * 1e9:
            raise MeasurementError(
                f"the energy counter stood still at {found_mj} mJ for {stuck_s:.4g} s of work; this device has none that "
                "can be used"
            )


def _calls_between_looks(run: Callable[[int], None], counter_mj: Callable[[], int], now_ns: Callable[[], int]) -> int:
    """As many calls, a power of two, as a look at the counter is worth."""
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
