"""Laws of derivation: it is what enumeration finds, and choices that are off count neither for nor against."""

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hwnas
from hwnas.core.arch import Arch
from hwnas.core.arrays import FloatArray
from hwnas.core.choice import Choice, only_if
from hwnas.core.factors import Factor, total
from hwnas.core.space import SearchSpace
from hwnas.core.wiring import Chain
from hwnas.errors import BudgetError, SpaceError, TrainingError
from hwnas.strategies.gradient.derive import choice_factor, derive, log_scores

SEEDS = st.integers(0, 2**32 - 1)
Scores = Mapping[str, FloatArray]


def free_choices(space: SearchSpace) -> list[Choice]:
    return [choice for choice in space.choices if not choice.tied_to]


def whole_scores(space: SearchSpace, rng: np.random.Generator) -> dict[str, FloatArray]:
    """Whole numbers, so that sums are exact; no two of a choice's are equal."""
    return {c.name: rng.permutation(40)[: len(c.options)].astype(float) for c in free_choices(space)}


def costs(space: SearchSpace, rng: np.random.Generator) -> list[Factor]:
    """Whole numbers over pairs of choices, whatever switches those off."""
    factors = []
    for number in range(3):
        scope = tuple(dict.fromkeys(space.choices[i].name for i in rng.integers(0, len(space.choices), 2)))
        sizes = [len(space.choice(name).options) for name in scope]
        factors.append(Factor(f"cost{number}", scope, rng.integers(-40, 40, sizes).astype(float)))
    return factors


def is_on(choice: Choice, arch: Arch) -> bool:
    return not choice.when or any(all(arch[name] in options for name, options in clause) for clause in choice.when)


def regret(space: SearchSpace, scores: Scores, arch: Arch) -> float:
    """The sum of regrets as it is defined, choice by choice."""
    on = [choice for choice in free_choices(space) if is_on(choice, arch)]
    return sum(max(scores[c.name]) - scores[c.name][c.options.index(arch[c.name])] for c in on)


def depths(ends: tuple[float, ...] = (0.1, 0.9)) -> tuple[SearchSpace, dict[str, FloatArray]]:
    """A depth the search is clear about, and a kernel of the second block about which it is not."""
    kernel = Choice("kernel", (3, 5, 7), only_if({"depth": (2,)}))
    space = SearchSpace("deep", (Choice("depth", (1, 2)), kernel), Chain(()), (1,), 1)
    return space, {"depth": np.array(ends), "kernel": np.array([0.34, 0.33, 0.33])}


@given(st.data(), SEEDS, st.floats(0, 1))
@settings(max_examples=60)
def test_the_derived_architecture_is_what_enumeration_finds(tied_spaces, every_row, data, seed, share) -> None:
    space = data.draw(tied_spaces)
    rng = np.random.default_rng(seed)
    scores, limited = whole_scores(space, rng), costs(space, rng)
    rows = every_row(space)
    sums = total(limited, rows, space.columns)
    bound = float(np.quantile(sums, share, method="nearest"))  # one that some architecture attains
    arch = derive(space, scores, [(limited, bound)])
    assert total(limited, space.encode([arch]), space.columns)[0] <= bound
    assert regret(space, scores, arch) == min(regret(space, scores, space.decode(row)) for row in rows[sums <= bound])


@given(st.data(), SEEDS)
@settings(max_examples=60)
def test_without_limits_each_choice_that_is_on_has_its_best_option(tied_spaces, data, seed) -> None:
    space = data.draw(tied_spaces)
    scores = whole_scores(space, np.random.default_rng(seed))
    best = {name: int(values.argmax()) for name, values in scores.items()}
    assert derive(space, scores) == space.decode([best[choice.tied_to or choice.name] for choice in space.choices])


@given(st.data(), SEEDS, st.floats(0, 1))
@settings(max_examples=30)
def test_a_constant_added_to_all_scores_of_a_choice_changes_nothing(tied_spaces, every_row, data, seed, share) -> None:
    space = data.draw(tied_spaces)
    rng = np.random.default_rng(seed)
    scores, limited = whole_scores(space, rng), costs(space, rng)
    bound = float(np.quantile(total(limited, every_row(space), space.columns), share, method="nearest"))
    shifted = {name: values + rng.integers(-1000, 1000) for name, values in scores.items()}
    assert derive(space, shifted, [(limited, bound)]) == derive(space, scores, [(limited, bound)])


