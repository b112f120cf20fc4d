"""Laws of the exact optimum: it is what enumeration finds, limits included."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.core.choice import Choice, only_if
from hwnas.core.factors import Factor, total
from hwnas.core.layer import Layer
from hwnas.core.optimum import minimise
from hwnas.core.space import SearchSpace
from hwnas.core.wiring import Chain
from hwnas.errors import BudgetError

SEEDS = st.integers(0, 2**32 - 1)


def whole_factors(space: SearchSpace, rng: np.random.Generator, count: int = 3) -> tuple[Factor, ...]:
    """Factors of whole numbers, so that sums are exact, over any choices, whether or not something switches them off."""
    factors = []
    for number in range(count):
        drawn = rng.choice(len(space.choices), rng.integers(0, len(space.choices), endpoint=True), replace=False)
        scope = tuple(space.choices[i].name for i in drawn)
        shape = [len(space.choice(name).options) for name in scope]
        factors.append(Factor(f"factor{number}", scope, np.array(rng.integers(-40, 40, shape), dtype=float)))
    return tuple(factors)


@given(st.data(), SEEDS)
@settings(max_examples=60)
def test_the_minimum_is_what_enumeration_finds(tied_spaces, every_row, data, seed) -> None:
    space = data.draw(tied_spaces)
    objective = whole_factors(space, np.random.default_rng(seed))
    best = minimise(space.choices, objective)
    expected = total(objective, every_row(space), space.columns).min()
    assert total(objective, space.encode([best]), space.columns)[0] == expected


def box_factors(space: SearchSpace, rng: np.random.Generator, count: int = 4) -> tuple[Factor, ...]:
    """What leaves of trees are: a number where every choice has some of its options, and 0 elsewhere."""
    factors = []
    for number, factor in enumerate(whole_factors(space, rng, count)):
        inside = np.ones(factor.values.shape)
        for axis, size in enumerate(factor.values.shape):
            inside *= (rng.random(size) < 0.5).reshape([-1 if other == axis else 1 for other in range(inside.ndim)])
        factors.append(Factor(f"box{number}", factor.scope, inside * rng.integers(-40, 40)))
    return tuple(factors)


@given(st.data(), SEEDS, st.floats(0, 1))
@settings(max_examples=60)
def test_options_that_factors_do_not_tell_apart_change_no_optimum(tied_spaces, every_row, data, seed, share) -> None:
    space = data.draw(tied_spaces)
    require_optimum_among(space, every_row(space), seed, share)


def test_what_presolving_calls_infeasible_is_found(every_row) -> None:
    """A drawn example for which HiGHS's presolve is wrong."""
    options = (0, 1, 2.0)
    conditions = {
        "choice0": (),
        "choice1": ((("choice0", options),), (("choice0", (0,)),)),
        "choice2": ((("choice1", options), ("choice0", options)),),
        "choice3": (),
    }
    choices = tuple(
        Choice(name, options, when, tied_to="" if name == "choice0" else "choice0") for name, when in conditions.items()
    )
    layer = Layer("layer", tuple(conditions), lambda options: None)
    space = SearchSpace("drawn", choices, Chain((layer,)), (1,), 1)
    require_optimum_among(space, every_row(space), seed=2025329, share=0.5)


@pytest.mark.parametrize(("seed", "share"), [(1, 0.0), (1, 0.3), (195, 0.3), (266, 0.3)])
def test_what_presolving_takes_for_the_optimum_and_is_not_is_found(every_row, seed: int, share: float) -> None:
    """A drawn example for which HiGHS's presolve gives a worse solution than enumeration."""
    options = (0, 1, -1, 2)
    choices = (
        Choice("choice0", options),
        Choice("choice1", options, ((("choice0", options),),), tied_to="choice0"),
        Choice("choice2", (0, 1)),
        Choice("choice3", (0, 1), tied_to="choice2"),
    )
    layer = Layer("layer", tuple(choice.name for choice in choices), lambda options: None)
    space = SearchSpace("drawn", choices, Chain((layer,)), (1,), 1)
    require_optimum_among(space, every_row(space), seed, share)


def require_optimum_among(space: SearchSpace, rows: np.ndarray, seed: int, share: float) -> None:
    """Of factors that cannot tell some options apart, under a limit that this share of the rows meets."""
    rng = np.random.default_rng(seed)
    boxes, others = box_factors(space, rng), whole_factors(space, rng)
    # One factor of each is over the same choices: told apart by the limit, if not by the objective.
    limited = (
        *box_factors(space, rng),
        Factor("same", boxes[0].scope, boxes[0].values[::-1] if boxes[0].scope else boxes[0].values),
    )
    sums = total(limited, rows, space.columns)
    bound = float(np.quantile(sums, share, method="nearest"))
    for objective in (boxes, (*boxes, *others)):
        row = space.encode([minimise(space.choices, objective, [(limited, bound)])])
        assert total(limited, row, space.columns)[0] <= bound
        assert total(objective, row, space.columns)[0] == total(objective, rows, space.columns)[sums <= bound].min()


