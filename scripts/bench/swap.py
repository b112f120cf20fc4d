"""Two devices here: a network searched for each, both measured on both. By how much does each win at home?

    python scripts/bench/swap.py cuda/torch cpu --out DIR
    python scripts/bench/swap.py cpu cpu/torch --out DIR --networks 30 --epochs 8     # two runtimes of one CPU

Conditions are written as `asked.py` says. Each gets a profile and a predictor of its own; a gradient search on digits is
held to the same place between its fastest and its slowest network, and the best network within that is derived. Both are
measured on both; `gain` is how much less time a network takes on its own device than the other one does there. A network
that is smaller gains on both, so each device's times are also given as shares of its bound.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from asked import conditions_of
from gradient import between, probabilities_of, searched

import hwnas
from hwnas.core.arch import Arch
from hwnas.core.space import SearchSpace
from hwnas.pipeline.predict import fit_table
from hwnas.profiler.device import Conditions
from hwnas.profiler.measure import timed
from hwnas.profiler.profile import Profiling, network_subject, profile
from hwnas.profiler.protocol import Protocol
from hwnas.profiler.setup import Setup
from hwnas.strategies.gradient.constraint import latency_constraint
from hwnas.strategies.gradient.derive import derive, log_scores
from hwnas.strategies.gradient.penalties import penalty
from hwnas.terminal import TerminalReporter

# Where the bound is between the fastest and the slowest network of a device.
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
    found, bound_ms = {}, {}
    for number, name in enumerate(arguments.conditions):
        table = arguments.out / f"{number}.jsonl"
        profile(
            Profiling(space=space, conditions=conditions_of(name), path=table, reporter=TerminalReporter()),
            networks=arguments.networks,
        )
        predictor = fit_table(table, space, allow_unconverged=True)
        bound_ms[name] = between(space, predictor, SHARE)
        constraint = latency_constraint(predictor, bound_ms[name], "p10")
        search, _ = searched(space, constraint, penalty("budget"), arguments)
        found[name] = derive(space, log_scores(probabilities_of(search)), [constraint.limit])
    print(f"| searched for | {' | '.join(f'{name}, ms' for name in found)} | FLOPs, M |\n|---|{'---|' * 3}")
    times_ms = {name: measured_ms(space, conditions_of(name), list(found.values())) for name in found}
    for number, (name, arch) in enumerate(found.items()):
        cells = " | ".join(
            f"{times_ms[other][number]:.4f} ({times_ms[other][number] / bound_ms[other]:.0%})" for other in found
        )
        print(f"| {name} | {cells} | {space.cost('flops', arch) / 1e6:.2f} |")
    for number, name in enumerate(found):
        mine, other = times_ms[name][number], times_ms[name][1 - number]
        print(f"gain at home, {name}: {1 - mine / other:.1%} (bound {bound_ms[name]:.4f} ms)")


def measured_ms(space: SearchSpace, conditions: Conditions, archs: list[Arch]) -> np.ndarray:
    """p10 in ms, (N,), in one session."""
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
