"""Laws of draws: a cell is where the normalised row is, and groups of choices are independent."""

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.core.expectation import drawn_cells, independent_groups
from hwnas.core.space import SearchSpace


def every_draw(space: SearchSpace) -> np.ndarray:
    sizes = [len(choice.options) for choice in space.choices]
    return np.indices(sizes).reshape(len(sizes), -1).T


@given(st.data())
@settings(max_examples=100)
def test_a_cell_is_where_the_normalised_row_is(tied_spaces, data) -> None:
    space = data.draw(tied_spaces)
    scope = data.draw(st.lists(st.sampled_from(list(space.columns)), max_size=3, unique=True))
    names, cells = drawn_cells(scope, space.by_name)
    drawn = every_draw(space)
    normal = space.normalise(drawn)
    expected = np.zeros(len(drawn), dtype=int)
    for name in scope:
        expected = expected * len(space.choice(name).options) + normal[:, space.columns[name]]
    found = cells[tuple(drawn[:, space.columns[name]] for name in names)]
    assert np.array_equal(np.broadcast_to(found, len(drawn)), expected)


@given(st.data())
@settings(max_examples=100)
def test_groups_have_all_choices_once_and_no_draw_decides_two(tied_spaces, data) -> None:
    space = data.draw(tied_spaces)
    scope = data.draw(st.permutations(list(space.columns)))
    groups = independent_groups(scope, space.by_name)
    assert sorted(itertools.chain(*groups)) == sorted(scope)
    draws = [set(drawn_cells(group, space.by_name)[0]) for group in groups]
    assert not any(one & other for one, other in itertools.combinations(draws, 2))


def test_a_group_is_what_one_switch_decides_and_no_more(tiny_space) -> None:
    scope = ("stage1.block3.kernel", "stage2.width", "stage1.block2.kernel", "stage2.block1.kernel")
    assert independent_groups(scope, tiny_space.by_name) == [
        ("stage2.width",),
        ("stage1.block3.kernel", "stage1.block2.kernel"),
        ("stage2.block1.kernel",),
    ]
