"""Laws of the features a space has: what is shared between which places, and that any space has them."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hwnas
from hwnas.core.choice import Choice
from hwnas.core.costs import layer_factors
from hwnas.core.factors import total
from hwnas.core.layer import Layer, Options
from hwnas.core.operations import fix, keep, tie
from hwnas.core.operator import Operator, OperatorCost, Shape
from hwnas.core.space import SearchSpace
from hwnas.core.wiring import Chain, Edge, Graph
from hwnas.predict.basis import INTERCEPT, Basis
from hwnas.predict.features import MOST_CELLS, role_of, space_basis

RECKONINGS = ("fixed", "flops", "weights", "values")
LEVELS = ("all", "network", "stage", "layer")
PAIR = {("pair", "kind"), ("pair", "network"), ("pair", "layer")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighed(Operator):
    """An operator of so many FLOPs and nothing else; `number` tells it from others."""

    kind: ClassVar[str] = "weighed"
    module: ClassVar[str] = ""

    flops: int
    number: int = 0

    @property
    def output_shape(self) -> Shape:
        return self.input_shape

    def cost(self) -> OperatorCost:
        return OperatorCost(self.flops)


def made(flops: int, name: str, options: Options) -> Operator:
    return Weighed(input_shape=(1,), flops=flops, number=zlib.crc32(repr((name, *options.items())).encode()))


def chain(*layers: Layer, **options: tuple) -> SearchSpace:
    """A space of these choices and layers."""
    return SearchSpace("drawn", tuple(Choice(*each) for each in options.items()), Chain(layers), (1,), 1)


def layer(name: str, *scope: str, flops: int = 10) -> Layer:
    return Layer(name, scope, partial(made, flops, name))


def pairs(basis: Basis) -> list[str]:
    return [factor.name for factor in basis.expected if " + " in factor.name]


def in_group(basis: Basis, space: SearchSpace, rows: np.ndarray, *group: str) -> np.ndarray:
    """The design's columns of one group."""
    return basis.design(rows, space.columns).toarray()[:, basis.group_P == basis.groups.index(group)]


def fbnet(**options) -> SearchSpace:
    return hwnas.space("fbnet", resolution=32, width=0.25, **options)


# ---- roles


@pytest.mark.parametrize(
    ("choice", "layer", "role"),
    [
        ("stage2.block1.kernel", "stage2.block1", "kernel"),
        ("stage2.block3.kernel", "stage2.block1", "block.kernel"),
        ("stage2.width", "stage2.block1", "width"),
        ("stage1.width", "stage2.block1", "stage.width"),
        ("resolution", "stage2.block1", "resolution"),
        ("layer3", "layer3", "layer"),
        ("layer3", "layer4", "layer"),
    ],
)
def test_a_role_is_what_is_left_of_a_name_without_shared_path_and_numbers(choice, layer, role) -> None:
    assert role_of(choice, layer) == role


@given(st.lists(st.sampled_from(["stage", "block", "kernel", "head"]), min_size=1, max_size=4), st.data())
def test_numbers_make_no_difference_to_what_a_choice_is_to_its_layer(parts, data) -> None:
    def numbered() -> str:
        path = [f"{part}{data.draw(st.integers(0, 99))}" for part in parts]
        return role_of(".".join(path), ".".join(path[:-1]))

    assert numbered() == numbered() == parts[-1]


# ---- levels


def test_the_same_option_in_two_layers_is_one_feature_of_the_network_and_two_of_the_layers() -> None:
    space = fbnet()
    basis = space_basis(space, {}, 1.0)
    rows = space.encode([dict.fromkeys(space.by_name, "k3_e1")] * 3)
    column = {name: space.columns[name] for name in ("layer2", "layer3")}
    k5_e6 = space.choice("layer2").options.index("k5_e6")
    rows[1, column["layer2"]] = rows[2, column["layer3"]] = k5_e6
    one, other = (in_group(basis, space, rows, "fixed", level) for level in ("network", "layer"))
    assert np.array_equal(one[1], one[2]) and not np.array_equal(one[0], one[1])
    assert not np.array_equal(other[1], other[2])


