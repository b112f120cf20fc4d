"""Laws of loading spaces: built-in names, a user's own file, and files that have changed since."""

import json
from pathlib import Path

import pytest
import torch

import hwnas
from hwnas.errors import ArchError, SpaceError, UnknownNameError
from hwnas.modules.assemble import network
from hwnas.spaces import load_space, reload_space
from hwnas.supernet.network import Supernet

OWN_SPACE = """
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from hwnas.spaces import Chain, Choice, Layer, Operator, SearchSpace, linear_cost


@dataclass(frozen=True, slots=True, kw_only=True)
class Dense(Operator):
    kind: ClassVar[str] = "dense"
    module: ClassVar[str] = f"{__name__}:DenseModule"

    features: int
    gain: float = 0.5

    output_shape = property(lambda self: (self.features,))

    def cost(self):
        return linear_cost(self.input_shape[0], self.features)


class DenseModule(nn.Module):
    def __init__(self, operator):
        super().__init__()
        self.gain = operator.gain
        self.linear = nn.Linear(operator.input_shape[0], operator.features)

    def forward(self, x):
        return self.gain * self.linear(x)


def dense(features=4, classes=3):
    def hidden(options):
        return Dense(input_shape=(features,), features=options["width"])

    def head(options):
        return Dense(input_shape=(options["width"],), features=classes)

    layers = (Layer("hidden", ("width",), hidden), Layer("head", ("width",), head))
    return SearchSpace("dense", (Choice("width", (2, 8)),), Chain(layers), (features,), classes)


def broken():
    raise RuntimeError("out of paint")


def nothing():
    return None


a_number = 3
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own.py"
    path.write_text(OWN_SPACE)
    return path


def test_a_users_operators_assemble_and_entangle_without_touching_the_package(own: Path) -> None:
    space = load_space(f"{own}:dense", {"features": 5})
    assert (space.size, space.input_shape) == (2, (5,))
    supernet = Supernet(space).eval()
    x = torch.randn(6, 5)
    for width in (2, 8):
        arch = space.arch({"width": width})
        assert network(space, arch)(x).shape == (6, 3)
        assert torch.equal(supernet.uncalibrated(arch)(x), supernet(x, arch))


def test_a_space_is_made_again_from_its_description(own: Path) -> None:
    space = load_space(f"{own}:dense", {"features": 5})
    again = reload_space(json.loads(json.dumps(space.describe())))
    assert again.describe() == space.describe()
    assert again.decode([1]) == space.decode([1])


def test_a_space_that_has_changed_since_is_refused(tiny_space) -> None:
    description = {**tiny_space.describe(), "fingerprint": "0123456789abcdef"}
    with pytest.raises(SpaceError, match=r"mobilenet has changed since .*fingerprint \w{16}, then 0123456789abcdef"):
        reload_space(description)


@pytest.mark.parametrize("reference", ["mobilnet", "own.txt:dense", "own.py"])
def test_an_unknown_name_lists_the_known_ones(reference: str) -> None:
    with pytest.raises(
        UnknownNameError, match=f"unknown space '{reference}'; known: FILE.py:NAME, conv_macro, .*mobilenet"
    ):
        hwnas.space(reference)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("missing", r"own.py has no 'missing'"),
        ("broken", r"own.py:broken with no options: RuntimeError: out of paint"),
        ("nothing", r"own.py:nothing returned NoneType, not a SearchSpace"),
        ("a_number", r"own.py:a_number is a int, not a function that returns a SearchSpace"),
    ],
)
def test_a_function_that_makes_no_space_is_refused(own: Path, function: str, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        load_space(f"{own}:{function}")


def test_a_file_that_is_missing_or_cannot_be_loaded_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match=r"own.py: no such file; give a space of your own as FILE.py:NAME"):
        load_space(f"{tmp_path}/own.py:dense")
    (tmp_path / "wrong.py").write_text("import a_module_that_does_not_exist")
    with pytest.raises(SpaceError, match=r"wrong.py: cannot be loaded: ModuleNotFoundError: No module named"):
        load_space(f"{tmp_path}/wrong.py:dense")


def test_errors_of_a_users_space_keep_their_kind(own: Path) -> None:
    own.write_text(
        OWN_SPACE + "\n\ndef refused():\n    from hwnas.errors import ArchError\n    raise ArchError('no')\n"
    )
    with pytest.raises(ArchError, match="no"):
        load_space(f"{own}:refused")


@pytest.mark.parametrize("reference", [5, ["mobilenet"], {"a": 1}, True])
def test_a_description_whose_reference_is_no_text_is_damaged(reference: object) -> None:
    description = {**load_space("mobilenet").describe(), "reference": reference}
    with pytest.raises(SpaceError) as refused:
        reload_space(description, "table.jsonl")
    assert str(refused.value) == f"table.jsonl: damaged: its space is {reference!r}, not a name; make it again"


WRONG = """
from hwnas.core.choice import Choice
from hwnas.core.layer import Layer
from hwnas.core.space import SearchSpace
from hwnas.core.wiring import Chain


def scope():
    layer = Layer("block", ("width",), lambda options: options["kernel"])
    return SearchSpace("wrong", (Choice("width", (2, 8)),), Chain((layer,)), (3,), 3)


def rarely():
    layer = Layer("block", ("a", "b"), lambda options: {}["kernel"] if options["a"] and options["b"] > 998 else None)
    return SearchSpace("wrong", (Choice("a", (0, 1)), Choice("b", tuple(range(1000)))), Chain((layer,)), (3,), 3)


def leaves():
    raise SystemExit("bye")


def needs(width):
    return None
"""


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("scope", r"KeyError: 'kernel' \(wrong.py, line 9\)"),
        ("rarely", r"KeyError: 'kernel' \(wrong.py, line 14\)"),
        ("leaves", r"SystemExit: bye \(wrong.py, line 19\)"),
        ("needs", r"TypeError: needs\(\) missing 1 required positional argument: 'width'$"),
    ],
)
def test_what_goes_wrong_in_a_users_function_is_told_with_its_line(tmp_path: Path, function: str, message: str) -> None:
    (tmp_path / "wrong.py").write_text(WRONG)
    with pytest.raises(SpaceError, match=rf"wrong.py:{function} with no options: {message}"):
        load_space(f"{tmp_path / 'wrong.py'}:{function}")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("\n\ndef build(:\n    pass", r"SyntaxError: .* \(wrong.py, line 3\)"),
        ("\nraise SystemExit(3)", r"SystemExit: 3 \(wrong.py, line 2\)"),
        ("import json\n\njson.loads('{')", r"JSONDecodeError: .* \(wrong.py, line 3\)"),
    ],
)
def test_what_goes_wrong_in_a_users_file_is_told_with_its_line(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "wrong.py").write_text(content)
    with pytest.raises(SpaceError, match=rf"wrong.py: cannot be loaded: {message}"):
        load_space(f"{tmp_path / 'wrong.py'}:build")
