"""Laws of local search besides those of every strategy."""

import numpy as np
import pytest
from pydantic import ValidationError

from hwnas.strategies.local import LocalSearch
from hwnas.strategies.neighbours import neighbours
from hwnas.strategies.pareto import non_dominated
from hwnas.strategies.workshop import Workshop
from hwnas.testing.problems import Recorder, choices_of, steps

SPACE = choices_of([4] * 8)


def searched(recorder: Recorder, evaluations: int, *, starts: int = 5, seed: int = 0) -> np.ndarray:
    LocalSearch(evaluations=evaluations, starts=starts).search(recorder.problem(), Workshop(seed=seed))
    return np.array(recorder.asked)


@pytest.mark.parametrize("seed", range(3))
def test_networks_after_the_start_are_neighbours_of_the_front_so_far(seed: int) -> None:
    recorder = steps(SPACE)
    rows_NC = searched(recorder, 60, seed=seed)
    points_ND = np.stack([recorder.loss(rows_NC), recorder.costs["latency"](rows_NC)], axis=1)
    for number in range(5, 60):
        fronts = (non_dominated(points_ND[:known]) for known in range(max(5, number - 4), number + 1))
        front_NC = np.concatenate([rows_NC[: len(front)][front] for front in fronts])
        assert (front_NC != rows_NC[number]).sum(axis=1).min() == 1


def one_valley() -> Recorder:
    """Returns a problem in which loss and latency agree, so that a front is one network: the first option of all choices."""
    recorder = steps(choices_of([3] * 6))
    recorder.loss = lambda rows_NC: np.asarray(np.asarray(rows_NC).sum(axis=1), dtype=float)
    return recorder


def test_all_neighbours_of_a_front_are_evaluated_before_a_restart() -> None:
    recorder = one_valley()
    rows_NC = searched(recorder, 14, starts=1)
    expected = {tuple(row.tolist()) for row in neighbours(recorder.space, rows_NC[0])}
    assert {tuple(row.tolist()) for row in rows_NC[1:13]} == expected


def test_a_search_that_is_stuck_begins_anew_elsewhere() -> None:
    recorder = one_valley()
    rows_NC = searched(recorder, 60, starts=1)
    assert len(rows_NC) == 60
    assert (rows_NC[13:] != rows_NC[0]).sum(axis=1).max() > 2


def test_a_single_objective_is_descended_to_its_lowest_loss() -> None:
    recorder = steps(SPACE)
    LocalSearch(evaluations=150, starts=2).search(recorder.problem(("loss",)), Workshop(seed=1))
    best = recorder.loss(np.full((1, 8), 3))[0]
    assert recorder.loss(np.array(recorder.asked)).min() == pytest.approx(best)


@pytest.mark.parametrize("options", [{"starts": 0}, {"population": 20}, {"evaluations": 0}])
def test_options_that_cannot_be_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        LocalSearch(**options)
