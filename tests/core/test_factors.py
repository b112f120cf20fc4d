"""Laws of additive costs: factors are look-ups, and their sums are sums over operators."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwnas.core.costs import LAYER_COSTS, layer_factors
from hwnas.core.factors import CHUNK, Factor, absorbed, exceeding, highest, merged, total
from hwnas.core.operator import OperatorCost
from hwnas.errors import SpaceError, UnknownNameError
from hwnas.operators.conv import ConvBlock

SEEDS = st.integers(0, 2**32 - 1)


@st.composite
def factors_and_rows(draw: st.DrawFn) -> tuple[list[Factor], np.ndarray, dict[str, int]]:
    """Factors over random scopes, in random order of axes, and rows that fit."""
    rng = np.random.default_rng(draw(SEEDS))
    sizes = draw(st.lists(st.integers(1, 5), min_size=1, max_size=5))
    names = [f"choice{number}" for number in range(len(sizes))]
    columns = dict(zip(names, rng.permutation(len(names)).tolist(), strict=True))
    factors = []
    for number in range(draw(st.integers(0, 4))):
        scope = draw(st.lists(st.sampled_from(names), max_size=4, unique=True))
        shape = [sizes[columns[name]] for name in scope]
        factors.append(Factor(f"factor{number}", tuple(scope), np.array(rng.normal(size=shape))))
    rows = rng.integers(0, sizes, (draw(st.integers(0, 6)), len(sizes)))
    return factors, rows, columns


@given(factors_and_rows())
def test_a_factor_is_a_look_up(drawn) -> None:
    factors, rows, columns = drawn
    for factor in factors:
        naive = [factor.values[tuple(row[columns[name]] for name in factor.scope)] for row in rows]
        assert factor.at(rows, columns).tolist() == naive


@given(factors_and_rows())
def test_a_total_is_the_sum_of_the_look_ups(drawn) -> None:
    factors, rows, columns = drawn
    naive = [
        sum(float(factor.values[tuple(row[columns[name]] for name in factor.scope)]) for factor in factors)
        for row in rows
    ]
    assert total(factors, rows, columns) == pytest.approx(naive, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("rows", [CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 3])
@pytest.mark.parametrize("dtype", [np.int64, np.uint8])
def test_however_many_rows_there_are_each_gets_its_own_total(tiny_space, rows: int, dtype: type) -> None:
    every = tiny_space.sample_rows(np.random.default_rng(0), 2 * rows).astype(dtype)
    factors = tiny_space.cost_factors("flops")
    totals = total(factors, every[::2], tiny_space.columns)
    assert totals.tolist() == sum(factor.at(every[::2], tiny_space.columns) for factor in factors).tolist()


@pytest.mark.parametrize("fewer", [merged, absorbed])
@given(factors_and_rows())
def test_fewer_factors_have_the_same_sum(fewer, drawn) -> None:
    factors, rows, columns = drawn
    found = fewer(factors)
    assert total(found, rows, columns) == pytest.approx(total(factors, rows, columns), rel=1e-12, abs=1e-12)
    assert len(found) <= len(factors)


@given(factors_and_rows())
def test_of_absorbed_factors_none_is_within_another(drawn) -> None:
    factors, _, _ = drawn
    scopes = [set(factor.scope) for factor in absorbed(factors)]
    assert not any(one <= other for one, other in itertools.permutations(scopes, 2))
    assert set().union(*scopes) == {name for factor in factors for name in factor.scope}
    names = {factor.name for factor in factors}
    assert {factor.name for factor in absorbed(factors)} <= names


@given(factors_and_rows())
def test_the_highest_is_the_largest_of_the_look_ups(drawn) -> None:
    factors, rows, columns = drawn
    naive = [
        max([0.0, *(float(factor.values[tuple(row[columns[name]] for name in factor.scope)]) for factor in factors)])
        for row in rows
    ]
    assert highest(factors, rows, columns).tolist() == naive


@given(factors_and_rows(), st.floats(0, 3))
def test_the_highest_is_within_a_bound_exactly_where_no_cell_exceeds_it(drawn, bound: float) -> None:
    factors, rows, columns = drawn
    none_over = total(exceeding(factors, bound), rows, columns) == 0
    assert none_over.tolist() == (highest(factors, rows, columns) <= bound).tolist()


def test_a_peak_has_no_factors_that_add(tiny_space) -> None:
    with pytest.raises(SpaceError, match=r"^peak memory is the maximum over layers, not a sum: .* as a limit$"):
        tiny_space.cost_factors("peak")
    with pytest.raises(UnknownNameError, match="unknown cost 'energy'; known: bytes, flops, params, peak"):
        tiny_space.cost_factors("energy")


@given(st.data(), SEEDS)
def test_the_peak_of_a_chain_is_the_highest_of_its_operators(spaces, data, seed) -> None:
    space = data.draw(spaces)
    rows = space.sample_rows(np.random.default_rng(seed), 5)
    for row, peak in zip(rows, space.costs("peak", rows).tolist(), strict=True):
        arch = space.decode(row)
        operators = [layer.operator(arch) for layer in space.layers]
        assert peak == max([0, *(operator.peak_bytes() for operator in operators if operator)])
        assert space.cost("peak", arch) == peak


@given(st.data(), SEEDS)
def test_a_cost_is_the_sum_over_the_operators(spaces, data, seed) -> None:
    space = data.draw(spaces)
    rows = space.sample_rows(np.random.default_rng(seed), 5)
    for name, measure in LAYER_COSTS.items():
        expected = []
        for row in rows:
            arch = space.decode(row)
            operators = [layer.operator(arch) for layer in space.layers]
            expected.append(sum(measure(operator) for operator in operators if operator))
        assert total(space.cost_factors(name), rows, space.columns).tolist() == expected
        assert [space.cost(name, space.decode(row)) for row in rows] == expected


def test_bytes_are_four_for_every_weight_and_statistic() -> None:
    operator = ConvBlock(input_shape=(2, 4, 4), channels=3, kernel=1)
    assert operator.cost() == OperatorCost(flops=2 * 6 * 16, params=6 + 6, statistics=6)
    assert {name: measure(operator) for name, measure in LAYER_COSTS.items()} == {
        "flops": 192,
        "params": 12,
        "bytes": 4 * (12 + 6),
    }


def test_layer_factors_have_one_axis_per_choice_of_the_scope(tiny_space) -> None:
    factors = layer_factors(tiny_space.layers, tiny_space.choices, lambda operator: 1.0)
    for layer, factor in zip(tiny_space.layers, factors, strict=True):
        assert factor.name == layer.name
        assert factor.values.shape == tuple(len(tiny_space.choice(name).options) for name in layer.scope)


@given(st.data(), SEEDS)
def test_no_architecture_is_smaller_than_the_smallest_or_larger_than_the_largest(spaces, every_row, data, seed) -> None:
    space = data.draw(spaces)
    flops = total(space.cost_factors("flops"), every_row(space), space.columns)
    assert space.cost("flops", space.smallest()) == flops.min()
    assert space.cost("flops", space.largest()) == flops.max()


def test_smallest_and_largest_of_mobilenet_are_the_ends_of_every_choice(tiny_space) -> None:
    ends = {"smallest": 0, "largest": -1}
    for end, index in ends.items():
        expected = tiny_space.arch({choice.name: choice.options[index] for choice in tiny_space.choices})
        assert getattr(tiny_space, end)() == expected


def test_costs_add() -> None:
    for one, other in itertools.product([OperatorCost(), OperatorCost(1, 2, 3), OperatorCost(10, 20, 30)], repeat=2):
        added = one + other
        assert (added.flops, added.params, added.statistics) == (
            one.flops + other.flops,
            one.params + other.params,
            one.statistics + other.statistics,
        )
