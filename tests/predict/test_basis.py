"""Laws of a basis: the features of architectures, and factors of their weights, are two ways to one sum."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.core.factors import Factor, total
from hwnas.predict.basis import INTERCEPT, Basis, Feature

SIZES = {"a": 2, "b": 3, "c": 4}
COLUMNS = {name: column for column, name in enumerate(SIZES)}
EVERY_ROW = np.indices(tuple(SIZES.values())).reshape(len(SIZES), -1).T
SCOPES = st.lists(st.sampled_from(list(SIZES)), unique=True).map(tuple)
NAMES = st.sampled_from([(), ("x",), ("y",), ("x", "y")])


@st.composite
def tables(draw):
    """A factor over some choices, and features of its cells, some of them more than once."""
    scope = draw(SCOPES)
    expected = draw(st.sampled_from([0.0, 1.5])) * np.indices([SIZES[name] for name in scope]).sum(axis=0)
    names = st.tuples(st.sampled_from([("one",), ("one", "two"), ("three",)]), NAMES)
    drawn = draw(st.lists(st.tuples(st.integers(0, expected.size - 1), names, st.floats(-2, 2)), max_size=12))
    return Factor("".join(scope), scope, expected), [Feature(cell, *name, value) for cell, name, value in drawn]


BASES = st.builds(Basis.of, st.lists(tables(), max_size=4), st.floats(0.1, 10))


def table(scope: tuple[str, ...], *features: Feature) -> tuple[Factor, list[Feature]]:
    return Factor("".join(scope), scope, np.zeros([SIZES[name] for name in scope])), list(features)


def design(*drawn: tuple[Factor, list[Feature]]) -> np.ndarray:
    """Of every row, without the intercept."""
    return Basis.of(drawn, 1.0).design(EVERY_ROW, COLUMNS).toarray()[:, 1:]


@given(BASES, st.integers(0, 2**32 - 1))
def test_factors_of_any_weights_add_up_to_what_is_expected_and_the_weighted_features(basis: Basis, seed: int) -> None:
    weights_P = np.random.default_rng(seed).normal(size=len(basis.group_P))
    expected = total(basis.expected, EVERY_ROW, COLUMNS) + basis.design(EVERY_ROW, COLUMNS) @ weights_P
    assert total(basis.factors(weights_P), EVERY_ROW, COLUMNS) == pytest.approx(expected, abs=1e-9)


@given(BASES)
@settings(max_examples=40)
def test_weights_of_0_leave_what_is_expected(basis: Basis) -> None:
    corrected = basis.factors(np.zeros(len(basis.group_P)))
    assert [factor.name for factor in corrected] == [*(factor.name for factor in basis.expected), INTERCEPT]
    assert all(np.array_equal(one.values, other.values) for one, other in zip(basis.expected, corrected, strict=False))


@given(BASES)
@settings(max_examples=40)
def test_the_first_feature_is_an_intercept_in_a_group_of_its_own(basis: Basis) -> None:
    assert (basis.design(EVERY_ROW, COLUMNS).toarray()[:, 0] == basis.intercept).all()
    assert basis.groups[0] == (INTERCEPT,) and np.flatnonzero(basis.group_P == 0).tolist() == [0]
    factor = basis.factors(np.eye(len(basis.group_P))[0])[-1]
    assert (factor.name, factor.scope, float(factor.values)) == (INTERCEPT, (), basis.intercept)


@given(st.lists(tables(), max_size=4))
@settings(max_examples=40)
def test_every_group_is_named_once_and_has_features(drawn) -> None:
    basis = Basis.of(drawn, 1.0)
    found = {feature.group for _, features in drawn for feature in features}
    assert set(basis.groups) == found | {(INTERCEPT,)} and len(basis.groups) == len(set(basis.groups))
    names = {(feature.group, feature.name) for _, features in drawn for feature in features}
    counts = {group: sum(of == group for of, _ in names) for group in found}
    assert np.bincount(basis.group_P).tolist() == [1, *(counts[group] for group in basis.groups[1:])]


def test_features_of_one_name_share_a_weight_in_whichever_factor_they_are() -> None:
    shared = design(table(("a",), Feature(0, ("g",), ("x",), 2.0)), table(("b", "c"), Feature(11, ("g",), ("x",), 3.0)))
    expected = 2.0 * (EVERY_ROW[:, 0] == 0) + 3.0 * (EVERY_ROW[:, 1:] == [2, 3]).all(axis=1)
    assert shared.T.tolist() == [expected.tolist()]


def test_features_of_one_name_in_two_groups_are_two() -> None:
    assert design(table(("a",), Feature(0, ("g",), ("x",), 1.0), Feature(0, ("h",), ("x",), 1.0))).shape[1] == 2


def test_a_feature_of_one_name_twice_in_a_cell_counts_twice() -> None:
    twice = design(table(("a",), Feature(1, ("g",), (), 1.0), Feature(1, ("g",), (), 0.5)))
    assert twice[:, 0].tolist() == (1.5 * (EVERY_ROW[:, 0] == 1)).tolist()


def test_factors_of_one_scope_do_not_hide_one_another() -> None:
    one, other = (table(("b",), Feature(number, ("g",), (), 1.0)) for number in (0, 2))
    assert design(one, other)[:, 0].tolist() == np.isin(EVERY_ROW[:, 1], [0, 2]).tolist()


def test_cells_are_numbered_with_the_last_choice_of_a_scope_fastest() -> None:
    assert (
        design(table(("b", "a"), Feature(3, ("g",), (), 1.0)))[:, 0].tolist()
        == ((EVERY_ROW[:, 1] == 1) & (EVERY_ROW[:, 0] == 1)).tolist()
    )


@given(BASES)
@settings(max_examples=40)
def test_no_architectures_have_no_features(basis: Basis) -> None:
    assert basis.design(EVERY_ROW[:0], COLUMNS).shape == (0, len(basis.group_P))
