"""How latency is measured: bursts, round-robin over all subjects in random order, a reference in every round.

Knows nothing of models or runtimes: subjects are functions, the clock and the randomness come in as arguments.

Shapes: R rounds, K calls of one burst.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from hwnas.core.cost import FloatArray
from hwnas.core.reporter import Reporter
from hwnas.errors import MeasurementError

Call = Callable[[], None]

# Sessions that are tried before a slow machine counts as it is.
TRIES: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """Rounds of bursts. A burst is long enough for the clock and short enough to be interleaved with all others."""

    rounds: int = 12
    burst_ms: float = 6.0
    warmup_ms: float = 20.0
    warmup_calls: int = 5
    # The first calls of a burst find the caches full of another subject.
    dropped_calls: int = 2
    # A round whose reference is further than this from the median reference was disturbed.
    outlier_mads: float = 3.0

    def __post_init__(self) -> None:
        if self.rounds < 3 or self.burst_ms <= 0:
            raise MeasurementError(f"a measurement needs at least 3 rounds of positive length, not {self}")
        if self.warmup_calls < 1 or self.dropped_calls < 0 or self.outlier_mads < 1:
            raise MeasurementError(f"warming up needs a call, dropped calls and outliers cannot be negative: {self}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Latency of one call. `spread` is the interquartile range of the rounds' p10, relative to `p10_ms`."""

    p10_ms: float
    median_ms: float
    p90_ms: float
    spread: float
    calls: int
    rounds: int

    def __post_init__(self) -> None:
        if not 0 < self.p10_ms <= self.median_ms <= self.p90_ms:
            raise MeasurementError(f"latency cannot be {self.p10_ms} ms; the clock or the runtime is broken")

    def statistic_ms(self, name: str) -> float:
        """`p10`, `median` or `p90`."""
        return {"p10": self.p10_ms, "median": self.median_ms, "p90": self.p90_ms}[name]


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What one round-robin session measured: the subjects in their order, the reference, the rounds it discarded."""

    timings: tuple[Timing, ...]
    reference: Timing
    discarded_rounds: int


def measure(
    subjects: Sequence[Call],
    reference: Call,
    protocol: Protocol,
    *,
    rng: np.random.Generator,
    reporter: Reporter,
    now_ns: Callable[[], int] = time.perf_counter_ns,
) -> Session:
    """Times every subject, interleaved.

    Each round visits all subjects and the reference in random order, one burst each. A round's times are scaled by
    (median reference) / (its reference), which cancels slow drift of the clock speed. The statistics are medians over
    rounds of each round's percentiles: one disturbed round moves them little, a fast lucky one not at all.
    """
    everyone = [reference, *subjects]
    calls_per_burst = [_warm_up(call, protocol, now_ns) for call in everyone]
    bursts: list[list[FloatArray]] = [[] for _ in everyone]
    for _ in reporter.track(range(protocol.rounds), f"measuring {len(subjects)} models"):
        for i in rng.permutation(len(everyone)):
            bursts[i].append(_burst(everyone[i], calls_per_burst[i], protocol.dropped_calls, now_ns))
    reference_ms_R = np.array([np.percentile(burst, 10) for burst in bursts[0]])
    if not (reference_ms_R > 0).all():
        raise MeasurementError(f"the reference cannot take {reference_ms_R.min()} ms; the clock is broken")
    kept = _undisturbed(reference_ms_R, protocol.outlier_mads)
    scale_R = np.median(reference_ms_R[kept]) / reference_ms_R
    reference_timing, *timings = (summarise(burst, scale_R, kept) for burst in bursts)
    return Session(timings=tuple(timings), reference=reference_timing, discarded_rounds=protocol.rounds - len(kept))


def measure_steadily(
    subjects: Sequence[Call],
    reference: Call,
    protocol: Protocol,
    *,
    expected_ms: float | None,
    slower: float,
    rng: np.random.Generator,
    reporter: Reporter,
    now_ns: Callable[[], int] = time.perf_counter_ns,
) -> Session:
    """`measure`, again while the reference is slower than `expected_ms` by a share: shared machines have slow minutes.

    After `TRIES` sessions the one with the fastest reference counts.
    """
    sessions: list[Session] = []
    while len(sessions) < TRIES:
        session = measure(subjects, reference, protocol, rng=rng, reporter=reporter, now_ns=now_ns)
        sessions.append(session)
        if expected_ms is None or session.reference.p10_ms <= expected_ms * (1 + slower):
            return session
        percent = 100 * (session.reference.p10_ms / expected_ms - 1)
        reporter.note(f"the reference network was {percent:.0f} % slower than expected: is the device busy?")
    return min(sessions, key=lambda session: session.reference.p10_ms)


def _warm_up(call: Call, protocol: Protocol, now_ns: Callable[[], int]) -> int:
    """Runs until warm; the number of calls that make a burst."""
    start = now_ns()
    calls = 0
    fastest_ns = protocol.burst_ms * 1e6
    while calls < protocol.warmup_calls or now_ns() - start < protocol.warmup_ms * 1e6:
        before = now_ns()
        call()
        fastest_ns = min(fastest_ns, now_ns() - before)
        calls += 1
        if calls == protocol.warmup_calls and now_ns() <= start:
            raise MeasurementError(f"{calls} calls took no time; the clock is broken")
    return protocol.dropped_calls + max(3, int(protocol.burst_ms * 1e6 / max(fastest_ns, 1)))


def _burst(call: Call, calls: int, dropped: int, now_ns: Callable[[], int]) -> FloatArray:
    """Milliseconds of each call; shape (K,)."""
    stamps = np.empty(calls + 1, dtype=np.int64)
    stamps[0] = now_ns()
    for i in range(calls):
        call()
        stamps[i + 1] = now_ns()
    return np.diff(stamps)[dropped:] / 1e6


def _undisturbed(reference_ms_R: FloatArray, outlier_mads: float) -> Sequence[Any]:
    distance_R = np.abs(reference_ms_R - np.median(reference_ms_R))
    # Below half a percent a difference is the clock's, not another process's.
    allowed = max(outlier_mads * 1.4826 * float(np.median(distance_R)), 0.005 * float(np.median(reference_ms_R)))
    return list(np.flatnonzero(distance_R <= allowed))


def summarise(bursts: Sequence[FloatArray], scale_R: FloatArray, kept: Sequence[int]) -> Timing:
    """Medians over the kept rounds of each round's percentiles."""
    per_round = np.array([np.percentile(bursts[r] * scale_R[r], (10, 50, 90)) for r in kept])
    p10_ms, median_ms, p90_ms = np.median(per_round, axis=0)
    low, high = np.percentile(per_round[:, 0], (25, 75))
    return Timing(
        p10_ms=float(p10_ms),
        median_ms=float(median_ms),
        p90_ms=float(p90_ms),
        spread=float((high - low) / p10_ms) if p10_ms > 0 else 0.0,
        calls=sum(len(bursts[r]) for r in kept),
        rounds=len(kept),
    )
