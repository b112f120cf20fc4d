"""Laws of wiring: what flows where."""

from collections.abc import Sequence

import pytest

from hwnas.core.layer import Layer
from hwnas.core.wiring import Chain, Edge, Graph, Stage
from hwnas.errors import SpaceError


def layer(name: str) -> Layer:
    return Layer(name, (), lambda options: None)


class Spelled:
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
