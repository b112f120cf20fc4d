"""Laws of neighbours and mutants.

Shapes: N architectures, C choices.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwnas.strategies.candidates import all_rows
from hwnas.strategies.neighbours import mutated, neighbours
from hwnas.testing.problems import choices_of

SIZES = st.lists(st.integers(1, 4), min_size=1, max_size=5)


@given(SIZES, st.booleans(), st.integers(0, 2**32 - 1))
def test_neighbours_are_the_networks_that_one_new_option_leads_to(
    sizes: list[int], conditional: bool, seed: int
) -> None:
    space = choices_of(sizes, conditional=conditional)
    row_C = space.sample_rows(np.random.default_rng(seed), 1)[0]
    expected = {
        tuple(space.normalise(np.array([[*row_C[:column], option, *row_C[column + 1 :]]]))[0].tolist())
        for column, size in enumerate(sizes)
        for option in range(size)
    } - {tuple(row_C.tolist())}
    found = [tuple(row.tolist()) for row in neighbours(space, row_C)]
    assert set(found) == expected and len(found) == len(expected)


@pytest.mark.parametrize("conditional", [False, True])
def test_steps_to_neighbours_lead_everywhere(conditional: bool) -> None:
    space = choices_of([3, 2, 3, 1, 2], conditional=conditional)
    reached, fresh = {(0,) * 5}, [(0,) * 5]
    while fresh:
        new = {tuple(row.tolist()) for row in neighbours(space, np.array(fresh.pop()))} - reached
        reached |= new
        fresh += new
    assert sorted(reached) == [tuple(row) for row in all_rows(space).tolist()]


@given(SIZES, st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_mutants_differ_in_as_many_choices_as_asked_or_as_there_are(sizes: list[int], choices: int, seed: int) -> None:
    space, rng = choices_of(sizes), np.random.default_rng(seed)
    parents_NC = space.sample_rows(rng, 20)
    before_NC = parents_NC.copy()
    mutants_NC = mutated(space, parents_NC, choices, rng)
    most = min(choices, sum(size > 1 for size in sizes))
    assert ((mutants_NC != parents_NC).sum(axis=1) == most).all()
    assert (mutants_NC >= 0).all() and (mutants_NC < np.array(sizes)).all()
    assert np.array_equal(parents_NC, before_NC)


@given(SIZES, st.integers(0, 2**32 - 1))
def test_mutants_are_normalised(sizes: list[int], seed: int) -> None:
    space, rng = choices_of(sizes, conditional=True), np.random.default_rng(seed)
    mutants_NC = mutated(space, space.sample_rows(rng, 20), 2, rng)
    assert np.array_equal(space.normalise(mutants_NC), mutants_NC)


def test_every_choice_and_every_other_option_is_equally_likely() -> None:
    space, rng = choices_of([4, 2, 3]), np.random.default_rng(0)
    parents_NC = np.repeat([[1, 0, 2]], 9000, axis=0)
    mutants_NC = mutated(space, parents_NC, 1, rng)
    rows_NC, counts_N = np.unique(mutants_NC, axis=0, return_counts=True)
    shares = {tuple(row.tolist()): count / 9000 for row, count in zip(rows_NC, counts_N, strict=True)}
    expected = {**{(option, 0, 2): 1 / 9 for option in (0, 2, 3)}, (1, 1, 2): 1 / 3, (1, 0, 0): 1 / 6, (1, 0, 1): 1 / 6}
    assert shares.keys() == expected.keys()
    assert all(shares[row] == pytest.approx(expected[row], abs=0.02) for row in expected)