@given(st.data(), SEEDS, st.floats(0, 1))
@settings(max_examples=60)
def test_as_few_dropped_options_are_used_as_the_limits_allow(tied_spaces, every_row, data, seed, share) -> None:
    space = data.draw(tied_spaces)
    rng = np.random.default_rng(seed)
    scores, limited = whole_scores(space, rng), costs(space, rng)
    dropped = {name: np.where(rng.random(len(each)) < 0.4, -np.inf, each) for name, each in scores.items()}
    rows = every_row(space)
    sums = total(limited, rows, space.columns)
    bound = float(np.quantile(sums, share, method="nearest"))

    def uses(arch: Arch) -> int:
        on = [choice for choice in free_choices(space) if is_on(choice, arch)]
        return sum(dropped[c.name][c.options.index(arch[c.name])] == -np.inf for c in on)

    arch = derive(space, dropped, [(limited, bound)])
    assert total(limited, space.encode([arch]), space.columns)[0] <= bound
    assert uses(arch) == min(uses(space.decode(row)) for row in rows[sums <= bound])


def test_a_depth_that_is_clear_is_taken_though_the_likeliest_architecture_is_shallower() -> None:
    space, probabilities = depths(ends=(0.45, 0.55))
    assert 0.45 > 0.55 * 0.34  # the likeliest architecture
    assert dict(derive(space, log_scores(probabilities))) == {"depth": 2, "kernel": 3}


def test_the_first_option_of_a_choice_that_is_off_may_be_a_dropped_one() -> None:
    space, probabilities = depths(ends=(0.9, 0.1))
    dropped = {**probabilities, "kernel": np.array([0.0, 0.5, 0.5])}
    assert derive(space, log_scores(dropped))["depth"] == 1


def test_a_choice_of_dropped_options_alone_is_rather_switched_off() -> None:
    space, probabilities = depths()
    assert derive(space, {**log_scores(probabilities), "kernel": np.full(3, -np.inf)})["depth"] == 1


def test_only_what_meets_the_requirements_is_derived() -> None:
    space = hwnas.space("nasbench201", resolution=8, width=4, cells=1)
    none = np.array([0.9, 0.04, 0.03, 0.02, 0.01])
    arch = derive(space, log_scores({choice.name: none for choice in space.choices}))
    assert space.meets_requirements(space.encode([arch])).all()
    assert sorted(arch.values()) == ["none"] * 5 + ["skip_connect"]


def test_nothing_that_is_drawn_within_a_limit_is_better(tiny_space) -> None:
    rng = np.random.default_rng(0)
    scores = log_scores({c.name: rng.dirichlet(np.ones(len(c.options))) for c in free_choices(tiny_space)})
    bound = tiny_space.cost("params", tiny_space.smallest()) * 1.3
    arch = derive(tiny_space, scores, [(tiny_space.cost_factors("params"), bound)])
    assert tiny_space.cost("params", arch) <= bound
    rows = tiny_space.spread_rows(rng, 20_000)
    allowed = rows[tiny_space.costs("params", rows) <= bound]
    assert len(allowed) > 10
    drawn = [regret(tiny_space, scores, tiny_space.decode(row)) for row in allowed]
    assert regret(tiny_space, scores, arch) <= min(drawn)


def test_a_limit_that_nothing_meets_is_an_error(tiny_space) -> None:
    scores = {choice.name: np.zeros(len(choice.options)) for choice in tiny_space.choices}
    with pytest.raises(BudgetError, match="no architecture meets the limits"):
        derive(tiny_space, scores, [(tiny_space.cost_factors("params"), 1.0)])


@given(st.data(), SEEDS)
@settings(max_examples=30)
def test_a_choice_factor_is_the_value_of_its_option_where_it_is_on(tied_spaces, every_row, data, seed) -> None:
    space = data.draw(tied_spaces)
    choice = data.draw(st.sampled_from(space.choices))
    values = np.random.default_rng(seed).normal(size=len(choice.options))
    rows = every_row(space)
    archs = [space.decode(row) for row in rows]
    expected = [values[choice.options.index(arch[choice.name])] if is_on(choice, arch) else 0.0 for arch in archs]
    assert choice_factor(space, choice.name, values).at(rows, space.columns).tolist() == expected


def test_missing_scores_are_named() -> None:
    space, probabilities = depths()
    with pytest.raises(SpaceError, match=r"choice 'kernel' has 3 options and scores of shape \(2,\)"):
        derive(space, {**probabilities, "kernel": np.zeros(2)})
    with pytest.raises(SpaceError, match="choice 'kernel' has 3 options and no scores"):
        derive(space, {"depth": probabilities["depth"]})


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_score_that_is_no_number_is_an_error(value) -> None:
    space, probabilities = depths()
    with pytest.raises(TrainingError, match=r"scores of 'kernel'.*diverged"):
        derive(space, {**probabilities, "kernel": np.array([0.0, value, 0.0])})


def test_log_scores_are_finite_but_for_what_cannot_be_drawn() -> None:
    scores = log_scores({"a": np.array([0.5, 1e-30, 0.0])})["a"]
    assert scores[0] == np.log(0.5) and scores[1] == np.log(1e-6) and scores[2] == -np.inf
