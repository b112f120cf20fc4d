"""Laws of LINAS: NSGA-II's population on good predictions is evaluated; the better of two predictors predicts."""

import numpy as np
import pytest

from hwnas.strategies.candidates import all_rows
from hwnas.strategies.learned import one_hot
from hwnas.strategies.linas import Linas, ridge_or_svr
from hwnas.strategies.workshop import Workshop
from hwnas.testing.problems import choices_of, steps


@pytest.mark.parametrize("kind", ["sum", "product"])
@pytest.mark.parametrize("unit", [1e-4, 1.0, 1e5])
def test_losses_of_any_unit_are_predicted(kind: str, unit: float) -> None:
    """Ridge regression fits sums; a product needs the other predictor."""
    space = choices_of([4] * 4)
    rows_NC = all_rows(space)
    step_C = np.array([0.4, 0.1, 0.3, 0.2])
    loss_N = unit * (1 + rows_NC @ step_C if kind == "sum" else np.prod(1 + rows_NC * step_C, axis=1))
    features_NF = one_hot(space, rows_NC)
    train = np.random.default_rng(0).permutation(len(rows_NC))[:120]
    predict = ridge_or_svr(features_NF[train], loss_N[train], 0)
    others = np.setdiff1d(np.arange(len(rows_NC)), train)
    assert np.corrcoef(predict(features_NF[others]), loss_N[others])[0, 1] > (0.99 if kind == "sum" else 0.95)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_handful_of_architectures_and_equal_losses_are_no_error(count: int) -> None:
    space = choices_of([4] * 4)
    features_NF = one_hot(space, all_rows(space))
    for value in (0.0, -3.0):
        predict = ridge_or_svr(features_NF[:count], np.full(count, value), 0)
        assert predict(features_NF) == pytest.approx(value)


def test_the_second_round_is_the_front_where_predictions_are_good() -> None:
    recorder = steps(choices_of([3] * 6))
    Linas(evaluations=160, per_round=80, predictions=2000).search(recorder.problem(), Workshop(seed=0))
    rows_NC = all_rows(recorder.space)
    points_ND = np.stack([recorder.loss(rows_NC), recorder.costs["latency"](rows_NC)], axis=1)
    dominated_N = (points_ND[None] < points_ND[:, None] - 1e-9).all(axis=2).any(axis=1)
    front = set(map(tuple, rows_NC[~dominated_N].tolist()))
    share = [len(front & set(asked)) / len(front) for asked in (recorder.asked[:80], recorder.asked)]
    assert share[0] < 0.4 and share[1] > 0.8


def test_bred_architectures_are_better_than_random_ones() -> None:
    recorder = steps(choices_of([4] * 20))
    Linas(evaluations=100, predictions=2000).search(recorder.problem(("loss",)), Workshop(seed=0))
    first_N, second_N = recorder.loss(np.array(recorder.asked[:50])), recorder.loss(np.array(recorder.asked[50:]))
    assert np.median(second_N) < first_N.min()


def test_losses_that_are_no_numbers_do_not_end_a_search() -> None:
    recorder = steps(choices_of([4] * 6))
    loss = recorder.loss
    recorder.loss = lambda rows_NC: np.where(rows_NC[:, 0] == 3, np.nan, loss(rows_NC))
    Linas(evaluations=80, per_round=40, predictions=400).search(recorder.problem(), Workshop(seed=0))
    assert len(recorder.asked) == 80


def test_a_space_that_is_nearly_exhausted_ends_after_the_predictions_asked_for() -> None:
    """Breeding goes on by generations, not until so many different architectures are predicted."""
    recorder = steps(choices_of([4] * 6))
    latency, predicted_rows = recorder.costs["latency"], []

    def counted(rows_NC: np.ndarray) -> np.ndarray:
        predicted_rows.append(len(rows_NC))
        return latency(rows_NC)

    recorder.costs = {**recorder.costs, "latency": counted}
    Linas(evaluations=80, per_round=40, predictions=4000).search(recorder.problem(), Workshop(seed=0))
    assert len(recorder.asked) == 80 and sum(predicted_rows) < 4 * 4000
