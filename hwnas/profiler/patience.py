"""Waiting for a device that was faster before: shared machines have slow minutes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from hwnas.profiler.bursts import Bursts, Timer, warmed_up
from hwnas.profiler.protocol import Session
from hwnas.profiler.session import measure
from hwnas.profiler.setup import Setup

# Seconds between two looks at a device that is slow.
LOOK_S: Final = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """The expected speed of the reference: the latency it had before, and the share by which it may be slower now.

    `expected_ms` is None for a device that was not measured before: then no latency is too slow.
    """

    expected_ms: float | None = None
    slower: float = 0.0

    @property
    def slowest_ms(self) -> float:
        """The longest latency that is fast enough."""
        return np.inf if self.expected_ms is None else self.expected_ms * (1 + self.slower)


def measure_steadily(
    subjects: Sequence[Timer], reference: Timer, setup: Setup, pace: Pace, *, tries: int = 2
) -> Session:
    """Measures when the reference keeps the pace: shared machines have slow minutes.

    Waits for such a minute while there is patience. The session with the fastest reference counts, out of at most `tries`;
    the rounds of the others are discarded.
    """
    sessions: list[Session] = []
    while len(sessions) < tries:
        is_fast = wait_until_fast(reference, pace.slowest_ms, setup)
        session = measure(subjects, reference, setup)
        sessions.append(session)
        if pace.expected_ms is None or session.reference.p10_ms <= pace.slowest_ms:
            break
        percent = 100 * (session.reference.p10_ms / pace.expected_ms - 1)
        setup.reporter.note(f"the reference network was {percent:.0f} % slower than expected: is the device busy?")
        if not is_fast:
            break
    best = min(sessions, key=lambda session: session.reference.p10_ms)
    other_rounds = sum(
        session.discarded_rounds + len(session.reference.rounds_ms) for session in sessions if session is not best
    )
    return replace(best, discarded_rounds=best.discarded_rounds + other_rounds)


def wait_until_fast(reference: Timer, slowest_ms: float, setup: Setup) -> bool:
    """Waits until the reference takes at most `slowest_ms`, while there is patience. Returns True if it does in the end."""
    probe = _probe(reference, setup)
    while True:
        start = setup.clock.now_ns()
        if _takes_ms(probe, setup) <= slowest_ms:
            return True
        if setup.patience.left_s <= 0:
            return False
        setup.clock.sleep(LOOK_S)
        setup.patience.left_s -= (setup.clock.now_ns() - start) / 1e9


def is_fast_now(reference: Timer, slowest_ms: float, setup: Setup) -> bool:
    """Returns True if the reference takes at most `slowest_ms` now, without waiting."""
    return _takes_ms(_probe(reference, setup), setup) <= slowest_ms


def _probe(reference: Timer, setup: Setup) -> Bursts:
    return Bursts(reference, warmed_up(reference, setup.protocol, setup.clock), setup.protocol.dropped_calls)


def _takes_ms(probe: Bursts, setup: Setup) -> float:
    """Returns the p10 of one more burst."""
    probe.burst(0, setup.clock)
    return float(probe.percentiles_ms[-1][0])
