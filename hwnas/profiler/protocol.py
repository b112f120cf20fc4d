"""How latency is measured: bursts, round-robin over all subjects in random order, a reference in every round.

Knows nothing of models or runtimes: subjects are functions that time some calls; the clock, the counters of interruptions
and the randomness come in as arguments.

Shapes: R rounds, K calls of one burst, B resamples.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from hwnas.core.arrays import FloatArray
from hwnas.core.reporter import Reporter
from hwnas.errors import MeasurementError
from hwnas.profiler.clock import Clock
from hwnas.profiler.rounds import State, on_clock

Call = Callable[[], None]
# Nanoseconds of so many calls, one after the other; where only several can be timed, the mean of each several.
Timer = Callable[[int, Clock], FloatArray]

# Bursts of which a median is worth having.
ENOUGH: Final = 4
# Resamples of a bootstrap interval: its ends are then known to about a tenth of its width.
RESAMPLES: Final = 400
# Times the warm-up of a call that gets no faster; what is not warm by then varies by itself.
LONGEST_WARMUP: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """Rounds of bursts, until every subject is known precisely, gets no more precise, or the rounds are spent.

    A burst is long enough for the clock and short enough to be interleaved with all others. After `rounds`, and then
    every `rounds` / 2, a subject is left out whose half-width, of at least `rounds` / 2 that count, is at most
    `precision`, or no longer shrinks.
    """

    rounds: int = 12
    most_rounds: int = 30
    precision: float = 0.01
    # A half-width above this is no measurement.
    unconverged: float = 0.05
    burst_ms: float = 8.0
    warmup_ms: float = 20.0
    warmup_calls: int = 5
    # Warm is what gets no faster than this from one burst to the next.
    warming: float = 0.02
    # The first calls of a burst find the caches full of another subject.
    dropped_calls: int = 2
    # A round whose reference is this much slower than in the fastest quarter of the rounds was of a slow phase: subjects
    # do not slow down alike, so scaling by the reference does not undo it.
    slow_phase: float = 0.03
    # Among the others, one whose reference is further than this from their median was disturbed.
    outlier_mads: float = 3.0
    # How long to wait, over all sessions, for a machine that was faster before.
    patience_s: float = 20.0

    def __post_init__(self) -> None:
        if self.rounds < 3 or self.burst_ms <= 0:
            raise MeasurementError(f"a measurement needs at least 3 rounds of positive length, not {self}")
        if self.most_rounds < self.rounds or not 0 < self.precision <= self.unconverged:
            raise MeasurementError(f"rounds and half-widths must not exceed their limits: {self}")
        if self.warmup_calls < 1 or self.dropped_calls < 0 or self.outlier_mads < 1:
            raise MeasurementError(f"warming up needs a call, dropped calls and outliers cannot be negative: {self}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Latency of one call.

    `rounds_ms` are the p10 of the rounds that count, (R,); `spread` is their interquartile range and `half_width` half
    of the bootstrap interval of their median, both relative to `p10_ms`. `discarded` bursts were interrupted.
    """

    p10_ms: float
    median_ms: float
    p90_ms: float
    spread: float
    half_width: float
    converged: bool
    calls: int
    discarded: int
    rounds_ms: tuple[float, ...] = field(repr=False)

    def __post_init__(self) -> None:
        if not 0 < self.p10_ms <= self.median_ms <= self.p90_ms:
            raise MeasurementError(f"latency cannot be {self.p10_ms} ms; the clock or the runtime is broken")

    def statistic_ms(self, name: str) -> float:
        """`p10`, `median` or `p90`."""
        return {"p10": self.p10_ms, "median": self.median_ms, "p90": self.p90_ms}[name]


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What one round-robin session measured: the subjects in their order, the reference, the rounds it discarded, and the
    state of the device after each round, where that can be known."""

    timings: tuple[Timing, ...]
    reference: Timing
    discarded_rounds: int
    states: tuple[State, ...] = ()


@dataclass(slots=True)
class Bursts:
    """What times a call, and what its bursts were: rounds, p10, median and p90 in ms, and whether they were interrupted."""

    timer: Timer
    calls: int
    dropped: int
    rounds: list[int] = field(default_factory=list)
    percentiles_ms: list[FloatArray] = field(default_factory=list)
    interrupted: list[bool] = field(default_factory=list)
    half_widths: list[float] = field(default_factory=list)

    def burst(self, number: int, clock: Clock) -> None:
        before = clock.interruptions()
        times_ns = self.timer(self.calls, clock)
        self.interrupted.append(clock.interruptions() > before)
        self.rounds.append(number)
        self.percentiles_ms.append(np.percentile(times_ns[self.dropped :] / 1e6, (10, 50, 90)))

    def counting(self, kept: Sequence[bool]) -> list[int]:
        """The bursts of kept rounds that nothing interrupted; of all kept rounds, where these are too few."""
        of_kept = [i for i, number in enumerate(self.rounds) if kept[number]]
        quiet = [i for i in of_kept if not self.interrupted[i]]
        return quiet if len(quiet) >= ENOUGH else of_kept

    def timing(self, scale_R: FloatArray, kept: Sequence[bool], protocol: Protocol) -> Timing:
        """Medians over the rounds that count of each round's percentiles; of all rounds, unconverged, where too few do."""
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
        """Whether more rounds are of no use: precise, or no more precise than two checks ago."""
        if 2 * len(self.counting(kept)) < protocol.rounds:
            return False
        timing = self.timing(scale_R, kept, protocol)
        self.half_widths.append(timing.half_width)
        return timing.half_width <= protocol.precision or (
            len(self.half_widths) > 2 and self.half_widths[-1] >= self.half_widths[-3]
        )


