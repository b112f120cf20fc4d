"""Laws of choices of the precision of blocks: where they stand, what they leave unchanged, and what is refused."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch

import hwnas
from hwnas.core.operations import fix, precision_choices, tie
from hwnas.core.precise import Precise
from hwnas.core.space import SearchSpace
from hwnas.errors import SpaceError, UnknownNameError
from hwnas.spaces import reload_space, with_precisions
from hwnas.spaces.request import SpaceRequest
from hwnas.supernet.network import Supernet

SMALL: Mapping[str, Any] = {"resolution": 16, "width": 0.25}


@pytest.fixture(scope="module")
def plain() -> SearchSpace:
    return hwnas.space("mobilenet", **SMALL)


@pytest.fixture(scope="module")
def space(plain: SearchSpace) -> SearchSpace:
    return with_precisions(plain, ("fp32", "int8"))


def test_every_layer_that_multiplies_has_one_where_it_stands(plain: SearchSpace, space: SearchSpace) -> None:
    assert list(precision_choices(space)) == [layer.name for layer in plain.layers] and not precision_choices(plain)
    rows_NC = space.sample_rows(np.random.default_rng(0), 50)
    for row in rows_NC:
        arch = space.decode(row)
        empty = {name for layer, name in precision_choices(space).items() if is_empty(space, layer, arch)}
        assert all(arch[name] == "fp32" for name in empty)
    cells = hwnas.space("nasbench201", resolution=8, width=4, cells=1)
    assert with_precisions(cells, ("fp32", "int8")).arch(dict.fromkeys(cells.by_name, "none") | ends(cells))
    words = with_precisions(hwnas.space("gpt"), ("fp32", "int8"))
    assert "tokens" not in precision_choices(words)  # a look-up multiplies nothing


def is_empty(space: SearchSpace, layer: str, arch: Mapping[str, Any]) -> bool:
    return next(one for one in space.layers if one.name == layer).operator(arch) is None


def ends(cells: SearchSpace) -> dict[str, str]:
    """The precisions of layers outside the cells, and of the only edge that the output needs."""
    choices = with_precisions(cells, ("fp32", "int8")).choices
    return {choice.name: "int8" for choice in choices if choice.name.endswith(".precision") and not choice.when}


def test_the_smallest_and_the_largest_network_are_in_the_first_precision(
    plain: SearchSpace, space: SearchSpace
) -> None:
    for with_choices, without in ((space.smallest(), plain.smallest()), (space.largest(), plain.largest())):
        assert all(with_choices[name] == option for name, option in without.items())
        assert "int8" not in with_choices.values()


def test_the_command_line_writes_them_and_files_keep_them(space: SearchSpace) -> None:
    request = SpaceRequest(space_options=SMALL, precisions="fp32, int8", fix=("stage*.precision=int8",))
    fixed = request.load()
    assert fixed.choice("head.precision").options == ("fp32", "int8")
    assert fixed.choice("stage1.block2.precision").options == ("int8",)
    assert reload_space(fixed.describe()).fingerprint == fixed.fingerprint != space.fingerprint


@pytest.mark.parametrize("name", ["mobilenet", "fbnet", "nasbench201", "proxyless", "ofa"])
def test_tied_to_one_another_they_are_the_precision_of_the_whole_network(name: str) -> None:
    plain = hwnas.space(name)
    space = with_precisions(plain, ("fp32", "int8"))
    assert space.size > tie(space, "*.precision").size == 2 * plain.size
    for precision in ("fp32", "int8"):
        fixed = fix(space, "*.precision", precision)
        assert fixed.size == plain.size and fixed.smallest()["stem.precision"] == precision


def test_what_cannot_be_is_refused(space: SearchSpace) -> None:
    with pytest.raises(UnknownNameError, match="unknown precision of a block 'int4'; known: fp32, int8"):
        SpaceRequest(space_options=SMALL, precisions="fp32,int4").load()
    with pytest.raises(SpaceError, match=r"two choices are called 'stem\.precision'"):
        with_precisions(space, ("fp32", "int8"))


def test_all_precisions_share_the_weights_of_a_supernet(plain: SearchSpace, space: SearchSpace) -> None:
    torch.manual_seed(0)
    supernet = Supernet(space).eval()
    assert {name: p.shape for name, p in supernet.named_parameters()} == {
        name: p.shape for name, p in Supernet(plain).named_parameters()
    }
    quantised = space.arch({**space.largest(), **dict.fromkeys(precision_choices(space).values(), "int8")})
    x = torch.randn(2, *space.input_shape)
    assert torch.equal(supernet(x, quantised), supernet(x, space.largest()))
    operators = space.operators().values()
    assert len([one for one in operators if isinstance(one, Precise)]) == len(plain.operators())
