"""Twenty networks under several conditions, side by side, in one run.

    python scripts/bench/runtimes.py cpu cpu/torch cpu/torch/memory_format=channels_last
    python scripts/bench/runtimes.py --gpu --space mobilenet --options '{"resolution": 224}' --batch 32

A condition is DEVICE/RUNTIME/NAME=VALUE/... (`asked.py`); `--gpu` stands for those that `ON_A_GPU` lists. Per condition:
the median latency of the networks' p10; the median ratio to the first condition; Spearman's correlation of the networks
with the first; and what the graphs that could not be captured said. Each condition has sessions of its own: the second
column is as good as the machine is steady between them, and the last repeats the first.
"""

import argparse
import json
from collections import Counter

import numpy as np
from asked import conditions_of
from scipy.stats import spearmanr

import hwnas
from hwnas.core.space import SearchSpace
from hwnas.errors import HwnasError
from hwnas.profiler.device import Conditions
from hwnas.profiler.measure import timed
from hwnas.profiler.profile import calibration_networks, network_subject
from hwnas.profiler.setup import Setup
from hwnas.terminal import TerminalReporter

ON_A_GPU = (
    "cuda/torch",
    "cuda/torch/launch=eager",
    "cuda/torch/tf32=0",
    "cuda/torch/memory_format=channels_last",
    "cuda/torch/precision=bf16/memory_format=channels_last",
    "cuda/torch/flush_l2=1",
    "cuda",
    "cuda/cuda_graph=0",
    "cuda/synchronise=burst",
    "cpu",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("conditions", nargs="*")
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--space", default="mobilenet")
    parser.add_argument("--options", type=json.loads, default={}, help="of the space, as JSON")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--networks", type=int, default=20)
    arguments = parser.parse_args()
    names = [*(ON_A_GPU if arguments.gpu else ()), *arguments.conditions]
    if not names:
        parser.error("name conditions, or give --gpu")
    space = hwnas.space(arguments.space, **arguments.options)
    lines, first_ms = [], None
    for name in [*names, names[0]]:
        try:
            times_ms, facts = measured(space, conditions_of(f"{name}/batch={arguments.batch}"), arguments.networks)
        except (HwnasError, RuntimeError) as error:  # no such device, or no memory left on it
            if first_ms is None:
                raise
            lines.append(f"| {name} | {error} | | | |")
            continue
        first_ms = times_ms if first_ms is None else first_ms
        rank = float(spearmanr(first_ms, times_ms).statistic)
        said = "; ".join(f"{fact} x{count}" for fact, count in facts.items())
        ratio = np.median(times_ms / first_ms)
        lines.append(f"| {name} | {np.median(times_ms):.4f} | {ratio:.3f} | {rank:.3f} | {said} |")
        print(lines[-1], flush=True)
    print(f"\n{arguments.space} {arguments.options or ''} batch {arguments.batch}, {arguments.networks} networks")
    print("| conditions | median p10, ms | x the first | Spearman with it | graphs |\n|---|---|---|---|---|")
    print(*lines, sep="\n")


def measured(space: SearchSpace, conditions: Conditions, count: int) -> tuple[np.ndarray, Counter[str]]:
    """Returns the p10 of the networks in milliseconds, (N,), and the facts of their models."""
    archs = calibration_networks(space, count)[:count]
    models = [network_subject(space, arch, conditions).load()[0] for arch in archs]
    reference = network_subject(space, space.largest(), conditions).load()[0]
    setup = Setup(
        rng=np.random.default_rng(0),
        reporter=TerminalReporter(),
        clock=conditions.clock(),
        threads=conditions.threads,
    )
    session = timed(models, reference, setup)
    facts = Counter(fact for model in models for fact in model.facts.values())
    return np.array([timing.p10_ms for timing in session.timings]), facts


if __name__ == "__main__":
    main()
