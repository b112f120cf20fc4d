"""What the exact expected latency of a space costs, forward and backward, on one core.

    python scripts/bench/expected.py             # every built-in space at its default options

Times are of a predictor whose factors are the FLOPs of the layers: what a factor says does not matter here.
"""

import argparse
import time

import numpy as np
import torch

import hwnas
from hwnas.latency.expected import ExpectedLatency
from hwnas.latency.predictor import LatencyPredictor
from hwnas.spaces import SPACES

REPEATS = 200


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.set_num_threads(1)
    print(f"{'space':12} {'choices':>8} {'ms':>8}   (10th percentile of {REPEATS})")
    for name in SPACES:
        space = hwnas.space(name)
        predictor = LatencyPredictor(
            choices=space.choices,
            factors=space.cost_factors("flops"),
            interval=(1.0, 1.0),
            statistics={"p10": 1.0},
            report={},
            conditions={},
            space=space.describe(),
        )
        print(f"{name:12} {len(space.choices):8} {milliseconds(ExpectedLatency(predictor), predictor):8.3f}")


def milliseconds(expected: ExpectedLatency, predictor: LatencyPredictor) -> float:
    """Of one forward and backward pass."""
    logits = {choice.name: torch.zeros(len(choice.options), requires_grad=True) for choice in predictor.choices}
    times = []
    for _ in range(REPEATS):
        probabilities = {name: values.softmax(0) for name, values in logits.items()}
        start = time.perf_counter()
        expected.milliseconds(probabilities).backward()
        times.append(time.perf_counter() - start)
    return 1e3 * float(np.percentile(times, 10))


if __name__ == "__main__":
    main()
