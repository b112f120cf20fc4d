"""Times the exact expected latency of a space, forward and backward, on one core.

    python scripts/bench/expected.py             # every built-in space at its default options, and a large mobilenet

The predictor is additive with every feature that it can have, interactions of adjacent layers included; the second column
adds 300 trees of depth 3. The trees are fitted to noise so that they split on all choices; values do not change the time.
"""

import argparse
import time

import numpy as np
import torch

import hwnas
from hwnas.core.space import SearchSpace
from hwnas.predict.expected import ExpectedLatency
from hwnas.predict.features import space_basis
from hwnas.predict.predictor import LatencyPredictor
from hwnas.predict.trees import fit_trees, tree_factors
from hwnas.spaces import SPACES

REPEATS = 200
TREES = 300
NETWORKS = 2000


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.set_num_threads(1)
    print(f"{'space':12} {'choices':>8} {'ms':>8} {'with trees':>11}   (10th percentile of {REPEATS})")
    spaces = [hwnas.space(name) for name in SPACES]
    for space in [*spaces, hwnas.space("mobilenet", resolution=224, squeeze_excite="choice")]:
        times = [milliseconds(predictor_of(space, trees)) for trees in (0, TREES)]
        print(f"{space.name:12} {len(space.choices):8} {times[0]:8.3f} {times[1]:11.3f}", flush=True)


def predictor_of(space: SearchSpace, trees: int) -> LatencyPredictor:
    rng = np.random.default_rng(0)
    booster = fit_trees(space.sample_rows(rng, NETWORKS), rng.normal(size=NETWORKS), np.ones(NETWORKS), trees)
    basis = space_basis(space, {}, 1.0)
    return LatencyPredictor(
        choices=space.choices,
        additive=(*basis.factors(rng.normal(size=len(basis.group_P))), *tree_factors(booster, space.choices)),
        interval=(1.0, 1.0),
        statistics={"p10": 1.0},
        report={},
        conditions={},
        space=space.describe(),
    )


def milliseconds(predictor: LatencyPredictor) -> float:
    """Returns the 10th percentile of one forward and backward pass."""
    expected = ExpectedLatency(predictor)
    logits = {choice.name: torch.zeros(len(choice.options), requires_grad=True) for choice in predictor.choices}
    times = []
    for _ in range(REPEATS):
        probabilities = {name: values.softmax(0) for name, values in logits.items()}
        start = time.perf_counter()
        expected.milliseconds(probabilities).backward()  # type: ignore[no-untyped-call]
        times.append(time.perf_counter() - start)
    return 1e3 * float(np.percentile(times, 10))


if __name__ == "__main__":
    main()
