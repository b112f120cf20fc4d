"""Which rounds of a measurement were on the clock: pure arithmetic on what a GPU said of itself in each round.

Knows no NVML: states come from `nvml.Gpu.state`, or from a test.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

# nvbench discards samples below 75 % of the default clock, and recommends to lock it. Here it is a share of the upper quartile
# of the session, which a locked clock never leaves, and which a short boost at its start does not raise.
SLOWEST: Final = 0.9
# A power cap is where large batches settle: it is known by its clock alone.
STEADY: Final = frozenset({"power cap"})


@dataclass(frozen=True, slots=True)
class State:
    """SM clock in MHz, temperature in degrees Celsius, and why the clock is held down, in words; empty where it is not."""

    mhz: float
    celsius: float
    reasons: tuple[str, ...] = ()


def on_clock(states: Sequence[State | None], *, slowest: float = SLOWEST) -> list[bool]:
    """Whether each round counts: its SM clock is at least that share of the upper quartile of all, and nothing but a
    power cap throttled it.

    A round without a state counts: nothing is known against it. Where every round was throttled, none counts; that is for
    the caller to say.

    >>> on_clock([State(1980, 60), State(1410, 60), State(1980, 84, ("thermal slowdown",)), None])
    [True, False, False, True]
    """
    known_mhz = [state.mhz for state in states if state is not None]
    usual_mhz = float(np.percentile(known_mhz, 75)) if known_mhz else 0.0
    return [state is None or (state.mhz >= slowest * usual_mhz and not set(state.reasons) - STEADY) for state in states]
