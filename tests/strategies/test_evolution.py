"""Laws of regularised evolution besides those of every strategy."""

import numpy as np
import pytest
from pydantic import ValidationError

from hwnas.strategies.evolution import BATCH, Evolution
from hwnas.strategies.workshop import Workshop
from hwnas.testing.problems import choices_of, steps

SPACE = choices_of([4] * 10)


def asked(evaluations: int, *, population: int = 10, tournament: int = 5, seed: int = 0) -> np.ndarray:
    recorder = steps(SPACE)
    strategy = Evolution(evaluations=evaluations, population=population, tournament=tournament)
    strategy.search(recorder.problem(), Workshop(seed=seed))
    return np.array(recorder.asked)


@pytest.mark.parametrize("seed", range(3))
def test_children_differ_in_one_choice_from_a_network_that_is_alive(seed: int) -> None:
    rows_NC = asked(100, seed=seed)
    for first in range(10, 100, BATCH):
        alive_NC = rows_NC[first - 10 : first]
        for child_C in rows_NC[first : first + BATCH]:
            assert (alive_NC != child_C).sum(axis=1).min() == 1


def test_the_oldest_die_though_they_are_best() -> None:
    """The start is the fastest network, hence on the front; its neighbours are bred only while it is alive."""
    rows_NC = asked(200, tournament=10)
    steps_N = (rows_NC != rows_NC[0]).sum(axis=1)
    assert (steps_N[10:] > 0).all() and np.median(steps_N[100:]) > 2


def test_a_large_tournament_breeds_better_networks_than_none() -> None:
    def lowest(tournament: int) -> float:
        recorder = steps(choices_of([4] * 20))
        recorder.loss = lambda rows_NC: np.abs(rows_NC - np.arange(20) % 4).sum(axis=1).astype(float)
        Evolution(evaluations=150, tournament=tournament).search(recorder.problem(("loss",)), Workshop(seed=0))
        return float(recorder.loss(np.array(recorder.asked)).min())

    assert lowest(10) < lowest(1)


@pytest.mark.parametrize("options", [{"tournament": 0}, {"population": 3}, {"evaluations": 0}, {"starts": 4}])
def test_options_that_cannot_be_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Evolution(**options)
