"""Laws of NAS-Bench-201's space that are its own; what every space must obey is in conformance."""

from pathlib import Path

import numpy as np
import pytest
import torch

import hwnas
from hwnas.benchmarks import tabular
from hwnas.benchmarks.tabular import TabularBenchmark
from hwnas.core.arrays import IntArray
from hwnas.core.factors import total
from hwnas.core.space import SearchSpace
from hwnas.errors import ArchError, SpaceError
from hwnas.modules.assemble import network
from hwnas.spaces.nasbench201 import EDGES, OPERATORS, from_string, to_string

# Numbers in one copy of a cell's feature maps, over all 15 cells.
ELEMENTS = 5 * (16 * 32 * 32 + 32 * 16 * 16 + 64 * 8 * 8)


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return hwnas.space("nasbench201")


@pytest.fixture(scope="module")
def raw_rows() -> IntArray:
    """All combinations of operators."""
    return np.indices([len(OPERATORS)] * len(EDGES)).reshape(len(EDGES), -1).T


@pytest.fixture(scope="module")
def cells(bench_data: Path) -> TabularBenchmark:
    return tabular.nasbench201(bench_data)


def live(row: IntArray) -> frozenset[tuple[tuple[int, int], str]]:
    """The edges through which something flows from the input to the output, and their operators, by graph search."""
    edges = {nodes: OPERATORS[option] for nodes, option in zip(EDGES, row, strict=True) if OPERATORS[option] != "none"}
    fed, needed = {0}, {3}
    for _ in range(3):
        fed |= {target for source, target in edges if source in fed}
        needed |= {source for source, target in edges if target in needed}
    return frozenset((nodes, operator) for nodes, operator in edges.items() if nodes[0] in fed and nodes[1] in needed)


# ---- memory


@pytest.mark.parametrize("operator", ["nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"])
def test_the_peak_of_a_cell_in_which_every_edge_makes_a_tensor_is_exact(measured_peak, operator: str) -> None:
    small = hwnas.space("nasbench201", resolution=8, width=4, cells=1)
    arch = small.arch({f"edge{number}": operator for number in range(len(EDGES))})
    assert small.cost("peak", arch) == measured_peak(network(small, arch), small.input_shape)


# ---- which cells are one network


def test_15625_cells_are_9445_networks(space: SearchSpace, raw_rows: IntArray) -> None:
    assert len(raw_rows) == 15625
    assert len(np.unique(space.normalise(raw_rows), axis=0)) == space.size == 9445


def test_cells_are_equal_exactly_where_the_same_operators_are_on_the_same_live_edges(
    space: SearchSpace, raw_rows: IntArray
) -> None:
    normal = [tuple(row) for row in space.normalise(raw_rows).tolist()]
    graphs = [live(row) for row in raw_rows]
    assert len(set(zip(normal, graphs, strict=True))) == len(set(normal)) == len(set(graphs))


def test_normalising_removes_what_is_not_live_and_nothing_else(space: SearchSpace, raw_rows: IntArray) -> None:
    for raw, normal in zip(raw_rows[::7], space.normalise(raw_rows[::7]), strict=True):
        on = {nodes for nodes, _ in live(raw)}
        expected = [option if nodes in on else 0 for nodes, option in zip(EDGES, raw, strict=True)]
        assert normal.tolist() == expected


def test_a_cell_without_a_path_is_never_drawn_and_never_an_end_but_can_be_encoded(
    space: SearchSpace, raw_rows: IntArray
) -> None:
    rng = np.random.default_rng(0)
    drawn = np.concatenate([space.sample_rows(rng, 5000), space.spread_rows(rng, 5000)])
    ends = space.encode([space.smallest(), space.largest()])
    assert all(live(row) for row in np.concatenate([drawn, ends]))
    assert space.meets_requirements(space.normalise(raw_rows)).tolist() == [bool(live(row)) for row in raw_rows]

    broken = from_string("|none~0|+|none~0|nor_conv_3x3~1|+|none~0|skip_connect~1|skip_connect~2|")
    assert set(space.arch(broken).values()) == {"none"}
    assert not space.meets_requirements(space.encode([broken])).any()