def test_an_option_is_shared_within_its_stage_only() -> None:
    space = hwnas.space("mobilenet", resolution=16, width=0.5)
    basis = space_basis(space, {}, 1.0)
    (largest,) = space.encode([space.largest()])
    rows = np.stack([largest] * 4)
    for row, name in enumerate(("stage1.block1.kernel", "stage1.block2.kernel", "stage2.block1.kernel"), start=1):
        rows[row, space.columns[name]] = 0
    changed = in_group(basis, space, rows, "fixed", "stage")
    assert np.array_equal(changed[1], changed[2]) and not np.array_equal(changed[1], changed[3])


def test_an_operator_has_each_level_by_each_reckoning_and_those_alone() -> None:
    space = fbnet()
    expected = {(INTERCEPT,), *product(RECKONINGS, LEVELS), *PAIR}
    assert set(space_basis(space, {}, 1.0).groups) == expected
    isolated = dict.fromkeys(space.operators(), 0.1)
    assert set(space_basis(space, isolated, 1.0).groups) == expected | set(product(["isolated"], LEVELS))


@given(st.data())
@settings(max_examples=40)
def test_no_two_options_of_a_layer_have_the_same_features(spaces, data) -> None:
    space = data.draw(spaces)
    basis = space_basis(space, {}, 1.0)
    for layer, cells_SP in zip(space.layers, basis.cells, strict=False):
        standing = [cell for cell, (_, operator) in enumerate(layer.cells(space.by_name)) if operator is not None]
        features = {tuple(features_P) for features_P in cells_SP.toarray()[standing]}
        assert len(features) == len(standing)


def test_options_that_read_alike_are_two() -> None:
    space = chain(layer("a", "x"), x=(1, "1"))
    one, other = space_basis(space, {}, 1.0).cells[0].toarray()
    assert not np.array_equal(one, other)


@given(st.data())
@settings(max_examples=40)
def test_where_nothing_stands_there_are_no_features(tied_spaces, data) -> None:
    space = data.draw(tied_spaces)
    for layer, cells_SP in zip(space.layers, space_basis(space, {}, 1.0).cells, strict=False):
        for cell, (_, operator) in enumerate(layer.cells(space.by_name)):
            assert (cells_SP[[cell]].nnz == 0) == (operator is None)


# ---- reckonings


def test_the_mean_operator_costs_its_layers_share_by_every_reckoning() -> None:
    space = fbnet()
    basis = space_basis(space, {}, 48.0)
    share_ms = 48.0 / len(space.layers)
    for reckoning in RECKONINGS:
        column = np.flatnonzero(basis.group_P == basis.groups.index((reckoning, "all")))
        cost = {
            operator.key: cells_SP[[cell]][:, column].toarray().item()
            for layer, cells_SP in zip(space.layers, basis.cells, strict=False)
            for cell, (_, operator) in enumerate(layer.cells(space.by_name))
            if operator is not None
        }
        assert set(cost) == set(space.operators())
        assert np.mean(list(cost.values())) == pytest.approx(share_ms)


def test_a_share_of_flops_is_proportional_to_flops(every_row) -> None:
    space = hwnas.space("conv_macro")
    rows = every_row(space)[::50]
    found = in_group(space_basis(space, {}, 1.0), space, rows, "flops", "all")[:, 0]
    flops = space.costs("flops", rows)
    assert found / found.max() == pytest.approx(flops / flops.max())


