"""The parts that strategies with predictors share: features, problems with predicted metrics, and rounds.

Shapes: N architectures, C choices, F one-hot features (one per option of every choice), D objectives.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from hwnas.core.arrays import FloatArray, IntArray
from hwnas.core.space import SearchSpace
from hwnas.strategies.evaluated import Evaluated
from hwnas.strategies.problem import Problem
from hwnas.strategies.start import first_rows
from hwnas.tasks.task import Metric

# From features (N, F) to predictions (N,).
Predict = Callable[[FloatArray], FloatArray]
# From features (N, F), targets (N,) that are finite, and a seed to a fitted predictor.
Fit = Callable[[FloatArray, FloatArray, int], Predict]
# From a number to so many rows (N, C).
Draw = Callable[[int], IntArray]


def one_hot(space: SearchSpace, rows_NC: IntArray) -> FloatArray:
    """Returns 1 for each option that an architecture has, else 0; shape (N, F).

    The features of a choice are consecutive, in the order of its options. A choice that others switch off is at its first
    option.
    """
    rows_NC = space.normalise(rows_NC)
    blocks = [np.eye(len(choice.options))[rows_NC[:, column]] for column, choice in enumerate(space.choices)]
    return np.concatenate(blocks, axis=1)


def predicted(evaluated: Evaluated, fit: Fit, seed: int) -> Problem:
    """Returns the problem with predictions in place of evaluations; its metrics are minimised, its costs are exact.

    One predictor per objective that is a metric is fitted to all evaluated architectures.
    """
    problem = evaluated.problem
    features_NF, points_ND = one_hot(problem.space, evaluated.rows), evaluated.finite_points
    predictors = {
        name: fit(features_NF, points_ND[:, number], seed)
        for number, name in enumerate(problem.objectives)
        if name not in problem.costs
    }

    def evaluate(rows_NC: IntArray) -> Mapping[str, FloatArray]:
        features_NF = one_hot(problem.space, rows_NC)
        return {name: predict(features_NF) for name, predict in predictors.items()}

    return replace(problem, metrics=tuple(Metric(name=name) for name in predictors), evaluate=evaluate)


def search_in_rounds(
    problem: Problem,
    propose: Callable[[Evaluated], IntArray],
    *,
    evaluations: int,
    per_round: int,
    rng: np.random.Generator,
    draw: Draw | None = None,
) -> None:
    """Evaluates `per_round` given and random architectures, then what `propose` returns, round after round.

    `propose` returns new feasible rows, at most `per_round`. Random rows take their place where it returns none. Whole
    rounds are proposed, so that more evaluations begin with the same architectures. `draw` draws the random rows, by default
    with equal probabilities.
    """
    evaluated = Evaluated(problem, evaluations)
    draw = draw or partial(problem.space.sample_rows, rng)
    rows_NC = first_rows(problem, problem.feasible(draw, per_round, rng), per_round)
    while len(rows_NC):
        evaluated.add(rows_NC)
        if not evaluated.room:
            return
        rows_NC = propose(evaluated)
        if len(rows_NC) == 0:
            rows_NC = problem.feasible(draw, per_round, rng, known=evaluated.points)
