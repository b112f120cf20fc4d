"""Axes as products of atoms."""

from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwnas.elastic.axes import Axis, axis, freeze, full_size, leaves, regrouped, unite

SIZES = st.lists(st.sampled_from([1, 2, 3, 4, 6]), min_size=1, max_size=4)


def reasons(one: Axis) -> list[str]:
    return [atom.reason for atom in leaves(one)]


@given(SIZES)
def test_what_is_split_and_joined_again_is_the_same_axis(sizes: list[int]) -> None:
    whole = axis(prod(sizes))
    (again,) = regrouped(regrouped([whole], list(sizes)), [prod(sizes)])
    assert leaves(again) == leaves(whole) and not any(reasons(whole))


@given(SIZES, SIZES)
def test_a_reshape_has_the_sizes_that_are_asked_for(first: list[int], second: list[int]) -> None:
    axes = [axis(size) for size in first]
    wanted = [*second, prod(first)] if prod(first) % prod(second) else [*second, prod(first) // prod(second)]
    if prod(wanted) == prod(first):
        assert [full_size(one) for one in regrouped(axes, list(wanted))] == wanted


def test_the_batch_goes_where_the_other_sizes_leave_it() -> None:
    batch, tokens, channels = axis(None), axis(16), axis(48)
    rows, columns = regrouped([batch, tokens, channels], [None, 48])
    assert leaves(rows) == leaves((*batch, *tokens)) and leaves(columns) == leaves(channels)
    assert regrouped([rows, columns], [None, 16, 48]) == [batch, tokens, channels]
    assert not any(reasons(channels)) and not any(reasons(tokens))


def test_axes_that_are_united_are_split_alike() -> None:
    first, second = axis(24), axis(24)
    unite(first, second)
    heads, rest = regrouped([first], [4, 6])
    assert leaves(second) == leaves((*heads, *rest))
    unite(heads, axis(4, "it is the output's"))
    assert reasons(second) == ["it is the output's", ""]


def test_an_axis_grouped_in_two_ways_that_do_not_fit_is_frozen() -> None:
    whole = axis(12)
    regrouped([whole], [4, 3])
    other = axis(12)
    regrouped([other], [6, 2])
    unite(whole, other)
    assert all(reasons(whole)) and all(reasons(other))


@pytest.mark.parametrize("sizes", [[5, 5], [None, None, 4]])
def test_a_reshape_across_axes_freezes_them(sizes: list[int | None]) -> None:
    axes = [axis(None), axis(10), axis(10)]
    found = regrouped(axes, sizes)
    assert all(reasons((*axes[1], *axes[2]))) and all(reasons(one) for one in found if one)


def test_the_first_reason_is_kept() -> None:
    one = axis(8)
    freeze([one], "first")
    freeze([one], "second")
    assert reasons(one) == ["first"]
