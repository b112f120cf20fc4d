"""Laws of wiring: what flows where, and which layers meet."""

from collections.abc import Sequence
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwnas.core.layer import Layer
from hwnas.core.wiring import Chain, Edge, Flow, Graph, Stage
from hwnas.errors import SpaceError


def layer(name: str) -> Layer:
    return Layer(name, (), lambda options: None)


class Spelled(Flow[str]):
    """The flow of text; the layers named in `absent` are not there."""

    def __init__(self, *absent: str) -> None:
        self.absent = absent

    def layer(self, layer: Layer, value: str) -> str | None:
        return None if layer.name in self.absent else f"{layer.name}({value})"

    def total(self, graph: str, source: str, terms: Sequence[str]) -> str:
        return "+".join(terms) if terms else "0"


# The four nodes of NAS-Bench-201.
CELL = Graph("cell", tuple(Edge(*nodes, layer("{}{}".format(*nodes))) for nodes in ((0, 1), (0, 2), (1, 2), (2, 3))))


def test_a_chain_passes_by_where_nothing_stands() -> None:
    chain = Chain((layer("a"), Stage("s", "depth", (layer("b"), Chain((layer("c"), layer("d"))))), layer("e")))
    assert [each.name for each in chain.layers()] == ["a", "b", "c", "d", "e"]
    assert chain.run("x", Spelled()) == "e(d(c(b(a(x)))))"
    assert chain.run("x", Spelled("c", "e")) == "d(b(a(x)))"
    assert chain.run("x", Spelled("a", "b", "c", "d", "e")) == "x"


def test_a_node_is_the_sum_of_what_its_edges_bring() -> None:
    assert CELL.run("x", Spelled()) == "23(02(x)+12(01(x)))"
    assert CELL.run("x", Spelled("12")) == "23(02(x))"


def test_an_edge_from_where_nothing_arrives_brings_nothing() -> None:
    assert CELL.run("x", Spelled("01", "02")) == "0"
    assert CELL.run("x", Spelled("01")) == "23(02(x))"


def test_what_is_alive_beside_an_edge_is_what_later_edges_take_and_what_has_arrived() -> None:
    counted = {alive.layer.name: (alive.beside, alive.added) for alive in CELL.alive()}
    # 01: the input, for 02. 02: node 1, for 12. 12: what 02 brought; then both and their sum. 23: nothing.
    assert counted == {"01": (1, 0), "02": (1, 0), "12": (1, 3), "23": (0, 0)}


def test_nothing_is_alive_beside_a_layer_of_a_chain() -> None:
    chain = Chain((layer("a"), Stage("s", "depth", (layer("b"), Chain((layer("c"),)))), CELL))
    assert [alive.layer.name for alive in chain.alive()] == [each.name for each in chain.layers()]
    assert all((alive.beside, alive.added) == (0, 0) for alive in list(chain.alive())[:3])


def test_edges_go_from_lower_to_higher_nodes() -> None:
    with pytest.raises(SpaceError, match="graph 'cell': an edge goes from 2 to 1; number the nodes"):
        Graph("cell", (Edge(2, 1, layer("a")),))


# ---- layers that meet


def named(pairs) -> list[str]:
    return [f"{first.name} {second.name}" for first, second in pairs]


NAMES = st.integers(0, 10**6).map(str)
NESTED = st.recursive(
    st.builds(layer, NAMES),
    lambda inner: st.lists(inner, max_size=4).flatmap(
        lambda parts: st.sampled_from([Chain(tuple(parts)), Stage("stage", "depth", tuple(parts))])
    ),
    max_leaves=12,
)
GRAPHS = st.lists(
    st.tuples(st.integers(0, 4), st.integers(1, 4)).map(lambda nodes: (nodes[0], nodes[0] + nodes[1])), min_size=1
).map(lambda nodes: Graph("cell", tuple(Edge(*ends, layer(f"edge{n}")) for n, ends in enumerate(nodes))))


def test_in_a_chain_each_layer_meets_the_next() -> None:
    assert named(Chain((layer("a"), layer("b"), layer("c"))).meetings()) == ["a b", "b c"]


def test_nothing_and_a_layer_alone_meet_nothing() -> None:
    assert named(Chain(()).meetings()) == named(Chain((layer("a"),)).meetings()) == []


def test_the_last_of_a_stage_meets_the_first_of_the_next() -> None:
    stages = [Stage(name, "depth", (layer(f"{name}1"), layer(f"{name}2"))) for name in ("s", "t")]
    assert named(Chain(tuple(stages)).meetings()) == ["s1 s2", "s2 t1", "t1 t2"]


@given(st.lists(NESTED, max_size=4))
def test_chains_and_stages_within_make_no_difference_to_what_meets(parts) -> None:
    nested = Chain(tuple(parts))
    assert named(nested.meetings()) == named(Chain(tuple(nested.layers())).meetings())


def test_in_a_graph_edges_meet_at_the_node_that_one_brings_to_and_the_other_takes_from_or_brings_to() -> None:
    # 01 and 02 only take from one node.
    assert named(Chain((CELL,)).meetings()) == ["01 12", "02 12", "02 23", "12 23"]


@given(GRAPHS)
def test_edges_that_share_a_node_meet_once_unless_it_is_where_both_start(graph: Graph) -> None:
    edges = {edge.layer.name: edge for edge in graph.edges}
    expected = [
        f"{one} {other}"
        for one, other in combinations(edges, 2)
        if {edges[one].source, edges[one].target} & {edges[other].source, edges[other].target}
        and not (edges[one].source == edges[other].source and edges[one].target != edges[other].target)
    ]
    assert sorted(named(graph.meetings())) == sorted(expected)


def test_a_graph_meets_nothing_outside() -> None:
    inside = named(Chain((CELL,)).meetings())
    around = Chain((layer("a"), Stage("s", "depth", (layer("b"), CELL)), layer("c"), layer("d")))
    assert sorted(named(around.meetings())) == sorted(["a b", *inside, "c d"])
