"""One measuring session: bursts, round-robin over all subjects in random order, with a reference in every round.

Knows nothing of models or runtimes: subjects are functions that time some calls; the clock, the counters of interruptions
and the randomness come with the setup.

Shapes: R rounds.
"""

from collections.abc import Sequence

import numpy as np

from hwnas.core.arrays import FloatArray
from hwnas.errors import MeasurementError
from hwnas.profiler.bursts import Bursts, Timer, warmed_up
from hwnas.profiler.protocol import Protocol, Session
from hwnas.profiler.rounds import State, on_clock
from hwnas.profiler.setup import Setup


def measure(subjects: Sequence[Timer], reference: Timer, setup: Setup) -> Session:
    """Times every subject, interleaved with all others.

    Each round visits the subjects that are still needed and the reference in random order, one burst each. A round's times
    are multiplied by (median of the reference) / (the reference in this round), which cancels a slow drift of the clock
    speed. The statistics are medians over rounds of each round's percentiles, so that one disturbed round moves them little
    and one lucky round not at all. Three kinds of rounds do not count: those of slow phases, those whose reference is an
    outlier, and those in which the device was off its usual clock; nor do bursts that other work interrupted.
    """
    protocol, clock = setup.protocol, setup.clock
    everyone = [
        Bursts(timer, warmed_up(timer, protocol, clock), protocol.dropped_calls) for timer in (reference, *subjects)
    ]
    states: list[State | None] = []
    needed = list(range(len(everyone)))
    checks = range(protocol.rounds, protocol.most_rounds, max(1, protocol.rounds // 2))
    for number in setup.reporter.track(range(protocol.most_rounds), f"measuring {len(subjects)} models"):
        for i in setup.rng.permutation(needed):
            everyone[i].burst(number, clock)
        states.append(clock.state())
        if number + 1 not in checks:
            continue
        needed = [0, *_still_needed(everyone, states, protocol)]
        if needed == [0]:
            break
    scale_R, kept = _drift(everyone[0], states, protocol)
    reference_timing, *timings = (bursts.timing(scale_R, kept, protocol) for bursts in everyone)
    return Session(
        timings=tuple(timings),
        reference=reference_timing,
        discarded_rounds=len(kept) - sum(kept),
        states=tuple(state for state in states if state is not None),
    )


def _still_needed(everyone: Sequence[Bursts], states: Sequence[State | None], protocol: Protocol) -> list[int]:
    """Returns the subjects that more rounds would make more precise, by their place behind the reference.

    All subjects are checked: one that was precise in a slow phase is needed again in a fast one.
    """
    reference, *subjects = everyone
    scale_R, kept = _drift(reference, states, protocol)
    done = [subject.is_done(scale_R, kept, protocol) for subject in subjects]
    return [i for i, is_done in enumerate(done, start=1) if not is_done]


def _drift(reference: Bursts, states: Sequence[State | None], protocol: Protocol) -> tuple[FloatArray, list[bool]]:
    """Returns the factor that each round's times are multiplied by, (R,), and for each round, if it counts."""
    reference_ms_R = np.array([percentiles_ms[0] for percentiles_ms in reference.percentiles_ms])
    if not (reference_ms_R > 0).all():
        raise MeasurementError(f"the reference cannot take {reference_ms_R.min()} ms; the clock is broken")
    fast_ms_R = reference_ms_R[reference_ms_R <= (1 + protocol.slow_phase) * np.percentile(reference_ms_R, 25)]
    distance_R = np.abs(reference_ms_R - np.median(fast_ms_R))
    mad = float(np.median(np.abs(fast_ms_R - np.median(fast_ms_R))))
    # A difference below half a percent comes from the clock, not from another process.
    kept_R = distance_R <= max(protocol.outlier_mads * 1.4826 * mad, 0.005 * float(np.median(fast_ms_R)))
    return np.median(reference_ms_R[kept_R]) / reference_ms_R, (kept_R & on_clock(states)).tolist()
