"""Every law of spaces, networks and operators, for each built-in space. A new space inherits all by one line in CASES."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Final

import pytest

import hwnas
from hwnas import operators
from hwnas.core.choice import Choice, only_if
from hwnas.core.layer import Layer, Options
from hwnas.core.operations import condition, drop, keep, tie
from hwnas.core.operator import Operator
from hwnas.core.space import SearchSpace
from hwnas.core.wiring import Chain, Stage
from hwnas.operators.conv import ConvBlock, MBConv, PoolClassifier
from hwnas.spaces import SPACES, with_precisions, with_recipe
from hwnas.testing.operators import OperatorSuite
from hwnas.testing.spaces import SpaceSuite
from hwnas.testing.subject import OperatorSubject, SpaceSubject, places_of_space


def conditional() -> SearchSpace:
    """A space that uses everything a space may: a layer that may be absent and be of several kinds, either of two
    conditions, a condition of a condition, a stage that may be empty, an option shared by all layers."""
    kinds = only_if({"extra": ("conv",)}, {"extra": ("mbconv",)})
    expansions = only_if({"extra": ("mbconv",)})
    choices = (
        Choice("width", (8, 12)),
        Choice("stem.kernel", (3, 5)),
        Choice("extra", ("none", "conv", "mbconv")),
        Choice("extra.kernel", (5, 3), kinds),
        Choice("extra.expansion", (1, 2, 6), expansions),
        Choice("extra.gate", (False, True), only_if({"extra": ("mbconv",), "extra.expansion": (2, 6)})),
        Choice("tail.depth", (2, 0)),
        Choice("tail.kernel", (3, 7), only_if({"tail.depth": (2,)})),
    )

    def stem(options: Options) -> Operator:
        return ConvBlock(input_shape=(2, 12, 10), channels=options["width"], kernel=options["stem.kernel"], stride=2)

    def extra(options: Options) -> Operator | None:
        shape = {"input_shape": (options["width"], 6, 5), "channels": options["width"]}
        if options["extra"] == "none":
            return None
        if options["extra"] == "conv":
            return ConvBlock(**shape, kernel=options["extra.kernel"])
        expansion = options["extra.expansion"]
        gate = options["extra.gate"] and expansion > 1
        return MBConv(**shape, kernel=options["extra.kernel"], expansion=expansion, squeeze_excite=gate, shortcut=True)

    def tail(number: int) -> Callable[[Options], Operator | None]:
        def make(options: Options) -> Operator | None:
            shape = {"input_shape": (options["width"], 6, 5), "channels": options["width"], "expansion": 1}
            return MBConv(**shape, kernel=options["tail.kernel"]) if number <= options["tail.depth"] else None

        return make

    def head(options: Options) -> Operator:
        return PoolClassifier(input_shape=(options["width"], 6, 5), features=16, classes=4)

    tail_scope = ("tail.depth", "width", "tail.kernel")
    parts = (
        Layer("stem", ("width", "stem.kernel"), stem),
        Layer("extra", ("width", "extra", "extra.kernel", "extra.expansion", "extra.gate"), extra),
        Stage("tail", "tail.depth", tuple(Layer(f"tail.block{n}", tail_scope, tail(n)) for n in (1, 2))),
        Layer("head", ("width",), head),
    )
    return SearchSpace("conditional", choices, Chain(parts), (2, 12, 10), 4)


EXAMPLES: Final = Path(__file__).parents[2] / "scripts/examples"
TINY_VIT: Final = {"resolution": 8, "embeddings": (8, 12), "depths": (1, 2), "heads": (1, 3), "ratios": (1, 1.5)}
TINY_GPT: Final = {"length": 6, "vocabulary": 11, "embeddings": (8, 12), "layers": (1, 2), "heads": (1, 3)}

CASES: Final[Mapping[str, Callable[[], SearchSpace]]] = {
    "mobilenet": lambda: hwnas.space("mobilenet", width=0.25),
    "mobilenet, 16 px, half as wide": lambda: hwnas.space("mobilenet", resolution=16, width=0.5),
    "mobilenet, one class per pixel": lambda: hwnas.space(
        "mobilenet", resolution=16, width=0.5, classes=4, head="dense"
    ),
    "mobilenet, squeeze-excite chosen": lambda: hwnas.space(
        "mobilenet", resolution=16, width=0.5, squeeze_excite="choice"
    ),
    "mobilenet, 64 px, grey": lambda: hwnas.space("mobilenet", resolution=64, width=0.25, channels=1, classes=3),
    "fbnet": lambda: hwnas.space("fbnet", resolution=16, width=0.25),
    "fbnet, 64 px": lambda: hwnas.space("fbnet", resolution=64, width=0.1, channels=1, classes=3),
    "proxyless": lambda: hwnas.space("proxyless", resolution=16, width=0.25),
    "ofa": lambda: hwnas.space("ofa", resolutions=(16, 24), width=0.25),
    "nasbench201": lambda: hwnas.space("nasbench201", resolution=8, width=4, cells=1),
    "conv_macro": lambda: hwnas.space("conv_macro", resolution=16, features=16),
    "series": lambda: hwnas.space("series", length=40, channels=2, classes=3, width=0.25),
    "vit": lambda: hwnas.space("vit", **TINY_VIT, head_size=4),
    "gpt": lambda: hwnas.space("gpt", **TINY_GPT, head_size=4),
    "own space": lambda: hwnas.space(f"{EXAMPLES / 'own_space.py'}:build", resolution=16, channels=8),
    "own network": lambda: hwnas.space(f"{EXAMPLES / 'own_network.py'}:build", resolution=16),
    "conditional": conditional,
    "conditional, fewer options": lambda: drop(keep(conditional(), "extra", ("none", "mbconv")), "*kernel", 3),
    "tied": lambda: tie(hwnas.space("mobilenet", resolution=16, width=0.5), "stage*.kernel"),
    "conditional by an operation": lambda: condition(
        hwnas.space("conv_macro", resolution=16, features=16), "conv[34].kernel", {"conv1.kernel": (5, 7)}
    ),
    "with choices of the recipe": lambda: with_recipe(
        hwnas.space("mobilenet", resolution=16, width=0.25), rate=(0.3, 1.0), augmentation=(True, False)
    ),
    "with precisions": lambda: with_precisions(hwnas.space("mobilenet", resolution=16, width=0.25), ("fp32", "int8")),
    "conditional, with precisions": lambda: with_precisions(conditional(), ("int8", "fp32")),
    "cells, with precisions": lambda: with_precisions(
        hwnas.space("nasbench201", resolution=8, width=4, cells=1), ("fp32", "int8")
    ),
}

# Cases whose operators are those of another case.
SAME_OPERATORS: Final = (
    "conditional, fewer options",
    "tied",
    "conditional by an operation",
    "with choices of the recipe",
)
OPERATOR_CASES: Final = [name for name in CASES if name not in SAME_OPERATORS]


# tests/conftest.py runs all laws of a subject one after another, so one subject is kept.
@lru_cache(maxsize=1)
def space_subject(name: str) -> SpaceSubject:
    return SpaceSubject(CASES[name]())


@lru_cache(maxsize=1)
def operator_subject(name: str) -> OperatorSubject:
    return OperatorSubject(places_of_space(CASES[name]()))


class TestSpaces(SpaceSuite):
    @pytest.fixture(params=CASES)
    def subject(self, request: pytest.FixtureRequest) -> SpaceSubject:
        return space_subject(request.param)


class TestOperators(OperatorSuite):
    @pytest.fixture(params=OPERATOR_CASES)
    def subject(self, request: pytest.FixtureRequest) -> OperatorSubject:
        return operator_subject(request.param)


def test_every_built_in_space_is_a_case() -> None:
    assert set(SPACES) <= {CASES[name]().name for name in CASES}


def test_every_operator_class_stands_in_a_case() -> None:
    modules = [import_module(f"hwnas.operators.{module.name}") for module in iter_modules(operators.__path__)]
    classes = {
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Operator) and value is not Operator
    }
    covered = {type(operator) for make in CASES.values() for operator in make().operators().values()}
    assert len(classes) > 10 and classes <= covered