def test_what_is_expected_is_the_isolated_sum(tiny_space, isolated_costs) -> None:
    rows = tiny_space.sample_rows(np.random.default_rng(0), 20)
    expected = layer_factors(tiny_space.layers, tiny_space.choices, lambda operator: isolated_costs[operator.key])
    basis = space_basis(tiny_space, isolated_costs, 1.0)
    assert np.array_equal(total(basis.expected, rows, tiny_space.columns), total(expected, rows, tiny_space.columns))
    shared = in_group(basis, tiny_space, rows, "isolated", "all")[:, 0]
    assert shared == pytest.approx(total(expected, rows, tiny_space.columns))


@pytest.mark.parametrize("name", ["mobilenet", "fbnet", "nasbench201"])
def test_of_networks_alone_nothing_is_expected(name) -> None:
    assert not any(factor.values.any() for factor in space_basis(hwnas.space(name), {}, 1.0).expected)


def test_twice_the_time_is_twice_every_feature(tiny_space) -> None:
    rows = tiny_space.sample_rows(np.random.default_rng(0), 5)
    one, two = (space_basis(tiny_space, {}, ms).design(rows, tiny_space.columns).toarray() for ms in (1.0, 2.0))
    assert np.array_equal(2 * one, two)


# ---- pairs


def test_pairs_are_of_layers_that_meet_and_have_choices_of_their_own() -> None:
    space = fbnet()
    # The stem and the head have no choices.
    assert pairs(space_basis(space, {}, 1.0)) == [f"layer{n} + layer{n + 1}" for n in range(21)]


def test_layers_of_the_same_choices_make_no_pair_but_those_beyond_do() -> None:
    space = chain(layer("a", "x"), layer("b", "x"), layer("c", "x", "y"), layer("d", "y"), x=(1, 2), y=(1, 2))
    assert pairs(space_basis(space, {}, 1.0)) == []
    space = chain(layer("a", "x", "z"), layer("b", "x", "y"), x=(1, 2), y=(1, 2), z=(3,))
    assert pairs(space_basis(space, {}, 1.0)) == ["a + b"]


def test_a_pairs_table_is_over_what_it_depends_on_alone() -> None:
    space = chain(
        layer("a", "a.kernel", "a.width"),
        layer("b", "b.kernel"),
        **{"a.kernel": (3, 5), "a.width": (8, 16), "b.kernel": (3, 5)},
    )
    scopes = [factor.scope for factor in space_basis(space, {}, 1.0).expected if factor.name == "a + b"]
    assert scopes == [(), ("a.kernel", "b.kernel")]  # what always stands is of one kind, whatever is chosen


def test_layers_in_a_graph_that_do_not_meet_make_no_pair() -> None:
    ends = {"one": (0, 1), "two": (0, 2), "three": (1, 2)}
    graph = Graph("cell", tuple(Edge(*nodes, layer(name, name)) for name, nodes in ends.items()))
    choices = tuple(Choice(name, (1, 2)) for name in ends)
    space = SearchSpace("cell", choices, Chain((graph,)), (1,), 1)
    assert sorted(pairs(space_basis(space, {}, 1.0))) == ["one + three", "two + three"]


def test_the_same_options_side_by_side_are_one_feature_of_the_network_wherever_they_meet() -> None:
    space = fbnet()
    basis = space_basis(space, {}, 1.0)
    rows = np.stack([space.encode([dict.fromkeys(space.by_name, "k3_e1")])[0]] * 2)
    for row, number in enumerate((2, 3)):
        rows[row, space.columns[f"layer{number}"]] = rows[row, space.columns[f"layer{number + 1}"]] = 7
    one, other = (in_group(basis, space, rows, "pair", level) for level in ("network", "layer"))
    assert np.array_equal(one[0], one[1]) and not np.array_equal(other[0], other[1])


