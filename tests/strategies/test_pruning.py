"""Laws of pruning: it takes options that harm, never what a space needs.

Shapes: N architectures, F features.
"""

from collections.abc import Callable

import numpy as np
import pytest

from hwnas.core.operations import tie
from hwnas.core.space import SearchSpace
from hwnas.predict.trees import RegressionTrees
from hwnas.strategies.candidates import all_rows
from hwnas.strategies.learned import one_hot
from hwnas.strategies.pruning import ORDERS, SHARE, Kept, first_order, pruned, second_order
from hwnas.testing.problems import choices_of

every_order = pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS.keys())


def gone(kept: Kept) -> list[int]:
    return np.flatnonzero(~kept.kept_F).tolist()


def trees_of(space: SearchSpace, *losses: Callable[[np.ndarray], np.ndarray]) -> tuple[list, np.ndarray]:
    """Trees fitted to losses of all architectures, and the features of these."""
    rows_NC = all_rows(space)
    features_NF = one_hot(space, rows_NC)
    return [RegressionTrees.fit(features_NF, loss(rows_NC).astype(float), 0) for loss in losses], features_NF


def harm_of_options(rows_NC: np.ndarray) -> np.ndarray:
    """Option 2 of the first choice harms most, then option 0 of the last."""
    return 5 * (rows_NC[:, 0] == 2) + 2 * (rows_NC[:, 3] == 0)


def test_first_order_pruning_takes_the_most_harmful_options_first() -> None:
    space = choices_of([4] * 4)
    trees, features_NF = trees_of(space, harm_of_options)
    assert list(first_order(trees, features_NF, Kept.all_of(space)))[:2] == [2, 12]


def test_what_harms_one_objective_and_helps_another_is_kept() -> None:
    space = choices_of([4] * 4)
    trees, features_NF = trees_of(space, harm_of_options, lambda rows_NC: np.where(rows_NC[:, 0] == 2, -1.0, 0.0))
    order = list(first_order(trees, features_NF, Kept.all_of(space)))
    assert 2 not in order
    trees, features_NF = trees_of(space, harm_of_options, harm_of_options)
    assert list(first_order(trees, features_NF, Kept.all_of(space)))[:2] == [2, 12]


def test_second_order_pruning_takes_options_that_harm_together() -> None:
    space = choices_of([4] * 4)

    def harm_of_a_pair(rows_NC: np.ndarray) -> np.ndarray:
        return (rows_NC[:, 1] == 3) & (rows_NC[:, 2] == 1)

    trees, features_NF = trees_of(space, harm_of_a_pair)
    assert list(second_order(trees, features_NF, Kept.all_of(space)))[:2] == [7, 9]


@every_order
def test_a_round_prunes_at_most_its_share_and_never_the_last_option(order) -> None:
    space = choices_of([3, 1, 2, 4])
    rng = np.random.default_rng(0)
    trees, features_NF = trees_of(space, lambda rows_NC: rng.normal(size=len(rows_NC)))
    kept = Kept.all_of(space)
    for _ in range(5):
        after = pruned(order, trees, features_NF, kept)
        assert len(gone(after)) - len(gone(kept)) <= int(np.ceil(SHARE * 10))
        assert set(gone(kept)) <= set(gone(after))
        assert all(options.any() for options in after.by_choice)
        kept = after
    assert gone(kept)


def test_the_first_option_of_a_choice_that_others_switch_off_is_kept() -> None:
    space = choices_of([3, 3], conditional=True)
    kept = Kept.all_of(space)
    assert gone(kept.without(3)) == []
    assert gone(kept.without(4)) == [4]
    assert gone(kept.without(0)) == [0]


def test_options_of_tied_choices_are_kept(small_space: SearchSpace) -> None:
    space = tie(small_space, "stage1.block[12].kernel")
    starts = np.cumsum([0, *(len(choice.options) for choice in space.choices)])
    tied = [int(start) for start, choice in zip(starts, space.choices, strict=False) if choice.tied_to]
    assert tied and all(gone(Kept.all_of(space).without(feature + 1)) == [] for feature in tied)


@pytest.mark.parametrize("conditional", [False, True])
def test_drawn_architectures_have_no_pruned_option_and_all_others(conditional: bool) -> None:
    space = choices_of([3, 4, 3], conditional=conditional)
    kept = Kept.all_of(space).without(4).without(5).without(9)
    rng = np.random.default_rng(0)
    drawn_NC = kept.redrawn(space.sample_rows(rng, 500), rng)
    assert kept.allows(drawn_NC).all()
    rows_NC = all_rows(space)
    assert set(map(tuple, drawn_NC.tolist())) == set(map(tuple, rows_NC[kept.allows(rows_NC)].tolist()))
    assert np.array_equal(kept.allows(rows_NC), (one_hot(space, rows_NC)[:, [4, 5, 9]] == 0).all(axis=1))
