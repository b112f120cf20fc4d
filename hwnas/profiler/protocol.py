"""The protocol of measuring, as a value, and the results that it leads to: timings, and sessions of them.

Shapes: R rounds.
"""

from dataclasses import dataclass, field

from hwnas.errors import MeasurementError
from hwnas.profiler.rounds import State


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """The measuring protocol: rounds of bursts, until every subject is precise, gets no more precise, or the rounds end.

    A burst is long enough for the clock and short enough to be interleaved with all others. After `rounds` rounds, and then
    after every `rounds` / 2, a subject is left out if at least `rounds` / 2 of its bursts count, and their half-width is at
    most `precision` or no longer shrinks.
    """

    rounds: int = 12
    most_rounds: int = 30
    precision: float = 0.01
    # A row with a half-width above this is not converged.
    unconverged: float = 0.05
    burst_ms: float = 8.0
    warmup_ms: float = 20.0
    warmup_calls: int = 5
    # A call is warm when it gets no faster than by this share.
    warming: float = 0.02
    # The first calls of a burst find another subject's data in the caches.
    dropped_calls: int = 2
    # A round belongs to a slow phase if its reference is slower by this share than in the fastest quarter of the rounds.
    # Subjects do not slow down alike, so scaling by the reference does not undo a slow phase.
    slow_phase: float = 0.03
    # Among the other rounds, one whose reference is further than this from their median was disturbed.
    outlier_mads: float = 3.0
    # How long to wait, over all sessions of a setup, for a device that was faster before.
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

    `rounds_ms` has the p10 of each round that counts, (R,). `spread` is the interquartile range of these values, and
    `half_width` is half of the bootstrap interval of their median; both are relative to `p10_ms`. `discarded` is the number
    of bursts that do not count.
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
        """Returns one statistic by its name: `p10`, `median` or `p90`."""
        return {"p10": self.p10_ms, "median": self.median_ms, "p90": self.p90_ms}[name]


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """The result of one round-robin session: the timings of the subjects in their order, and of the reference.

    `discarded_rounds` did not count. `states` has the state of the device after each round, if the device tells it.
    """

    timings: tuple[Timing, ...]
    reference: Timing
    discarded_rounds: int
    states: tuple[State, ...] = ()
