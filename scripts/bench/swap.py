"""Searches for a network for each of two devices of this machine, and measures both networks on both.

    python scripts/bench/swap.py cuda/torch cpu --out DIR
    python scripts/bench/swap.py cpu cpu/torch --out DIR --networks 30 --epochs 8     # two runtimes of one CPU

`asked.py` documents how conditions are written. Each device gets a profile and a predictor of its own. A gradient search on
digits is bounded at the same place between the device's fastest and slowest network, and the best network within that bound
is derived. `gain` is the time that a network saves on its own device, compared with the other network there. A smaller
network gains on both devices, so times are also given as shares of the device's bound.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from asked import conditions_of
from gradient import between, latency_constraint, probabilities_of, searched

import hwnas
from hwnas.core.arch import Arch
from hwnas.core.space import SearchSpace
from hwnas.pipeline.predict import fit_table
from hwnas.profiler.device import Conditions
from hwnas.profiler.measure import timed
from hwnas.profiler.profile import Profiling, network_subject, profile
from hwnas.profiler.protocol import Protocol
from hwnas.profiler.setup import Setup
from hwnas.strategies.gradient.derive import derive, log_scores
from hwnas.strategies.gradient.penalties import penalty
from hwnas.terminal import TerminalReporter

# The bound's place between the fastest (0) and the slowest (1) network of a device.
SHARE = 0.4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("conditions", nargs=2)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--space", default="mobilenet")
    parser.add_argument("--networks", type=int, default=60)
    parser.add_argument("--epochs", type=int, default=12)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    space = hwnas.space(arguments.space)
    derived, bound_ms = {}, {}
    for number, name in enumerate(arguments.conditions):
        table = arguments.out / f"{number}.jsonl"
        profile(
            Profiling(space=space, conditions=conditions_of(name), path=table, reporter=TerminalReporter()),
            networks=arguments.networks,
        )
        predictor = fit_table(table, space, allow_unconverged=True)
        bound_ms[name] = between(space, predictor, SHARE)
        constraint = latency_constraint(predictor, space, bound_ms[name], "p10")
        search, _ = searched(space, constraint, penalty("budget"), arguments)
        derived[name] = derive(space, log_scores(probabilities_of(search)), [constraint.limit])
    print(f"| searched for | {' | '.join(f'{name}, ms' for name in derived)} | FLOPs, M |\n|---|{'---|' * 3}")
    times_ms = {name: measured_ms(space, conditions_of(name), list(derived.values())) for name in derived}
    for number, (name, arch) in enumerate(derived.items()):
        cells = " | ".join(
            f"{times_ms[other][number]:.4f} ({times_ms[other][number] / bound_ms[other]:.0%})" for other in derived
        )
        print(f"| {name} | {cells} | {space.cost('flops', arch) / 1e6:.2f} |")
    for number, name in enumerate(derived):
        mine, other = times_ms[name][number], times_ms[name][1 - number]
        print(f"gain at home, {name}: {1 - mine / other:.1%} (bound {bound_ms[name]:.4f} ms)")


def measured_ms(space: SearchSpace, conditions: Conditions, archs: list[Arch]) -> np.ndarray:
    """Returns the p10 of every network in one session, in milliseconds; (N,)."""
    subjects = [network_subject(space, arch, conditions) for arch in (space.largest(), *archs)]
    reference, *models = [subject.load()[0] for subject in subjects]
    setup = Setup(
        protocol=Protocol(rounds=20),
        rng=np.random.default_rng(0),
        reporter=TerminalReporter(),
        clock=conditions.clock(),
        threads=conditions.threads,
    )
    session = timed(models, reference, setup)
    return np.array([timing.p10_ms for timing in session.timings])


if __name__ == "__main__":
    main()