def test_the_ends_are_one_cheap_path_and_convolutions_everywhere(space: SearchSpace) -> None:
    assert set(space.largest().values()) == {"nor_conv_3x3"}
    smallest = set(space.smallest().values())
    assert smallest - {"none"} and not smallest & {"nor_conv_1x1", "nor_conv_3x3"}


# ---- the benchmark's strings


def test_strings_and_cells_are_each_others_inverse(space: SearchSpace, raw_rows: IntArray) -> None:
    dicts = [{f"edge{edge}": OPERATORS[option] for edge, option in enumerate(row)} for row in raw_rows]
    texts = [to_string(cell) for cell in dicts]
    assert len(set(texts)) == 15625
    assert [from_string(text) for text in texts] == dicts


@pytest.mark.parametrize(
    "text",
    [
        "",
        "|none~0|+|none~0|none~1|",
        "|none~0|+|none~0|none~1|+|none~0|none~1|nor_conv_5x5~2|",
        "|none~0|+|none~1|none~0|+|none~0|none~1|none~2|",
        "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|+|none~0|",
        "none~0|+|none~0|none~1|+|none~0|none~1|none~2",
    ],
)
def test_a_string_that_is_no_cell_is_refused_with_the_form_of_one(text: str) -> None:
    with pytest.raises(ArchError, match=r"is not a NAS-Bench-201 cell; write \|op~0\|.* skip_connect"):
        from_string(text)


# ---- costs, against the published ones


def test_parameters_are_the_published_ones_which_count_every_edge(space: SearchSpace, cells: TabularBenchmark) -> None:
    rows = cells.rows_TC
    published = cells.values("params_m", rows) * 1e6
    assert np.abs(published - np.round(published)).max() < 1e-6
    assert np.array_equal(total(space.cost_factors("params"), rows, space.columns), np.round(published))
    assert (total(space.cost_factors("params"), space.normalise(rows), space.columns) < published - 1).any()


def test_published_flops_are_multiply_accumulates_and_operations_per_number(
    space: SearchSpace, cells: TabularBenchmark
) -> None:
    """Three per number for the ReLU and batch-norm of a convolution, nine for a pooling, and a constant: the norms, ReLUs
    and poolings of stem, reductions and head."""
    rows = cells.rows_TC
    accumulates = total(space.cost_factors("flops"), rows, space.columns) / 2
    convolutions = np.isin(rows, [OPERATORS.index("nor_conv_1x1"), OPERATORS.index("nor_conv_3x3")]).sum(axis=1)
    poolings = (rows == OPERATORS.index("avg_pool_3x3")).sum(axis=1)
    expected = accumulates + ELEMENTS * (3 * convolutions + 9 * poolings) + 160_832
    assert np.array_equal(np.round(cells.values("flops_m", rows) * 1e6), expected)


# ---- the network


def test_the_network_gives_ten_logits_of_an_image_and_has_the_parameters_counted(space: SearchSpace) -> None:
    rng = np.random.default_rng(0)
    for arch in (space.smallest(), space.largest(), space.sample(rng), space.sample(rng)):
        built = network(space, arch).eval()
        assert built(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
        assert sum(parameter.numel() for parameter in built.parameters()) == space.cost("params", arch)


@pytest.mark.parametrize("options", [{"resolution": 4}, {"resolution": 30}, {"classes": 0}, {"width": 0}, {"cells": 0}])
def test_what_the_space_cannot_be_made_of_is_refused(options: dict[str, int]) -> None:
    with pytest.raises(SpaceError, match="nasbench201 needs images of a multiple of 4 px and at least 8 px"):
        hwnas.space("nasbench201", **options)
