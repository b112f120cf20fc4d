"""Laws of searches that no budget limits: without one, and at 100 %, the largest network is not refused."""

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch

from hwnas.core.operations import fix
from hwnas.core.space import SearchSpace
from hwnas.pipeline.search import search
from hwnas.runs.database import RunDatabase

QUICK: dict[str, Any] = {"limit_images": 128, "epochs": 1, "evaluations": 8, "final": "none"}


@pytest.fixture
def two_networks(small_space: SearchSpace) -> SearchSpace:
    space = small_space
    largest = space.largest()
    for choice in small_space.choices:
        if choice.name != "stage1.block1.kernel" and len(choice.options) > 1 and not choice.tied_to:
            space = fix(space, choice.name, largest[choice.name])
    assert space.size == 2
    return space


@pytest.mark.parametrize("budget", [None, "100%"])
def test_a_space_of_two_networks_is_searched_whole(
    budget: str | None, two_networks: SearchSpace, small_predictor: Path, tmp_path: Path
) -> None:
    options = QUICK | ({} if budget is None else {"latency_budget": budget})
    found = search(two_networks, "digits", predictor=(str(small_predictor),), out=tmp_path / "run", **options)
    with closing(RunDatabase.existing(found.run.database)) as database:
        evaluated = {evaluation.arch for evaluation in database.evaluations("search").values()}
    assert evaluated == {two_networks.smallest(), two_networks.largest()}
    assert found.latency_budget_ms is None and found.run.read()["torch_threads"] == [torch.get_num_threads()]
    assert all(row.within_budget and row.latencies[0].budget_ms is None for row in found.front)


def test_beside_a_budget_that_limits_all_networks_are_searched_too(
    small_space: SearchSpace, small_predictor: Path, tmp_path: Path
) -> None:
    options = QUICK | {"latency_budget": "100%,1s", "objectives": "params,latency"}
    found = search(small_space, "digits", predictor=(str(small_predictor),), out=tmp_path / "run", **options)
    assert found.run.read()["goal"]["budgets_ms"] == [{"latency": 1000.0}, {}]
    assert all(row.within_budget and row.latencies[0].budget_ms == 1000.0 for row in found.front)