@given(st.data(), SEEDS)
@settings(max_examples=60)
def test_only_what_meets_the_requirements_is_a_minimum(tied_spaces, every_row, data, seed) -> None:
    space = data.draw(tied_spaces)
    names = data.draw(st.lists(st.sampled_from(space.choices), min_size=1, max_size=2, unique_by=lambda c: c.name))
    clauses = [{c.name: tuple(data.draw(st.sets(st.sampled_from(c.options), min_size=1)))} for c in names]
    rows = every_row(space)
    meets = np.zeros(len(rows), dtype=bool)
    for clause in clauses:
        ((name, options),) = clause.items()
        meets |= [space.choice(name).options[row[space.columns[name]]] in options for row in rows]
    if meets.mean() < 0.05:
        return
    space = replace(space, requires=only_if(*clauses))
    assert np.array_equal(space.meets_requirements(rows), meets)
    objective = whole_factors(space, np.random.default_rng(seed))
    best = space.encode([minimise(space.choices, objective)])
    assert space.meets_requirements(best).all()
    assert total(objective, best, space.columns)[0] == total(objective, rows[meets], space.columns).min()
    assert space.meets_requirements(space.sample_rows(np.random.default_rng(seed), 50)).all()
    assert space.meets_requirements(space.spread_rows(np.random.default_rng(seed), 50)).all()


@given(st.data(), SEEDS, st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=60)
def test_limits_hold_up_to_and_including_their_bounds(tied_spaces, every_row, data, seed, share, other_share) -> None:
    space = data.draw(tied_spaces)
    rng = np.random.default_rng(seed)
    objective, *limited = (whole_factors(space, rng) for _ in range(3))
    rows = every_row(space)
    sums = [total(factors, rows, space.columns) for factors in limited]
    # Bounds that some architecture attains exactly: the boundary itself is allowed.
    bounds = [
        float(np.quantile(each, at, method="nearest")) for each, at in zip(sums, (share, other_share), strict=True)
    ]
    allowed = (sums[0] <= bounds[0]) & (sums[1] <= bounds[1])
    limits = list(zip(limited, bounds, strict=True))
    if not allowed.any():
        with pytest.raises(BudgetError, match="no architecture meets the limits"):
            minimise(space.choices, objective, limits)
        return
    row = space.encode([minimise(space.choices, objective, limits)])
    assert all(total(factors, row, space.columns)[0] <= bound for factors, bound in limits)
    assert total(objective, row, space.columns)[0] == total(objective, rows, space.columns)[allowed].min()


@given(st.data(), SEEDS)
@settings(max_examples=30)
def test_a_bound_below_everything_cannot_be_met_and_the_least_itself_can(tied_spaces, every_row, data, seed) -> None:
    space = data.draw(tied_spaces)
    factors = whole_factors(space, np.random.default_rng(seed))
    least = total(factors, every_row(space), space.columns).min()
    with pytest.raises(BudgetError):
        minimise(space.choices, (), [(factors, least - 1)])
    met = minimise(space.choices, (), [(factors, least)])
    assert total(factors, space.encode([met]), space.columns)[0] == least


@given(st.data(), SEEDS, st.integers(-30, 30))
@settings(max_examples=30)
def test_the_unit_of_a_cost_makes_no_difference(tied_spaces, every_row, data, seed, exponent) -> None:
    space = data.draw(tied_spaces)
    objective, limited = (whole_factors(space, np.random.default_rng(seed + n)) for n in range(2))
    rows = every_row(space)
    bound = float(np.median(total(limited, rows, space.columns)))
    allowed = total(limited, rows, space.columns) <= bound
    # A power of two, so that sums stay exact.
    in_other_units = [Factor(factor.name, factor.scope, factor.values * 2.0**exponent) for factor in objective]
    limited_in_other_units = [Factor(factor.name, factor.scope, factor.values * 2.0**exponent) for factor in limited]
    best = minimise(space.choices, in_other_units, [(limited_in_other_units, bound * 2.0**exponent)])
    row = space.encode([best])
    assert total(limited, row, space.columns)[0] <= bound
    assert total(objective, row, space.columns)[0] == total(objective, rows, space.columns)[allowed].min()


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e9])
def test_a_bound_of_zero_is_kept_in_every_unit(unit) -> None:
    space = SearchSpace("drawn", (Choice("a", (1, 2, 3)),), Chain(()), (1,), 1)
    balance = Factor("balance", ("a",), unit * np.array([1.0, 0.0, -2.0]))
    cost = Factor("cost", ("a",), np.array([1.0, 2.0, 3.0]))
    assert minimise(space.choices, [cost], [([balance], 0.0)])["a"] == 2


def test_a_gap_allows_a_sum_that_is_so_much_larger(tiny_space) -> None:
    rng, factors = np.random.default_rng(0), tiny_space.cost_factors("flops")
    for _ in range(20):
        objective = [replace(factor, values=rng.random(factor.values.shape)) for factor in factors]
        sums = [
            total(objective, tiny_space.encode([minimise(tiny_space.choices, objective, gap=gap)]), tiny_space.columns)[
                0
            ]
            for gap in (0.0, 0.1)
        ]
        assert sums[0] <= sums[1] <= sums[0] + 0.1 * abs(sums[1]) + 1e-9


def test_a_tight_limit_on_a_real_space_is_used_up(tiny_space) -> None:
    params = tiny_space.cost_factors("params")
    bound = tiny_space.cost("params", tiny_space.smallest()) * 1.2
    negated = [Factor(factor.name, factor.scope, -factor.values) for factor in tiny_space.cost_factors("flops")]
    best = minimise(tiny_space.choices, negated, [(params, bound)])
    rows = tiny_space.spread_rows(np.random.default_rng(0), 20_000)
    allowed = rows[total(params, rows, tiny_space.columns) <= bound]
    assert len(allowed) > 10
    assert tiny_space.cost("params", best) <= bound
    assert tiny_space.cost("flops", best) >= -total(negated, allowed, tiny_space.columns).min()


def test_an_impossible_budget_has_an_exit_code_of_its_own() -> None:
    assert BudgetError.exit_code == 3
