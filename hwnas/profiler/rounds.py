"""Selects the rounds of a measurement in which the GPU ran at its usual clock.

Pure arithmetic on the states that the GPU reported. Knows no NVML: states come from `nvml.Gpu.state`, or from a test.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

# The slowest clock that counts, as a share of the upper quartile of the session: a locked clock never leaves it, and a short
# boost at the start does not raise it. (nvbench discards samples below 75 % of the default clock, and recommends to lock it.)
SLOWEST: Final = 0.9
# Large batches settle at the power cap: such a round is judged by its clock alone.
STEADY: Final = frozenset({"power cap"})


@dataclass(frozen=True, slots=True)
class State:
    """The state of a GPU: SM clock in MHz, temperature in degrees Celsius, and the reasons for which it is throttled."""

    mhz: float
    celsius: float
    reasons: tuple[str, ...] = ()


def on_clock(states: Sequence[State | None], *, slowest: float = SLOWEST) -> list[bool]:
    """Returns for each round True if it counts.

    A round counts if its SM clock is at least the share `slowest` of the upper quartile of all rounds, and nothing but a
    power cap throttled it. A round without a state counts. If every round was throttled, none counts, and the caller has
    to report that.

    >>> on_clock([State(1980, 60), State(1410, 60), State(1980, 84, ("thermal slowdown",)), None])
    [True, False, False, True]
    """
    known_mhz = [state.mhz for state in states if state is not None]
    usual_mhz = float(np.percentile(known_mhz, 75)) if known_mhz else 0.0
    return [state is None or (state.mhz >= slowest * usual_mhz and not set(state.reasons) - STEADY) for state in states]
