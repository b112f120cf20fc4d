"""Networks timed side by side, what of their differences is noise, and where their time goes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final, final

import numpy as np

from hwnas.core.reporter import Reporter, Silent
from hwnas.costs.sizes import MIB
from hwnas.pipeline.blocks import Breakdown
from hwnas.pipeline.named_networks import NamedNetwork
from hwnas.pipeline.timing import WHEN_IDLE, note_unconverged, setup_of
from hwnas.predict.measurements import NORMAL_95, SESSION_NOISE
from hwnas.profiler.device import Conditions
from hwnas.profiler.measure import timed
from hwnas.profiler.protocol import Timing

# The half width of the 90 % interval of the distance of two measurements of one network, where that distance is
# `SESSION_NOISE` on average: two loads of one network differ, whatever the rounds of each say.
LOADED_AGAIN: Final = NORMAL_95 * float(np.sqrt(np.pi / 2)) * SESSION_NOISE


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredNetwork:
    """A network and its timing. `ratio` is its median relative to the first network's."""

    name: str
    timing: Timing
    ratio: float
    mib: float
    params: int | None
    breakdowns: tuple[Breakdown, ...] = ()

    def describe(self) -> dict[str, Any]:
        """Returns the network as JSON has it."""
        timing = self.timing
        return {
            "model": self.name,
            "median_ms": timing.median_ms,
            "p10_ms": timing.p10_ms,
            "p90_ms": timing.p90_ms,
            "half_width": timing.half_width,
            "converged": timing.converged,
            "ratio": self.ratio,
            "mib": self.mib,
            "params": self.params,
            "breakdowns": [breakdown.describe() for breakdown in self.breakdowns],
        }


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Tie:
    """Two networks whose `difference`, a share of the faster one's time, is within the `noise`."""

    names: tuple[str, str]
    difference: float
    noise: float


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredNetworks:
    """Networks that were timed in the same rounds. `repeat` is how far the first differs from itself, loaded again."""

    conditions: Conditions
    networks: tuple[MeasuredNetwork, ...]
    repeat: float

    def ties(self) -> Iterator[Tie]:
        """Yields the pairs of networks that the measurement cannot tell apart, by p10 or by the median."""
        for one, other in combinations(self.networks, 2):
            tie = Tie(
                names=(one.name, other.name),
                difference=min(_distance(one.timing, other.timing, name) for name in ("p10", "median")),
                noise=max(one.timing.half_width + other.timing.half_width, LOADED_AGAIN, self.repeat),
            )
            if tie.difference <= tie.noise:
                yield tie

    def describe(self) -> dict[str, Any]:
        """Returns the networks as JSON has them."""
        return {
            "conditions": self.conditions.describe(),
            "models": [network.describe() for network in self.networks],
            "repeat": self.repeat,
            "within_noise": [
                {"models": tie.names, "difference": tie.difference, "noise": tie.noise} for tie in self.ties()
            ],
        }


def measure_networks(
    networks: Sequence[NamedNetwork],
    conditions: Conditions,
    *,
    blocks: bool = False,
    seed: int = 0,
    reporter: Reporter | None = None,
) -> MeasuredNetworks:
    """Times networks side by side, interleaved in rounds; the reference of every round is the first one, loaded again.

    With `blocks`, tells where each network's time goes. Raises ExportError, DeviceError.
    """
    reporter = reporter or Silent()
    if blocks:
        for network in networks:
            network.require_breakdowns(conditions)
    loaded = [network.load(conditions) for network in reporter.track(networks, "preparing")]
    reference, _ = networks[0].load(conditions)
    setup = setup_of(conditions, seed, reporter)
    session = timed([model for model, _ in loaded], reference, setup)
    note_unconverged(session, reporter, WHEN_IDLE)
    sizes = [size for _, size in loaded]
    loaded.clear()  # before blocks are loaded
    first = session.timings[0]
    measured = tuple(
        MeasuredNetwork(
            name=network.name,
            timing=timing,
            ratio=timing.median_ms / first.median_ms,
            mib=size / MIB,
            params=network.params,
            breakdowns=network.breakdowns(conditions, setup, timing.median_ms) if blocks else (),
        )
        for network, timing, size in zip(networks, session.timings, sizes, strict=True)
    )
    return MeasuredNetworks(conditions=conditions, networks=measured, repeat=_distance(first, session.reference, "p10"))


def _distance(one: Timing, other: Timing, statistic: str) -> float:
    """Returns by how much the slower of two timings is slower, relative to the faster one."""
    fast_ms, slow_ms = sorted((one.statistic_ms(statistic), other.statistic_ms(statistic)))
    return slow_ms / fast_ms - 1
