"""Compares two measurements under other load on the machine: hwnas's protocol and the mean of 100 calls.

    python scripts/bench/profiler_under_load.py          # about two minutes; Linux

Twenty networks of the mobilenet space are measured alone, then while another process computes: on another core, and on
the same core as the measurement. The error is the relative difference between a time and the undisturbed time of the same
method, mean over networks; the error in proportion is the error after all times are divided by one factor, as predictors
divide by the reference network. `alone, again` shows the noise of the machine itself.
"""

import argparse
import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

import hwnas
from hwnas.profiler.clock import Clock
from hwnas.profiler.device import conditions_here
from hwnas.profiler.measure import timed
from hwnas.profiler.profile import calibration_networks, network_subject
from hwnas.profiler.protocol import Session
from hwnas.profiler.runtime import Model
from hwnas.profiler.setup import Setup

NETWORKS = 20
NAIVE_CALLS = 100


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    space = hwnas.space("mobilenet")
    conditions = conditions_here("cpu")
    archs = calibration_networks(space, NETWORKS)
    models = [network_subject(space, arch, conditions).load()[0] for arch in archs]
    reference = network_subject(space, space.largest(), conditions).load()[0]

    def protocol() -> Session:
        return timed(models, reference, Setup(rng=np.random.default_rng(0)))

    everywhere = os.sched_getaffinity(0)
    core = min(everywhere)
    others = everywhere - {core} or everywhere
    print(f"{'':18} {'error':>26} {'error in proportion':>26} {'discarded':>16}")
    print(f"{'load':18}" + f" {'naive':>8} {'protocol':>10} {'ratio':>6}" * 2 + f" {'rounds':>8} {'bursts':>7}")
    for name, allowed, busy in (
        ("alone, again", everywhere, set()),
        ("on another core", everywhere, others),
        ("on the same core", {core}, {core}),
    ):
        # Immediately before the load, because the machine's speed drifts.
        truth_N, naive_truth_N = p10_ms(protocol()), naive_ms(models)
        os.sched_setaffinity(0, allowed)
        with load_on(busy):
            naive_N, session = naive_ms(models), protocol()
        os.sched_setaffinity(0, everywhere)
        line = f"{name:18}"
        for proportional in (False, True):
            naive = error(naive_N, naive_truth_N, proportional=proportional)
            ours = error(p10_ms(session), truth_N, proportional=proportional)
            line += f" {naive:8.2%} {ours:10.2%} {naive / ours:6.1f}"
        bursts = sum(timing.discarded for timing in session.timings)
        print(f"{line} {session.discarded_rounds:8} {bursts:7}")


def error(times_N: np.ndarray, truth_N: np.ndarray, *, proportional: bool) -> float:
    """Returns the mean relative difference; if `proportional`, after division by the median ratio."""
    ratio_N = times_N / truth_N
    return float(np.abs(ratio_N / (np.median(ratio_N) if proportional else 1) - 1).mean())


def p10_ms(session: Session) -> np.ndarray:
    return np.array([timing.p10_ms for timing in session.timings])


def naive_ms(models: Sequence[Model]) -> np.ndarray:
    """Returns the mean of 100 calls after ten of warm-up, one model after the other, as most published tables do."""
    return np.array([mean_ms(model) for model in models])


def mean_ms(model: Model) -> float:
    model.times_ns(NAIVE_CALLS // 10, Clock())
    return 1e-6 * float(model.times_ns(NAIVE_CALLS, Clock()).mean())


@contextmanager
def load_on(cores: set[int]) -> Iterator[None]:
    """Runs a process that computes on each of the cores."""
    processes = [multiprocessing.Process(target=compute, args=(core,), daemon=True) for core in cores]
    for process in processes:
        process.start()
    time.sleep(1.0 if processes else 0.0)
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.join()


def compute(core: int) -> None:
    os.sched_setaffinity(0, {core})
    values = np.random.default_rng(0).standard_normal((400, 400))
    while True:
        values = np.tanh(values @ values.T / 400)


if __name__ == "__main__":
    main()
