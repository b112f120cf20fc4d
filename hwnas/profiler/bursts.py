"""The bursts in which one call is timed, and the timing that they add up to.

Knows nothing of models or runtimes: a timer is a function that times some calls; the clock comes in as an argument.

Shapes: R rounds, K calls of one burst, B resamples.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from hwnas.core.arrays import FloatArray
from hwnas.errors import MeasurementError
from hwnas.profiler.clock import Clock
from hwnas.profiler.protocol import Protocol, Timing

Call = Callable[[], None]
# Returns the nanoseconds of so many calls, one after the other; where only several calls can be timed together, the mean of
# each group of calls.
Timer = Callable[[int, Clock], FloatArray]

# The number of bursts from which on a median is trusted.
ENOUGH: Final = 4
# Resamples of a bootstrap interval: they give its ends to about a tenth of its width.
RESAMPLES: Final = 400
# The most warm-ups of a call that gets no faster; a call that is not warm by then varies by itself.
LONGEST_WARMUP: Final = 10


@dataclass(slots=True)
class Bursts:
    """A timer of one call, and the bursts that it was timed in.

    Per burst: its round, its p10, median and p90 in ms, and if other work interrupted it. `half_widths` has one value per
    check for precision.
    """

    timer: Timer
    calls: int
    dropped: int
    rounds: list[int] = field(default_factory=list)
    percentiles_ms: list[FloatArray] = field(default_factory=list)
    interrupted: list[bool] = field(default_factory=list)
    half_widths: list[float] = field(default_factory=list)

    def burst(self, number: int, clock: Clock) -> None:
        """Times one burst, in the round of this number."""
        before = clock.interruptions()
        times_ns = self.timer(self.calls, clock)
        self.interrupted.append(clock.interruptions() > before)
        self.rounds.append(number)
        self.percentiles_ms.append(np.percentile(times_ns[self.dropped :] / 1e6, (10, 50, 90)))

    def counting(self, kept: Sequence[bool]) -> list[int]:
        """Returns the bursts of kept rounds that nothing interrupted, or all bursts of kept rounds if those are too few."""
        kept_bursts = [i for i, number in enumerate(self.rounds) if kept[number]]
        quiet_bursts = [i for i in kept_bursts if not self.interrupted[i]]
        return quiet_bursts if len(quiet_bursts) >= ENOUGH else kept_bursts

    def timing(self, scale_R: FloatArray, kept: Sequence[bool], protocol: Protocol) -> Timing:
        """Returns the medians, over the bursts that count, of each burst's percentiles.

        If too few bursts count, all of them are used, and the timing is not converged.
        """
        counting = self.counting(kept)
        enough = len(counting) >= min(ENOUGH, protocol.rounds // 2)
        if not enough:
            counting = list(range(len(self.rounds)))
        per_round = np.array([self.percentiles_ms[i] * scale_R[self.rounds[i]] for i in counting])
        if not (per_round > 0).all():
            raise MeasurementError(f"latency cannot be {per_round.min()} ms; the clock or the runtime is broken")
        p10_ms, median_ms, p90_ms = np.median(per_round, axis=0)
        low, high = np.percentile(per_round[:, 0], (25, 75))
        half_width = bootstrap_half_width(per_round[:, 0])
        return Timing(
            p10_ms=float(p10_ms),
            median_ms=float(median_ms),
            p90_ms=float(p90_ms),
            spread=float((high - low) / p10_ms),
            half_width=half_width,
            converged=enough and half_width <= protocol.unconverged,
            calls=len(counting) * (self.calls - self.dropped),
            discarded=len(self.rounds) - len(counting),
            rounds_ms=tuple(float(f"{value:.6g}") for value in per_round[:, 0]),
        )

    def is_done(self, scale_R: FloatArray, kept: Sequence[bool], protocol: Protocol) -> bool:
        """Returns True if more rounds are of no use: the timing is precise, or no more precise than two checks ago."""
        if 2 * len(self.counting(kept)) < protocol.rounds:
            return False
        timing = self.timing(scale_R, kept, protocol)
        self.half_widths.append(timing.half_width)
        return timing.half_width <= protocol.precision or (
            len(self.half_widths) > 2 and self.half_widths[-1] >= self.half_widths[-3]
        )


def stamped(call: Call) -> Timer:
    """Returns a timer that reads the clock after every call, for calls whose work is done when they return."""

    def times_ns(calls: int, clock: Clock) -> FloatArray:
        stamps = np.empty(calls + 1, dtype=np.int64)
        stamps[0] = clock.now_ns()
        for i in range(calls):
            call()
            stamps[i + 1] = clock.now_ns()
        return np.diff(stamps).astype(float)

    return times_ns


def bootstrap_half_width(values_R: FloatArray) -> float:
    """Returns half of the 95 % bootstrap interval of the median, relative to the median.

    Source: Efron and Tibshirani 1993, section 13.3.
    """
    rng = np.random.default_rng(0)
    medians_B = np.median(values_R[rng.integers(len(values_R), size=(RESAMPLES, len(values_R)))], axis=1)
    low, high = np.percentile(medians_B, (2.5, 97.5))
    return float((high - low) / 2 / np.median(values_R))


def warmed_up(timer: Timer, protocol: Protocol, clock: Clock) -> int:
    """Runs the call until none has been notably faster than all before it for `warmup_ms`.

    Returns the number of calls that make a burst.
    """
    start = improved = clock.now_ns()
    calls, fastest_ns = 0, float("inf")
    warmup_ns = protocol.warmup_ms * 1e6
    while True:
        (took_ns,) = timer(1, clock)
        now = clock.now_ns()
        calls += 1
        if took_ns < fastest_ns * (1 - protocol.warming):
            improved = now
        fastest_ns = min(fastest_ns, took_ns)
        if calls < protocol.warmup_calls:
            continue
        if now <= start:
            raise MeasurementError(f"{calls} calls took no time; the clock is broken")
        if now - improved >= warmup_ns or now - start >= LONGEST_WARMUP * warmup_ns:
            return protocol.dropped_calls + max(3, int(protocol.burst_ms * 1e6 / max(fastest_ns, 1)))