def stamped(call: Call) -> Timer:
    """Reads the clock after every call: for what is done when it returns."""

    def times_ns(calls: int, clock: Clock) -> FloatArray:
        stamps = np.empty(calls + 1, dtype=np.int64)
        stamps[0] = clock.now_ns()
        for i in range(calls):
            call()
            stamps[i + 1] = clock.now_ns()
        return np.diff(stamps).astype(float)

    return times_ns


def measure(
    subjects: Sequence[Timer],
    reference: Timer,
    protocol: Protocol,
    *,
    rng: np.random.Generator,
    reporter: Reporter,
    clock: Clock | None = None,
) -> Session:
    """Times every subject, interleaved.

    Each round visits the subjects that are still needed and the reference in random order, one burst each. A round's
    times are scaled by (median reference) / (its reference), which cancels slow drift of the clock speed. The statistics
    are medians over rounds of each round's percentiles: one disturbed round moves them little, a fast lucky one not at
    all. Rounds of slow phases do not count, nor those whose reference is an outlier or that ran off the device's clock, nor
    bursts that other work interrupted.
    """
    clock = clock or Clock()
    everyone = [
        Bursts(timer, warmed_up(timer, protocol, clock), protocol.dropped_calls) for timer in (reference, *subjects)
    ]
    states: list[State | None] = []
    needed = list(range(len(everyone)))
    checks = range(protocol.rounds, protocol.most_rounds, max(1, protocol.rounds // 2))
    for number in reporter.track(range(protocol.most_rounds), f"measuring {len(subjects)} models"):
        for i in rng.permutation(needed):
            everyone[i].burst(number, clock)
        states.append(clock.state())
        if number + 1 not in checks:
            continue
        scale_R, kept = _drift(everyone[0], states, protocol)
        # Of all: what was precise in a slow phase is needed again in a fast one.
        done = [subject.is_done(scale_R, kept, protocol) for subject in everyone[1:]]
        needed = [0, *(i for i, enough in enumerate(done, start=1) if not enough)]
        if needed == [0]:
            break
    scale_R, kept = _drift(everyone[0], states, protocol)
    reference_timing, *timings = (subject.timing(scale_R, kept, protocol) for subject in everyone)
    return Session(
        timings=tuple(timings),
        reference=reference_timing,
        discarded_rounds=len(kept) - sum(kept),
        states=tuple(state for state in states if state is not None),
    )


def bootstrap_half_width(values_R: FloatArray) -> float:
    """Half of the 95 % bootstrap interval of the median, relative to it (Efron and Tibshirani 1993, section 13.3)."""
    rng = np.random.default_rng(0)
    medians_B = np.median(values_R[rng.integers(len(values_R), size=(RESAMPLES, len(values_R)))], axis=1)
    low, high = np.percentile(medians_B, (2.5, 97.5))
    return float((high - low) / 2 / np.median(values_R))


def warmed_up(timer: Timer, protocol: Protocol, clock: Clock) -> int:
    """Runs until no call has been notably faster than all before for `warmup_ms`; the number of calls of a burst."""
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


def _drift(reference: Bursts, states: Sequence[State | None], protocol: Protocol) -> tuple[FloatArray, list[bool]]:
    """What each round's times are multiplied by, (R,), and which rounds were not disturbed."""
    reference_ms_R = np.array([percentiles_ms[0] for percentiles_ms in reference.percentiles_ms])
    if not (reference_ms_R > 0).all():
        raise MeasurementError(f"the reference cannot take {reference_ms_R.min()} ms; the clock is broken")
    fast_ms_R = reference_ms_R[reference_ms_R <= (1 + protocol.slow_phase) * np.percentile(reference_ms_R, 25)]
    distance_R = np.abs(reference_ms_R - np.median(fast_ms_R))
    mad = float(np.median(np.abs(fast_ms_R - np.median(fast_ms_R))))
    # Below half a percent a difference is the clock's, not another process's.
    kept_R = distance_R <= max(protocol.outlier_mads * 1.4826 * mad, 0.005 * float(np.median(fast_ms_R)))
    return np.median(reference_ms_R[kept_R]) / reference_ms_R, (kept_R & on_clock(states)).tolist()
