"""Laws of search spaces: rows and architectures, conditions, counting, sampling, fingerprints."""

import json
import math
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

import hwnas
from hwnas.core.choice import Choice, only_if
from hwnas.core.layer import Layer
from hwnas.core.space import SearchSpace
from hwnas.core.wiring import Chain, Stage
from hwnas.errors import ArchError, SpaceError
from hwnas.operators.conv import ConvBlock
from hwnas.spaces import reload_space

SEEDS = st.integers(0, 2**32 - 1)
LIVE = ("conv", "skip")


def space_of(*choices: Choice, layers: tuple[Layer, ...] = (), classes: int = 3) -> SearchSpace:
    return SearchSpace("hand-made", choices, Chain(layers), (3, 8, 8), classes)


def raw_rows(space: SearchSpace, seed: int, count: int = 20) -> np.ndarray:
    """Rows as drawn, switched-off choices included."""
    sizes = [len(choice.options) for choice in space.choices]
    return np.random.default_rng(seed).integers(0, sizes, (count, len(sizes)))


@pytest.fixture
def cell() -> SearchSpace:
    """A cell of three nodes, whose two edges in series switch one another on; one of them has a kernel."""
    path = {"edge01": LIVE, "edge12": LIVE}
    return space_of(
        Choice("edge02", ("none", *LIVE)),
        Choice("edge01", ("none", *LIVE), only_if({"edge12": LIVE})),
        Choice("edge12", ("none", *LIVE), only_if({"edge01": LIVE})),
        Choice("kernel", (3, 5, 7), only_if({**path, "edge01": ("conv",)}, {**path, "edge12": ("conv",)})),
    )


# ---- rows and architectures


@given(st.data(), SEEDS)
def test_decode_is_the_inverse_of_encode(tied_spaces, data, seed) -> None:
    space = data.draw(tied_spaces)
    rows = space.sample_rows(np.random.default_rng(seed), 20)
    archs = [space.decode(row) for row in rows]
    assert np.array_equal(space.encode(archs), rows)


@given(st.data(), SEEDS)
def test_normalising_twice_is_normalising_once(tied_spaces, data, seed) -> None:
    space = data.draw(tied_spaces)
    once = space.normalise(raw_rows(space, seed))
    assert np.array_equal(space.normalise(once), once)


@given(st.data(), SEEDS)
def test_exactly_the_switched_off_choices_are_set_to_their_first_option(spaces, data, seed) -> None:
    space = data.draw(spaces)
    raw = raw_rows(space, seed, 1)[0]
    options = {choice.name: choice.options[i] for choice, i in zip(space.choices, raw, strict=True)}
    for choice, before, after in zip(space.choices, raw, space.normalise(raw[None])[0], strict=True):
        is_on = not choice.when or any(
            all(options[name] in allowed for name, allowed in clause) for clause in choice.when
        )
        assert after == (before if is_on else 0)


@given(st.data(), SEEDS)
def test_keys_are_equal_exactly_where_normalised_rows_are(tied_spaces, data, seed) -> None:
    space = data.draw(tied_spaces)
    raw = raw_rows(space, seed)
    keys = [space.decode(row).key for row in raw]
    assert len(set(keys)) == len(np.unique(space.normalise(raw), axis=0))


@given(st.data(), SEEDS)
def test_arch_may_leave_out_exactly_what_is_switched_off(spaces, data, seed) -> None:
    space = data.draw(spaces)
    (row,) = space.sample_rows(np.random.default_rng(seed), 1)
    whole = space.decode(row)
    missing = data.draw(st.sampled_from(space.choices))
    rest = {name: option for name, option in whole.items() if name != missing.name}
    if _is_on(space, missing, whole):
        with pytest.raises(
            ArchError, match=f"the architecture does not set '{missing.name}', which is switched on; add it"
        ):
            space.arch(rest)
    else:
        assert space.arch(rest) == whole


def _is_on(space: SearchSpace, choice: Choice, options) -> bool:
    return not choice.when or any(all(options[name] in allowed for name, allowed in clause) for clause in choice.when)


def test_what_is_said_of_a_switched_off_choice_makes_no_difference(tiny_space) -> None:
    smallest = {**tiny_space.smallest(), "stage1.depth": 1}
    archs = {tiny_space.arch({**smallest, "stage1.block3.kernel": kernel}) for kernel in (3, 5, 7)}
    assert len(archs) == 1


def test_equal_numbers_of_another_type_are_the_same_option(tiny_space) -> None:
    arch = tiny_space.smallest()
    assert tiny_space.arch({**arch, "stage2.depth": 2.0}).key == tiny_space.arch({**arch, "stage2.depth": 2}).key


def test_options_that_look_alike_as_text_are_told_apart() -> None:
    space = space_of(Choice("a", ("3", 3, 0.5, False)), Choice("b", (1, 2), only_if({"a": (3,)})))
    assert [space.decode([index, 1])["b"] for index in range(4)] == [1, 2, 1, 1]


