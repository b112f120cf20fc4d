"""Costs are found by name or by file."""

from pathlib import Path

import numpy as np
import pytest

import hwnas
from hwnas.costs.cost import Limit
from hwnas.costs.limits import in_words, parse_limit, possible
from hwnas.costs.registry import COSTS, cost_kind, space_cost
from hwnas.errors import BudgetError, HwnasError, UnknownNameError

OWN = """
from hwnas.costs.function import FunctionCost

def layers(space):
    factors = tuple(type(f)(f.name, f.scope, (f.values > 0).astype(float)) for f in space.cost_factors("flops"))
    return FunctionCost("layers", "layers", lambda rows: sum(f.at(rows, space.columns) for f in factors), factors)

def nothing(space):
    return 3
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "own.py").write_text(OWN)
    return tmp_path / "own.py"


def test_sizes_are_made_from_a_space_alone() -> None:
    space = hwnas.space("conv_macro")
    for name, kind in COSTS.items():
        if kind.origin == "space":
            assert (space_cost(name, space).name, space_cost(name, space).unit) == (name, kind.unit)
        else:
            with pytest.raises(UnknownNameError, match=f"unknown cost '{name}'"):
                space_cost(name, space)


def test_a_cost_of_ones_own_is_limited_as_the_built_in_ones_are(file: Path) -> None:
    name, bound = parse_limit(f"{file}:layers<=3")
    space = hwnas.space("mobilenet", resolution=16)
    cost = space_cost(name, space)
    assert cost_kind(name).suffixes == {}
    assert np.ptp(cost.values(space.spread_rows(np.random.default_rng(0), 50))) > 0
    assert in_words(Limit(cost, bound)) == "at most 3 layers"
    with pytest.raises(BudgetError, match=r"no architecture of mobilenet has at most 3 layers; the least is \d+"):
        possible(space, [Limit(cost, bound)])


def test_a_file_that_gives_no_cost_is_refused(file: Path) -> None:
    with pytest.raises(HwnasError, match=r"nothing returns a int without name, unit, .*; return a Cost"):
        space_cost(f"{file}:nothing", hwnas.space("conv_macro"))
    with pytest.raises(HwnasError, match="has no 'watts'"):
        space_cost(f"{file}:watts", hwnas.space("conv_macro"))
