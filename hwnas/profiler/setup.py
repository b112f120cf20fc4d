"""Everything a measuring session needs besides the models that it times."""

from dataclasses import dataclass, field

import numpy as np

from hwnas.core.reporter import Reporter, Silent
from hwnas.profiler.clock import Clock
from hwnas.profiler.protocol import Protocol


@dataclass(slots=True)
class Patience:
    """The seconds that are left to wait for a device that was faster before; all sessions of a setup share them."""

    left_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """The protocol of sessions, and their sources of time, of random order and of messages.

    `threads` are those of one inference: with one thread, measuring stays on one core. Sessions use up the generator and
    the patience, which begins at the protocol's `patience_s`.
    """

    rng: np.random.Generator
    protocol: Protocol = field(default_factory=Protocol)
    reporter: Reporter = field(default_factory=Silent)
    clock: Clock = field(default_factory=Clock)
    threads: int = 1
    patience: Patience = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "patience", Patience(self.protocol.patience_s))