def test_no_architectures_are_no_rows(tiny_space) -> None:
    assert tiny_space.encode([]).shape == (0, len(tiny_space.choices))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stage9.depth": 1}, "the space has no choice 'stage9.depth'; it has stage1.depth, "),
        ({"stage2.depth": 7}, r"'stage2.depth' cannot be 7; options: \(1, 2, 3\)"),
        ({"stage2.depth": [1]}, r"'stage2.depth' cannot be \[1\]; options: \(1, 2, 3\)"),
        ({"stage2.depth": None}, "'stage2.depth' cannot be None"),
    ],
)
def test_an_architecture_outside_the_space_is_refused(tiny_space, change, message) -> None:
    with pytest.raises(ArchError, match=message):
        tiny_space.arch({**tiny_space.smallest(), **change})


def test_encode_refuses_an_architecture_with_a_choice_missing(tiny_space) -> None:
    arch = dict(tiny_space.smallest())
    del arch["stage2.width"]
    with pytest.raises(ArchError, match=r"the architecture does not set 'stage2.width'; add it"):
        tiny_space.encode([arch])


@pytest.mark.parametrize("value", [[], [1], "stage1.depth", 5, None])
def test_an_architecture_that_is_no_mapping_is_refused(tiny_space, value) -> None:
    with pytest.raises(ArchError, match="is an object of choice names and options, not "):
        tiny_space.arch(value)


# ---- counting


@given(st.data())
def test_size_is_the_number_of_different_architectures(tied_spaces, every_row, data) -> None:
    space = data.draw(tied_spaces)
    assert space.size == len(every_row(space))


def test_size_counts_conditions_that_depend_on_one_another(cell, every_row) -> None:
    # Both edges dead: one. Both live: four, with three kernels unless both skip. Times three for edge02.
    assert cell.size == len(every_row(cell)) == 3 * (1 + 3 * 3 + 1)


def test_size_counts_either_of_two_mappings_once(every_row) -> None:
    either = only_if({"a": (1,)}, {"b": (1,)})
    space = space_of(Choice("a", (0, 1)), Choice("b", (0, 1)), Choice("c", (1, 2, 3), either), Choice("d", (1, 2)))
    assert space.size == len(every_row(space)) == (3 * 3 + 1) * 2


def test_size_is_exact_where_floats_are_not() -> None:
    choices = [Choice(f"c{number}", (1, 2, 3)) for number in range(60)]
    extra = Choice("extra", (1, 2), only_if({"c0": (1,)}))
    assert space_of(*choices, extra).size == 3**59 * (2 + 1 + 1)


def test_size_of_a_space_without_a_choice_is_one() -> None:
    assert space_of().size == 1


def test_a_space_without_a_choice_has_one_architecture() -> None:
    space, rng = space_of(layers=(block("a", 3, 4),), classes=4), np.random.default_rng(0)
    assert space.sample_rows(rng, 3).shape == space.spread_rows(rng, 3).shape == space.encode([{}] * 3).shape == (3, 0)
    assert space.arch({}) == space.sample(rng) == space.smallest() == space.largest()


def test_size_of_mobilenet_is_what_its_stages_multiply_to() -> None:
    space = hwnas.space("mobilenet")
    stages = [2 * sum((3 * 3) ** depth for depth in range(1, deepest + 1)) for deepest in (3, 3, 3, 2)]
    assert space.size == math.prod(stages)


# ---- sampling


def test_every_option_of_an_always_on_choice_is_equally_likely(tiny_space) -> None:
    rows = tiny_space.sample_rows(np.random.default_rng(0), 20_000)
    for column, choice in enumerate(tiny_space.choices):
        if not choice.when and len(choice.options) > 1:
            counts = np.bincount(rows[:, column], minlength=len(choice.options))
            assert chisquare(counts).pvalue > 1e-4, choice.name


def test_choices_are_drawn_independently(tiny_space) -> None:
    rows = tiny_space.sample_rows(np.random.default_rng(0), 20_000)
    names = [choice.name for choice in tiny_space.choices if not choice.when and len(choice.options) > 1]
    correlation = np.corrcoef(rows[:, [tiny_space.columns[name] for name in names]].T)
    assert np.abs(correlation - np.eye(len(names))).max() < 0.03


def test_sampling_reaches_every_architecture(cell, every_row) -> None:
    rng = np.random.default_rng(0)
    seen = Counter(cell.sample(rng) for _ in range(1_000))
    assert len(seen) == len(every_row(cell))


def test_samples_are_normalised_and_repeat_with_their_seed(tiny_space) -> None:
    rows, again = (tiny_space.sample_rows(np.random.default_rng(7), 100) for _ in range(2))
    assert np.array_equal(rows, again)
    assert np.array_equal(tiny_space.normalise(rows), rows)
    assert tiny_space.sample(np.random.default_rng(7)) == tiny_space.sample(np.random.default_rng(7))


