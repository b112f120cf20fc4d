"""Selectors that compare whole networks with the supernet's weights, all of them within the limits.

Shapes: N architectures, C choices.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from hwnas.core.arch import Arch
from hwnas.core.arrays import FloatArray, IntArray
from hwnas.costs.cost import Limit
from hwnas.costs.function import FunctionCost
from hwnas.strategies.gradient.selection import Selection, magnitude
from hwnas.strategies.nsga2 import Nsga2
from hwnas.strategies.problem import Problem
from hwnas.strategies.workshop import Workshop
from hwnas.tasks.task import Metric

# The number of networks that a zero-cost score compares.
CANDIDATES: Final = 100
# The number of rows drawn at a time, and the number of draws by probability, then again of draws around the likeliest row.
DRAW: Final = 4096
DRAWS: Final = 25


def zero_shot_networks(selection: Selection) -> Arch:
    """Returns the network with the highest zero-cost score among the likeliest and up to 100 others, drawn by probability.

    Mellor et al. 2021, section 5, but with a supernet's weights.
    """
    archs = [selection.space.decode(row_C) for row_C in _candidates(selection)]
    return max(archs, key=lambda arch: selection.proxy(selection.supernet.uncalibrated(arch)))


def evolution(selection: Selection) -> Arch:
    """Returns the network of least validation loss among those that NSGA-II breeds within the limits, on supernet weights.

    The second stage of SPOS (Guo et al. 2020, section 3.4). The search begins at the likeliest architecture, and uses no
    more dropped options (probability 0) than that one does.
    """
    space, losses = selection.space, dict[bytes, float]()
    likeliest_1C = space.encode([magnitude(selection)])
    allowed = replace(selection, limits=selection.undropped(likeliest_1C))

    def evaluate(rows_NC: IntArray) -> Mapping[str, FloatArray]:
        loss_N = selection.losses(rows_NC)
        losses.update(zip((row_C.tobytes() for row_C in rows_NC), loss_N.tolist(), strict=True))
        return {"loss": loss_N}

    outside = FunctionCost("outside the limits", "", lambda rows_NC: np.where(allowed.within(rows_NC), 0.0, 1.0))
    problem = Problem(
        space=space,
        objectives=("loss",),
        metrics=(Metric(name="loss"),),
        costs={},
        evaluate=evaluate,
        limits=(Limit(outside, 0.5),),
        start_C=likeliest_1C[0],
    )
    Nsga2(evaluations=selection.evaluations).search(problem, Workshop(seed=selection.seed))
    if not losses:
        return magnitude(selection)
    best = min(losses, key=losses.__getitem__)
    return space.decode(np.frombuffer(best, dtype=np.int64))


def _candidates(selection: Selection) -> IntArray:
    """Returns the likeliest architecture and different ones drawn by probability, all within the limits; shape (N, C).

    Where draws give too few, a random share of the likeliest row's choices is drawn anew.
    """
    space, rng = selection.space, np.random.default_rng(selection.seed)
    likeliest_1C = space.encode([magnitude(selection)])
    feasible_rows = {likeliest_1C[0].tobytes(): likeliest_1C[0]}
    for attempt in range(2 * DRAWS):
        rows_NC = _drawn(selection, rng)
        if attempt >= DRAWS:
            anew_NC = rng.random(rows_NC.shape) < rng.random((DRAW, 1))
            rows_NC = np.where(anew_NC, rows_NC, likeliest_1C)
        rows_NC = space.normalise(rows_NC)
        for row_C in rows_NC[selection.within(rows_NC)]:
            feasible_rows.setdefault(row_C.tobytes(), row_C)
            if len(feasible_rows) > CANDIDATES:
                return np.array(list(feasible_rows.values()))
    return np.array(list(feasible_rows.values()))


def _drawn(selection: Selection, rng: np.random.Generator) -> IntArray:
    """Returns rows with every choice drawn by its probabilities, not normalised; shape (DRAW, C)."""
    rows_NC = np.zeros((DRAW, len(selection.space.choices)), dtype=np.int64)
    for name, column in selection.space.columns.items():
        if name in selection.probabilities:
            exact = np.asarray(selection.probabilities[name], dtype=float)
            rows_NC[:, column] = rng.choice(len(exact), DRAW, p=exact / exact.sum())
    return rows_NC
