"""Architectures that a genetic search breeds on predictions, to be evaluated next.

Shapes: N architectures, C choices.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from hwnas.core.arrays import FloatArray, IntArray
from hwnas.strategies.evaluated import Evaluated
from hwnas.strategies.learned import Fit, predicted
from hwnas.strategies.pareto import best


def bred(
    evaluated: Evaluated, fit: Fit, count: int, predictions: int, seed: int, start_NC: IntArray | None = None
) -> IntArray:
    """Returns the new rows of the last of `count` bred architectures, filled up with the best predicted others; shape (N, C).

    NSGA-II breeds for two objectives or fewer, else U-NSGA-III, about as many generations as give so many `predictions`. It
    begins with `start_NC`, by default with rows spread over the costs.
    """
    from hwnas.strategies.genetic import last_population, usual_algorithm

    points = dict[bytes, FloatArray]()
    guess = predicted(evaluated, fit, seed)

    def evaluate(rows_NC: IntArray) -> Mapping[str, FloatArray]:
        metrics = guess.evaluate(rows_NC)
        points.update(zip((row_C.tobytes() for row_C in rows_NC), guess.points(rows_NC, metrics), strict=True))
        return metrics

    population_NC = last_population(
        replace(guess, evaluate=evaluate),
        usual_algorithm(len(guess.objectives)),
        generations=max(1, predictions // count),
        population=count,
        seed=seed,
        start_NC=start_NC,
    )
    new = {row: point for row, point in points.items() if row not in evaluated.points}
    last = [row for row in dict.fromkeys(row_C.tobytes() for row_C in population_NC) if row in new]
    others = [row for row in new if row not in set(last)]
    if others:
        order = best(np.array([new[row] for row in others]), count - len(last))
        last += [others[number] for number in order]
    return np.frombuffer(b"".join(last), dtype=np.int64).reshape(len(last), len(guess.space.choices))