def test_spread_rows_reach_smaller_and_larger_networks_than_independent_draws(tiny_space) -> None:
    def flops(rows: np.ndarray) -> np.ndarray:
        return np.sum([factor.at(rows, tiny_space.columns) for factor in tiny_space.cost_factors("flops")], axis=0)

    spread = tiny_space.spread_rows(np.random.default_rng(0), 500)
    independent = tiny_space.sample_rows(np.random.default_rng(0), 500)
    assert np.array_equal(tiny_space.normalise(spread), spread)
    assert flops(spread).min() < flops(independent).min()
    assert flops(spread).max() > flops(independent).max()


# ---- what cannot be


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("kernel", (), "choice 'kernel' has no options; give at least one"),
        ("kernel", (3, 5, 3), r"choice 'kernel' lists an option twice: \(3, 5, 3\)"),
        ("gate", (1, True), "choice 'gate' lists an option twice"),
        ("kernel", (3, (5, 5)), r"choice 'kernel': option \(5, 5\) is not a number or a string"),
    ],
)
def test_a_choice_that_cannot_be_is_refused(name, options, message) -> None:
    with pytest.raises(SpaceError, match=message):
        Choice(name, options)


def test_two_choices_of_one_name_are_refused() -> None:
    with pytest.raises(SpaceError, match="two choices are called 'kernel'; rename one"):
        space_of(Choice("kernel", (3, 5)), Choice("depth", (1, 2)), Choice("kernel", (5, 7)))


def test_two_layers_of_one_name_are_refused_also_in_a_stage() -> None:
    layer = Layer("block", (), lambda options: None)
    chain = Chain((layer, Stage("stage", "depth", (layer,))))
    with pytest.raises(SpaceError, match="space 'hand-made' has two layers called 'block'; rename one"):
        SearchSpace("hand-made", (Choice("depth", (1,)),), chain, (3, 8, 8), 3)


def test_a_scope_outside_the_space_is_refused() -> None:
    with pytest.raises(SpaceError, match="layer 'stem' depends on 'width', which is not a choice of 'hand-made'"):
        space_of(Choice("kernel", (3, 5)), layers=(Layer("stem", ("width",), lambda options: None),))


def block(name: str, channels_in: int, channels_out: int, *scope: str) -> Layer:
    """A convolution, absent where the choice in its scope is 0."""
    operator = ConvBlock(input_shape=(channels_in, 8, 8), channels=channels_out)
    return Layer(name, scope, lambda options: operator if all(options.values()) else None)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ((block("a", 4, 4),), r"layer 'a' takes \(4, 8, 8\), but its input has shape \(3, 8, 8\)"),
        (
            (block("a", 3, 4), block("b", 4, 6, "gate"), block("c", 4, 4)),
            r"layer 'c' takes \(4, 8, 8\), but its input has shape \(6, 8, 8\)",
        ),
    ],
)
def test_layers_that_do_not_fit_are_refused(layers, message) -> None:
    with pytest.raises(SpaceError, match=f"space 'hand-made': {message}"):
        space_of(Choice("gate", (0, 1)), layers=layers, classes=4)


def test_a_layer_that_is_absent_is_skipped_where_shapes_are_compared() -> None:
    space_of(Choice("gate", (0, 1)), layers=(block("a", 3, 4), block("b", 4, 4, "gate"), block("c", 4, 6)), classes=6)


@pytest.mark.parametrize("condition", [only_if({"kernel": (9,)}), only_if({"kernel": (3,)}, {"pool": ("max",)})])
def test_a_condition_that_cannot_hold_is_refused(condition) -> None:
    with pytest.raises(SpaceError, match=r"choice 'gate' is switched on by '\w+' in \(.*\), which cannot be"):
        space_of(Choice("kernel", (3, 5)), Choice("gate", (False, True), condition))


# ---- fingerprints


@pytest.mark.parametrize(
    "options",
    [{"resolution": 24}, {"channels": 1}, {"classes": 11}, {"width": 0.75}, {"squeeze_excite": "all"}],
    ids=lambda options: next(iter(options)),
)
def test_another_space_has_another_fingerprint(tiny_space, options) -> None:
    other = hwnas.space("mobilenet", **{"resolution": 16, "width": 0.5, **options})
    assert other.fingerprint != tiny_space.fingerprint


@given(st.data())
def test_any_change_of_a_choice_changes_the_fingerprint(spaces, data) -> None:
    space = data.draw(spaces)
    index = data.draw(st.integers(0, len(space.choices) - 1))
    choice = space.choices[index]
    changes = [replace(choice, options=(*choice.options, "one more"))]
    changes += [replace(choice, options=choice.options[::-1])] if len(choice.options) > 1 else []
    changes += [replace(choice, when=())] if choice.when else []
    changed = list(space.choices)
    changed[index] = data.draw(st.sampled_from(changes))
    assert replace(space, choices=tuple(changed)).fingerprint != space.fingerprint


def test_a_space_read_back_from_its_description_has_the_same_fingerprint(tiny_space) -> None:
    description = json.loads(json.dumps(tiny_space.describe()))
    assert reload_space(description).fingerprint == tiny_space.fingerprint


def test_a_fingerprint_is_the_same_in_another_process(tiny_space) -> None:
    code = "import hwnas; print(hwnas.space('mobilenet', resolution=16, width=0.5).fingerprint)"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == tiny_space.fingerprint
