"""Laws of choices by themselves: no layer, no wiring, no space."""

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwnas.core.choice import Choice, only_if
from hwnas.core.choices import Choices
from hwnas.errors import ArchError, SpaceError

SEEDS = st.integers(0, 2**32 - 1)
DEPTH = Choice("depth", (1, 2))
KERNEL = Choice("kernel", (3, 5, 7), only_if({"depth": (2,)}))


@pytest.fixture(scope="module")
def drawn_choices(tied_spaces) -> st.SearchStrategy[Choices]:
    """Up to five choices, some conditional, some tied to others."""
    return tied_spaces.map(lambda space: space.choices)


def every_combination(choices: Choices) -> np.ndarray:
    sizes = [len(choice.options) for choice in choices]
    return np.indices(sizes).reshape(len(sizes), -1).T


@given(st.data(), SEEDS)
def test_decode_is_the_inverse_of_encode(drawn_choices, data, seed) -> None:
    choices = data.draw(drawn_choices)
    rows = choices.sample_rows(np.random.default_rng(seed), 20)
    assert np.array_equal(choices.encode([choices.decode(row) for row in rows]), rows)


@given(st.data())
def test_normalised_rows_are_as_many_as_the_size_and_stay_as_they_are(drawn_choices, data) -> None:
    choices = data.draw(drawn_choices)
    rows = np.unique(choices.normalise(every_combination(choices)), axis=0)
    assert len(rows) == choices.size
    assert np.array_equal(choices.normalise(rows), rows)


@given(st.data(), SEEDS)
def test_the_order_of_choices_changes_no_architecture(drawn_choices, data, seed) -> None:
    choices = data.draw(drawn_choices)
    shuffled = Choices(data.draw(st.permutations(choices)))
    arch = choices.sample(np.random.default_rng(seed))
    assert shuffled.decode(shuffled.encode([arch])[0]) == arch
    assert shuffled.size == choices.size
    assert [shuffled.columns[choice.name] for choice in shuffled] == list(range(len(choices)))


@given(st.data(), SEEDS)
def test_a_tied_choice_has_the_option_of_its_leader_or_is_off(drawn_choices, data, seed) -> None:
    choices = data.draw(drawn_choices)
    rows = choices.spread_rows(np.random.default_rng(seed), 20)
    for choice in choices:
        if choice.tied_to and not choice.when and not choices.by_name[choice.tied_to].when:
            assert np.array_equal(rows[:, choices.columns[choice.name]], rows[:, choices.columns[choice.tied_to]])


def test_only_architectures_that_meet_the_requirements_are_drawn() -> None:
    choices = Choices([DEPTH, KERNEL, Choice("width", (8, 16))], only_if({"depth": (2,), "width": (16,)}))
    rng = np.random.default_rng(0)
    rows = np.concatenate([choices.sample_rows(rng, 200), choices.spread_rows(rng, 200)])
    assert choices.meets_requirements(rows).all()
    assert {choices.decode(row)["kernel"] for row in rows} == {3, 5, 7}
    other = choices.encode([{"depth": 1, "kernel": 3, "width": 16}])
    assert not choices.meets_requirements(other).any()
    assert choices.size == (1 + 3) * 2  # every architecture counts


def test_requirements_that_hardly_any_architecture_meets_are_refused() -> None:
    switches = [Choice(f"switch{number}", (False, True)) for number in range(40)]
    all_on = only_if({switch.name: (True,) for switch in switches})
    with pytest.raises(SpaceError, match=r"hardly any architecture meets the requirements .*; relax them"):
        Choices(switches, all_on)


def test_choices_are_the_tuple_of_them() -> None:
    choices = Choices([DEPTH, KERNEL])
    assert choices == (DEPTH, KERNEL) and hash(choices) == hash((DEPTH, KERNEL))
    assert list(choices) == [DEPTH, KERNEL] and choices[1] is KERNEL and len(choices) == 2


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda choices: pickle.loads(pickle.dumps(choices))])
def test_a_copy_draws_the_same_architectures(copied) -> None:
    choices = Choices([DEPTH, KERNEL], only_if({"depth": (2,)}))
    other = copied(choices)
    assert isinstance(other, Choices) and other == choices and other.requires == choices.requires
    rows = [known.sample_rows(np.random.default_rng(3), 20) for known in (choices, other)]
    assert np.array_equal(*rows)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ([DEPTH, KERNEL, replace(DEPTH, options=(3,))], "two choices are called 'depth'; rename one"),
        ([KERNEL], r"choice 'kernel' is switched on by 'depth' in \(2,\), which cannot be"),
        ([replace(KERNEL, when=(), tied_to="depth")], "choice 'kernel' is tied to 'depth', which does not exist"),
        (
            [DEPTH, replace(DEPTH, name="b", tied_to="depth"), replace(DEPTH, name="c", tied_to="b")],
            "choice 'c' is tied to 'b', which does not exist or is tied itself",
        ),
        ([DEPTH, Choice("other", (2, 1), tied_to="depth")], "'other' is tied to 'depth', which has other options"),
    ],
)
def test_choices_that_do_not_fit_together_are_refused(choices, message) -> None:
    with pytest.raises(SpaceError, match=message):
        Choices(choices)


def test_requirements_on_an_option_that_is_missing_are_refused() -> None:
    with pytest.raises(SpaceError, match=r"architectures are drawn by 'depth' in \(9,\), which cannot be"):
        Choices([DEPTH], only_if({"depth": (9,)}))


def test_a_switched_off_choice_may_be_left_out_and_no_other() -> None:
    choices = Choices([DEPTH, KERNEL])
    assert choices.arch({"depth": 1}) == choices.arch({"depth": 1, "kernel": 7})
    with pytest.raises(ArchError, match="the architecture does not set 'kernel', which is switched on; add it"):
        choices.arch({"depth": 2})
    with pytest.raises(ArchError, match="the space has no choice 'stride'; it has depth, kernel"):
        choices.arch({"depth": 1, "stride": 2})
