"""Differences of a front in validation examples: networks that differ by a few examples differ by luck."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from hwnas.runs.front import FrontRow

ACCURACY: Final = "accuracy_val"
TOLERANCE: Final = 1e-3


def examples_note(front: Sequence[FrontRow], data: Mapping[str, Any]) -> str:
    """Returns a line on the accuracies of neighbours in a front, in validation examples; empty where they do not count examples.

    `data` are the facts of the run's data. The error bar is the standard deviation of an accuracy over validation sets of that
    size, at the front's mean accuracy.
    """
    count = data.get("sizes", {}).get("validation", 0)
    right = [row.metrics[ACCURACY] * count for row in front if ACCURACY in row.metrics]
    if not count or len(right) != len(front) or any(abs(one - round(one)) > TOLERANCE for one in right):
        return ""
    mean = sum(right) / len(right) / count
    bar = 100 * math.sqrt(mean * (1 - mean) / count)
    said = f"val accuracy: 1 of {count:,} validation examples is {100 / count:.2g} %, chance alone ± {bar:.2g} %"
    apart = [abs(round(one) - round(other)) for one, other in pairwise(right)]
    return f"{said}; rows differ from the next by {', '.join(map(str, apart))} examples" if apart else said