def test_a_pair_of_which_one_is_absent_has_no_features(tiny_space) -> None:
    basis = space_basis(tiny_space, {}, 1.0)
    layers = {layer.name: layer for layer in tiny_space.layers}
    absent = 0
    for factor, cells_SP in zip(basis.expected, basis.cells, strict=True):
        if " + " not in factor.name:
            continue
        both = [layers[name] for name in factor.name.split(" + ")]
        for cell, index in enumerate(np.ndindex(factor.values.shape)):
            options = {choice.name: choice.options[0] for choice in tiny_space.choices}
            options |= {name: tiny_space.choice(name).options[i] for name, i in zip(factor.scope, index, strict=True)}
            stands = all(each.operator(options) is not None for each in both)
            assert (cells_SP[[cell]].nnz > 0) == stands
            absent += not stands
    assert absent > 0


@pytest.mark.parametrize("more", [0, 1])
def test_a_pair_of_more_cells_than_the_most_is_left_out(more) -> None:
    options = tuple(range(50)), tuple(range(MOST_CELLS // 50 + more))
    space = chain(layer("a", "x"), layer("b", "y"), x=options[0], y=options[1])
    assert pairs(space_basis(space, {}, 1.0)) == ([] if more else ["a + b"])


# ---- any space


def degenerate() -> Iterator[tuple[str, SearchSpace]]:
    yield "no layers", chain()
    yield "no choices", chain(layer("a"), layer("b"))
    yield "nothing stands", chain(Layer("a", ("x",), lambda options: None), x=(1, 2))
    yield "nothing has FLOPs", chain(layer("a", "x", flops=0), layer("b", "y", flops=0), x=(1, 2), y=(1, 2))
    yield "some have no FLOPs", chain(layer("a", "x", flops=0), layer("b", "y", flops=5), x=(1, 2), y=(1, 2))
    yield "one option each", chain(layer("a", "x"), layer("b", "y"), x=(1,), y=(2,))
    yield "options that read alike", chain(layer("a", "x"), x=(1, "1", 2.5, "2.5", "True"))
    yield "skips have no FLOPs", hwnas.space("nasbench201", width=4, cells=1)
    yield "fixed", fix(hwnas.space("mobilenet", resolution=16, width=0.25), "*.kernel", 3)
    yield "tied", tie(hwnas.space("mobilenet", resolution=16, width=0.25), "*.kernel")
    yield "kept", keep(hwnas.space("mobilenet", resolution=16, width=0.25), "*.depth", [1])


@pytest.mark.parametrize("space", [pytest.param(space, id=name) for name, space in degenerate()])
def test_features_of_any_space_are_finite_and_make_a_sum_of_factors(space: SearchSpace) -> None:
    require_a_sum_of_factors(space, seed=0)


@given(st.data(), st.integers(0, 2**32 - 1))
@settings(max_examples=50)
def test_that_holds_of_any_space_drawn(tied_spaces, data, seed: int) -> None:
    require_a_sum_of_factors(data.draw(tied_spaces), seed)


def require_a_sum_of_factors(space: SearchSpace, seed: int) -> None:
    rng = np.random.default_rng(seed)
    isolated = {key: float(rng.uniform(0.1, 1)) for key in space.operators()}
    rows = space.sample_rows(rng, 10)
    for known in ({}, isolated):
        basis = space_basis(space, known, 3.0)
        design = basis.design(rows, space.columns)
        assert np.isfinite(design.data).all() and (design.data >= 0).all()
        weights_P = rng.normal(size=len(basis.group_P))
        expected = total(basis.expected, rows, space.columns) + design @ weights_P
        assert total(basis.factors(weights_P), rows, space.columns) == pytest.approx(expected, abs=1e-9)


def test_what_no_operator_has_is_0_of_every_operator() -> None:
    space = chain(layer("a", "x", flops=0), layer("b", "y", flops=0), x=(1, 2), y=(1, 2))
    basis = space_basis(space, {}, 1.0)
    rows = space.sample_rows(np.random.default_rng(0), 4)
    assert not in_group(basis, space, rows, "flops", "all").any()
    assert in_group(basis, space, rows, "values", "all").all()
