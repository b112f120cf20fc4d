"""Laws of coarse-to-fine search besides those of every strategy."""

import numpy as np
import pytest
from pydantic import ValidationError

from hwnas.core.choice import Choice
from hwnas.core.choices import Choices
from hwnas.core.space import SearchSpace
from hwnas.core.wiring import Chain
from hwnas.spaces import load_space
from hwnas.spaces.loading import SPACES
from hwnas.strategies.coarse import GRID, grid, kinds
from hwnas.strategies.coarse_to_fine import BATCH, CoarseToFine
from hwnas.strategies.pareto import non_dominated
from hwnas.strategies.workshop import Workshop
from hwnas.testing.problems import Recorder, steps


def named(**sizes: int) -> SearchSpace:
    """Returns a space without layers; underscores of names stand for dots."""
    choices = [Choice(name.replace("_", "."), tuple(range(size))) for name, size in sizes.items()]
    return SearchSpace("named", Choices(choices), Chain(()), (1,), 1)


STAGES = named(a_depth=2, a_kernel=3, b_depth=3, b_kernel=3, c_depth=3, c_kernel=3, d_depth=3, d_kernel=3)


def asked(recorder: Recorder, evaluations: int, *, coarse: int = 50, seed: int = 0) -> np.ndarray:
    CoarseToFine(evaluations=evaluations, coarse=coarse).search(recorder.problem(), Workshop(seed=seed))
    return np.array(recorder.asked)


def test_a_grid_that_is_infeasible_whole_gives_way_to_random_networks() -> None:
    recorder = steps(STAGES, bounds={"latency": 3.0})
    recorder.costs = {
        **recorder.costs,
        "latency": lambda rows_NC: np.where(np.asarray(rows_NC)[:, 1:3].sum(axis=1) == 1, 1.0, 9.0),
    }
    assert len(asked(recorder, 12)) == 12


def test_choices_are_alike_where_the_last_part_of_the_name_and_the_number_of_options_agree() -> None:
    assert kinds(STAGES).tolist() == [0, 1, 2, 1, 2, 1, 2, 1]
    assert kinds(named(edge0=4, edge1=4, edge10=4, other=4)).tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize("name", SPACES)
def test_a_grid_of_every_space_is_small_valid_and_alike_within_kinds(name: str) -> None:
    space = load_space(name)
    rows_NC, kind_C = grid(space, np.random.default_rng(0)), kinds(space)
    assert 2 <= len(rows_NC) <= GRID
    assert len(np.unique(rows_NC, axis=0)) == len(rows_NC)
    for row_C in rows_NC:
        for kind in set(kind_C.tolist()):
            assert len(set(row_C[kind_C == kind]) - {0}) <= 1  # a choice that is switched off is at its first option
    assert np.array_equal(space.normalise(rows_NC), rows_NC)


def test_the_whole_grid_comes_first_where_it_is_small() -> None:
    rows_NC = asked(steps(STAGES), 100)
    kind_C = kinds(STAGES)
    alike_N = np.array([all(len(set(row_C[kind_C == kind])) == 1 for kind in range(3)) for row_C in rows_NC])
    assert alike_N[:18].all()
    assert len(rows_NC) == 100 and not alike_N[18:].any()


def test_a_large_grid_is_sampled() -> None:
    space = named(**dict.fromkeys("abcdefghij", 4))
    rows_NC = grid(space, np.random.default_rng(0))
    assert 900 < len(rows_NC) <= GRID
    assert not np.array_equal(rows_NC, grid(space, np.random.default_rng(1)))


@pytest.mark.parametrize("seed", range(3))
def test_fine_networks_differ_in_one_choice_from_a_network_that_was_not_dominated(seed: int) -> None:
    recorder = steps(STAGES)
    rows_NC = asked(recorder, 78, coarse=18, seed=seed)
    points_ND = np.stack([recorder.loss(rows_NC), recorder.costs["latency"](rows_NC)], axis=1)
    for first in range(18, 78, BATCH):
        front_NC = rows_NC[:first][non_dominated(points_ND[:first])]
        for child_C in rows_NC[first : first + BATCH]:
            assert (front_NC != child_C).sum(axis=1).min() == 1


def test_a_grid_beyond_every_limit_leaves_the_start_and_what_is_near() -> None:
    recorder = steps(STAGES, bounds={"away": 2.0})
    recorder.start_C = np.array([0, 1, 2, 0, 1, 2, 0, 1])
    recorder.costs = {
        **recorder.costs,
        "away": lambda rows_NC: (np.asarray(rows_NC) != recorder.start_C).sum(axis=1).astype(float),
    }
    rows_NC = asked(recorder, 40)
    assert rows_NC[0].tolist() == recorder.start_C.tolist()
    assert len(rows_NC) == 40


@pytest.mark.parametrize("options", [{"coarse": 0}, {"evaluations": 0}, {"population": 20}])
def test_options_that_cannot_be_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        CoarseToFine(**options)
