"""Laws of GBDT-NAS: after the first round the best predicted architectures are evaluated."""

import numpy as np
import pytest

from hwnas.strategies.candidates import all_rows
from hwnas.strategies.gbdt import Gbdt
from hwnas.strategies.learned import Predict, one_hot
from hwnas.strategies.workshop import Workshop
from hwnas.testing.problems import Recorder, choices_of, steps


def truth(recorder: Recorder) -> object:
    """A predictor that knows the loss, which is a sum over choices."""
    rows_NC = (
        all_rows(recorder.space)
        if len(recorder.space.choices) < 8
        else recorder.space.sample_rows(np.random.default_rng(0), 500)
    )
    weight_F = np.linalg.lstsq(one_hot(recorder.space, rows_NC), recorder.loss(rows_NC), rcond=None)[0]

    def fit(features_NF: np.ndarray, target_N: np.ndarray, seed: int) -> Predict:
        return lambda features_NF: features_NF @ weight_F

    return fit


def test_with_one_objective_the_best_predicted_of_a_whole_space_are_evaluated() -> None:
    recorder = steps(choices_of([4] * 5))
    Gbdt(evaluations=40, per_round=20).search_with(truth(recorder), recorder.problem(("loss",)), 0)
    rows_NC = all_rows(recorder.space)
    new_NC = np.array([row_C for row_C in rows_NC.tolist() if tuple(row_C) not in recorder.asked[:20]])
    best_N = np.sort(recorder.loss(new_NC))[:20]
    assert recorder.loss(np.array(recorder.asked[20:])) == pytest.approx(best_N)


def test_with_two_objectives_the_predicted_front_is_evaluated() -> None:
    recorder = steps(choices_of([4] * 4))
    Gbdt(evaluations=120, per_round=60).search_with(truth(recorder), recorder.problem(), 0)
    rows_NC = all_rows(recorder.space)
    points_ND = np.stack([recorder.loss(rows_NC), recorder.costs["latency"](rows_NC)], axis=1)
    dominated_N = (points_ND[None] < points_ND[:, None] - 1e-9).all(axis=2).any(axis=1)
    front = set(map(tuple, rows_NC[~dominated_N].tolist()))
    assert 20 < len(front) < 60
    assert front <= set(recorder.asked)


def test_in_a_space_too_large_to_enumerate_many_are_drawn_and_the_best_evaluated() -> None:
    recorder = steps(choices_of([4] * 20))
    Gbdt(evaluations=40, per_round=20).search_with(truth(recorder), recorder.problem(("loss",)), 0)
    random_N = recorder.loss(recorder.space.sample_rows(np.random.default_rng(1), 2000))
    assert recorder.loss(np.array(recorder.asked[20:])).max() < np.quantile(random_N, 0.01)


@pytest.mark.parametrize("prune", ["first-order", "second-order"])
def test_pruned_options_are_left_alone(prune: str) -> None:
    """The options harm together, so that either order of pruning takes one of them at least in the first round."""
    recorder = steps(choices_of([4] * 6))
    loss = recorder.loss

    def harmed(rows_NC: np.ndarray) -> np.ndarray:
        return (rows_NC[:, 0] == 0) & (rows_NC[:, 1] < 2)

    recorder.loss = lambda rows_NC: loss(rows_NC) + 20 * harmed(rows_NC)

    def same_for_all(features_NF: np.ndarray, target_N: np.ndarray, seed: int) -> Predict:
        return lambda features_NF: np.zeros(len(features_NF))

    Gbdt(evaluations=80, per_round=40, prune=prune).search_with(same_for_all, recorder.problem(("loss",)), 0)
    first, second = np.array(recorder.asked[:40]), np.array(recorder.asked[40:])
    assert harmed(first).any() and not harmed(second).any()


def test_losses_that_are_no_numbers_do_not_end_a_search() -> None:
    recorder = steps(choices_of([4] * 6))
    loss = recorder.loss
    recorder.loss = lambda rows_NC: np.where(rows_NC[:, 0] == 3, np.nan, loss(rows_NC))
    Gbdt(evaluations=80, per_round=40).search(recorder.problem(("loss",)), Workshop(seed=0))
    assert len(recorder.asked) == 80
    assert (np.array(recorder.asked[40:])[:, 0] == 3).mean() < 0.1
