"""Laws of composed spaces: shapes and scopes are worked out."""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import pytest
import torch

import hwnas
from hwnas.core.choice import Choice
from hwnas.core.layer import Layer
from hwnas.core.operator import OperatorCost, Shape
from hwnas.core.space import SearchSpace
from hwnas.core.wiring import Stage
from hwnas.errors import SpaceError
from hwnas.operators.cells import ReluConv
from hwnas.operators.conv import ConvBlock, MBConv, PoolClassifier
from hwnas.spaces.compose import Place, cell, compose, pick, place, stage

HEAD = place("head", PoolClassifier, features=16, classes=4)


def made(*parts) -> SearchSpace:
    return compose("made", (3, 8, 8), 4, [*parts, HEAD])


def layers(space: SearchSpace) -> dict[str, Layer]:
    return {layer.name: layer for layer in space.layers}


def test_picks_are_named_after_place_and_parameter() -> None:
    space = made(place("stem", ConvBlock, channels=pick(8, 16), kernel=pick(3, 5)))
    assert space.choices == (Choice("stem.channels", (8, 16)), Choice("stem.kernel", (3, 5)))


def test_a_scope_holds_what_decides_the_operator_or_its_input_and_nothing_else() -> None:
    space = made(
        place("stem", ConvBlock, channels=pick(8, 16), kernel=pick(3, 5)),
        place("body", MBConv, channels=12, kernel=pick(3, 5), expansion=pick(1, 2), squeeze_excite=pick(True)),
    )
    assert layers(space)["stem"].scope == ("stem.channels", "stem.kernel")
    assert layers(space)["body"].scope == ("stem.channels", "body.kernel", "body.expansion")
    assert layers(space)["head"].scope == ()


def test_a_named_choice_is_shared() -> None:
    width = Choice("width", (8, 16))
    space = made(place("a", ConvBlock, channels=width), place("b", ConvBlock, channels=width))
    assert space.size == 2
    assert layers(space)["b"].scope == ("width",)
    with pytest.raises(
        SpaceError, match="two choices are called 'width': one of 8, 16, and one of 8; rename one of them"
    ):
        made(place("a", ConvBlock, channels=width), place("b", ConvBlock, channels=Choice("width", (8,))))


def test_picks_of_a_block_are_on_where_the_depth_keeps_it() -> None:
    space = made(
        place("stem", ConvBlock, channels=8),
        stage("body", (0, 2), lambda number: place(f"body.{number}", ConvBlock, channels=8, kernel=pick(3, 5))),
    )
    assert space.size == 1 + 2**2
    (body,) = (part for part in space.wiring.parts if isinstance(part, Stage))
    assert (body.name, body.depth) == ("body", "body.depth")
    assert space.choice("body.1.kernel").when == ((("body.depth", (2,)),),)


def test_a_function_may_decide_what_stands() -> None:
    def either(input_shape, kind):
        return None if kind == "none" else ConvBlock(input_shape=input_shape, channels=8, kernel=int(kind))

    space = made(place("stem", ConvBlock, channels=8), place("body", either, kind=pick("none", "3", "5")))
    assert [operator and operator.kernel for _, operator in layers(space)["body"].cells(space.by_name)] == [None, 3, 5]


def test_a_layer_that_may_be_left_out_passes_the_shape_on() -> None:
    def maybe(input_shape, width):
        return ConvBlock(input_shape=input_shape, channels=width) if width else None

    space = made(place("stem", ConvBlock, channels=8), place("body", maybe, width=pick(0, 12)))
    assert [op.input_shape[0] for _, op in layers(space)["head"].cells(space.by_name)] == [8, 12]


def test_a_cell_sums_edges_of_one_shape() -> None:
    def relu(name: str) -> Place:
        return place(name, ReluConv, kernel=pick(1, 3))

    assert made(cell("cell", {(0, 1): relu("a"), (1, 2): relu("b"), (0, 2): relu("c")})).size == 2**3
    with pytest.raises(SpaceError, match=r"graph 'cell' adds up shapes \[\(3, 8, 8\), \(8, 8, 8\)\]"):
        made(cell("cell", {(0, 1): relu("a"), (1, 2): place("b", ConvBlock, channels=8), (0, 2): relu("c")}))


