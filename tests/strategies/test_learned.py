"""Laws of what strategies with predictors share."""

import numpy as np
import pytest

from hwnas.strategies.candidates import all_rows
from hwnas.strategies.evaluated import Evaluated
from hwnas.strategies.learned import Predict, one_hot, predicted
from hwnas.testing.problems import choices_of, steps


def least_squares(features_NF: np.ndarray, target_N: np.ndarray, seed: int) -> Predict:
    weight_F = np.linalg.lstsq(features_NF, target_N, rcond=None)[0]
    return lambda features_NF: features_NF @ weight_F


@pytest.mark.parametrize("conditional", [False, True])
def test_features_have_a_one_per_choice_and_tell_architectures_apart(conditional: bool) -> None:
    space = choices_of([3, 2, 4], conditional=conditional)
    rows_NC = all_rows(space)
    features_NF = one_hot(space, rows_NC)
    assert features_NF.shape == (len(rows_NC), 9)
    assert (features_NF.sum(axis=1) == 3).all()
    assert len(np.unique(features_NF, axis=0)) == len(rows_NC)


def test_features_of_rows_that_are_one_network_are_equal() -> None:
    space = choices_of([3, 2, 4], conditional=True)
    first, second = one_hot(space, np.array([[0, 1, 3], [0, 0, 2]]))
    assert np.array_equal(first, second)


def test_what_was_evaluated_is_kept_in_order() -> None:
    recorder = steps(choices_of([4] * 5))
    evaluated = Evaluated(most=1000, problem=recorder.problem())
    rows_NC = all_rows(recorder.space)[[70, 3, 500]]
    for part_NC in (rows_NC[:1], rows_NC[1:]):
        evaluated.add(part_NC)
    assert np.array_equal(evaluated.rows, rows_NC)
    assert np.array_equal(evaluated.finite_points[:, 0], recorder.loss(rows_NC))


def test_the_worst_value_stands_for_one_that_is_not_finite() -> None:
    recorder = steps(choices_of([4] * 5))
    recorder.loss = lambda rows_NC: np.array([1.0, np.nan, 3.0, np.inf])
    evaluated = Evaluated(most=1000, problem=recorder.problem())
    evaluated.add(all_rows(recorder.space)[:4])
    assert evaluated.finite_points[:, 0].tolist() == [1.0, 3.0, 3.0, 3.0]
    recorder.loss = lambda rows_NC: np.full(len(rows_NC), np.nan)
    nothing = Evaluated(most=1000, problem=recorder.problem())
    nothing.add(all_rows(recorder.space)[4:6])
    assert nothing.finite_points[:, 0].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("metric", ["loss", "accuracy"])
def test_a_predicted_problem_minimises_predictions_and_has_exact_costs(metric: str) -> None:
    recorder = steps(choices_of([4] * 5))
    problem = recorder.problem((metric, "latency", "size"))
    evaluated = Evaluated(most=1000, problem=problem)
    rows_NC = all_rows(recorder.space)
    evaluated.add(np.random.default_rng(0).permutation(rows_NC)[:60])
    guess = predicted(evaluated, least_squares, 0)
    points_ND = guess.points(rows_NC, guess.evaluate(rows_NC))
    # The loss is a sum over choices, so a linear fit to enough architectures is exact.
    columns = [recorder.loss(rows_NC), recorder.costs["latency"](rows_NC), recorder.costs["size"](rows_NC)]
    assert points_ND == pytest.approx(np.stack(columns, axis=1))
    assert len(recorder.asked) == 60
