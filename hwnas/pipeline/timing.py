"""Timing loaded networks side by side, on a device that is here: those that a run hands out, and any others."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from hwnas.core.reporter import Reporter
from hwnas.core.space import SearchSpace
from hwnas.predict.predictor import LatencyPredictor
from hwnas.profiler.device import Conditions
from hwnas.profiler.export import example_input
from hwnas.profiler.measure import timed
from hwnas.profiler.patience import Pace
from hwnas.profiler.profile import network_subject
from hwnas.profiler.protocol import Protocol, Session
from hwnas.profiler.runtime import Model
from hwnas.profiler.setup import Setup
from hwnas.profiler.step import shape_in_step

# Few networks, and they decide what the user gets: more rounds than a table's.
PROTOCOL: Final = Protocol(rounds=20)
# The drift of the device that is worth waiting for: about its repeat noise, because no reference cancels it here.
DRIFT: Final = 0.02
# The advice about measurements that did not converge, for commands that keep nothing of them.
WHEN_IDLE: Final = "measure again when it is idle"


def timed_models(
    space: SearchSpace,
    conditions: Conditions,
    models: Sequence[Model],
    predictor: LatencyPredictor,
    *,
    seed: int,
    reporter: Reporter,
) -> Session:
    """Times loaded networks, interleaved with the space's largest network as the reference of every round.

    Where the reference is slower than when the device was profiled, another try is worth more than a number of a disturbed
    machine; what remains of the drift is noted.
    """
    reference, _ = network_subject(space, space.largest(), conditions).load()
    shape = shape_in_step(conditions.step, space.input_shape)
    x = example_input(shape, conditions.batch, space.vocabulary).numpy()
    for model in models:
        model.bind(x)
    profiled_ms = predictor.report.get("reference_ms")
    setup = setup_of(conditions, seed, reporter)
    session = timed(models, reference, setup, Pace(expected_ms=profiled_ms, slower=DRIFT))
    note_unconverged(session, reporter, "`hwnas verify` repeats them")
    if profiled_ms:
        percent = 100 * session.reference.p10_ms / profiled_ms
        reporter.note(f"the reference network takes {percent:.1f} % of the time it took when the device was profiled")
    return session


def setup_of(conditions: Conditions, seed: int, reporter: Reporter) -> Setup:
    """Returns the setup of sessions that time few networks under these conditions."""
    return Setup(
        protocol=PROTOCOL,
        rng=np.random.default_rng(seed),
        reporter=reporter,
        clock=conditions.clock(),
        threads=conditions.threads,
    )


def note_unconverged(session: Session, reporter: Reporter, advice: str) -> None:
    """Notes how many measurements of a session did not converge, and what to do about it; nothing where all did."""
    unconverged = sum(not timing.converged for timing in session.timings)
    if unconverged:
        reporter.note(f"{unconverged} of these measurements did not converge: is the device busy? {advice}")
