"""The change of latency that the precision of a block makes, by a predictor.

Shapes: N architectures, C choices.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np

from hwnas.core.operations import precision_choices
from hwnas.core.precise import FLOAT32
from hwnas.core.space import SearchSpace
from hwnas.costs.predicted import PredictedCost

# Random networks that a block is looked at in, and blocks that a note names.
ROWS: Final = 500
NAMED: Final = 5


def saved_ms(space: SearchSpace, cost: PredictedCost) -> dict[str, dict[str, float]]:
    """Returns the milliseconds that each precision saves against float32, by precision and layer; negative where it is slower.

    They are means over random networks that have the layer, as predicted: the neighbours of the layer are in any precision.
    """
    rows_NC, result = space.sample_rows(np.random.default_rng(0), ROWS), dict[str, dict[str, float]]()
    for layer, name in precision_choices(space).items():
        options, column = space.choice(name).options, space.columns[name]
        if FLOAT32 not in options:
            continue
        rows = {}
        for number, option in enumerate(options):
            rows[option] = rows_NC.copy()
            rows[option][:, column] = number
            rows[option] = space.normalise(rows[option])
        for option in options:
            on_N = (rows[option] != rows[FLOAT32]).any(axis=1)
            if on_N.any():
                saved_N = cost.values(rows[FLOAT32][on_N]) - cost.values(rows[option][on_N])
                result.setdefault(str(option), {})[layer] = float(saved_N.mean())
    return result


def slower_words(precision: str, saved: Mapping[str, float], place: str) -> str:
    """Returns a sentence on the layers that a precision makes slower, the worst first; empty where there is none."""
    slower = sorted((ms, layer) for layer, ms in saved.items() if ms < 0)
    named = ", ".join(f"{layer} (+{-ms:.2g} ms)" for ms, layer in slower[:NAMED])
    more = f" and {len(slower) - NAMED} more" if len(slower) > NAMED else ""
    return (
        f"{precision} is predicted to be slower than {FLOAT32} {place} for {len(slower)} of {len(saved)} blocks: {named}{more}; "
        "there it saves bytes alone"
        if slower
        else ""
    )