def test_a_parameter_the_operator_does_not_have_is_told_with_the_place() -> None:
    with pytest.raises(SpaceError, match=r"place 'stem': .*unexpected keyword argument 'chanels'"):
        made(place("stem", ConvBlock, chanels=8))
    with pytest.raises(SpaceError, match="a shortcut needs equal shapes"):
        made(place("body", MBConv, channels=8, kernel=3, expansion=2, shortcut=True))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((3, 5, 3), r"choice 'body.kernel' lists an option twice: \(3, 5, 3\); leave one out"),
        ((), "choice 'body.kernel' has no options; give at least one"),
        (([3, 5],), r"choice 'body.kernel': option \[3, 5\] is not a number or a string"),
    ],
    ids=["twice", "none", "list"],
)
def test_a_pick_that_cannot_be_is_told_with_its_place(options: tuple, message: str) -> None:
    parts = [
        lambda: place("body", ConvBlock, channels=8, kernel=pick(*options)),
        lambda: cell("cell", {(0, 1): place("body", ReluConv, kernel=pick(*options))}),
        lambda: stage("deep", (1, 2), lambda number: place("body", ConvBlock, channels=8, kernel=pick(*options))),
    ]
    for part in parts:
        with pytest.raises(SpaceError, match=message):
            made(part())


def test_a_choice_without_a_name_belongs_to_no_space() -> None:
    with pytest.raises(SpaceError, match=r"a choice has no name, the one of \(1, 2\); give it one"):
        SearchSpace("nameless", (pick(1, 2),), made().wiring, (3, 8, 8), 4)


def test_the_output_has_as_many_classes_as_the_space() -> None:
    with pytest.raises(SpaceError, match=r"the output has shape \(4,\), for 5 classes"):
        compose("made", (3, 8, 8), 5, [HEAD])


def test_the_fingerprint_knows_how_layers_are_joined() -> None:
    def joined(*nodes: tuple[int, int]) -> str:
        return made(cell("c", {n: place(f"c.{i}", ReluConv, kernel=3) for i, n in enumerate(nodes)})).fingerprint

    assert joined((0, 1), (0, 2), (1, 2)) != joined((0, 1), (1, 2), (0, 2))
    with pytest.raises(SpaceError, match="graph 'c' has no edges"):
        joined()


@pytest.mark.parametrize(
    ("space", "options"),
    [
        ("vit", {"heads": [0]}),
        ("vit", {"heads": ["a"]}),
        ("vit", {"embeddings": [64.0]}),
        ("vit", {"ratios": [-1]}),
        ("gpt", {"heads": [1.5]}),
        ("gpt", {"embeddings": [0]}),
        ("nasbench201", {"width": 1.5}),
        ("conv_macro", {"features": 17.5}),
    ],
)
def test_sizes_that_cannot_be_are_refused_when_a_space_is_made(space: str, options: dict) -> None:
    with pytest.raises(SpaceError):
        hwnas.space(space, **options)


def test_a_place_may_be_called_as_torch_calls_its_methods() -> None:
    space = made(place("type", ConvBlock, channels=pick(4, 8)))
    assert hwnas.Supernet(space).uncalibrated(space.smallest())(torch.zeros(1, 3, 8, 8)).shape == (1, 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failing(ReluConv):
    """An operator whose facts cannot be computed, in the way that `fault` names."""

    kind: ClassVar[str] = "failing"

    fault: str

    @property
    def output_shape(self) -> Shape:
        return self.shape if self.fault == "shape" else self.input_shape  # type: ignore[attr-defined]

    def cost(self) -> OperatorCost:
        if self.fault == "exit":
            raise SystemExit(3)
        return OperatorCost(1 // (self.fault != "cost"))


@pytest.mark.parametrize(
    ("fault", "message"), [("cost", "ZeroDivisionError: "), ("exit", "SystemExit: 3"), ("shape", "AttributeError: ")]
)
def test_an_error_in_a_users_cost_or_shape_names_place_file_and_line(fault: str, message: str) -> None:
    for make in (Failing, partial(Failing, kernel=3)):
        with pytest.raises(SpaceError, match=rf"^place 'body': {message}.*\(test_compose.py, line \d+\)$"):
            made(place("body", make, kernel=3, fault=fault))
