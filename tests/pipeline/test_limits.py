"""Laws of hard limits: no architecture that a strategy asks for is over one, and what cannot be met is told at once."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hwnas
from hwnas.core.arrays import FloatArray, IntArray
from hwnas.core.optimum import minimise
from hwnas.core.space import SearchSpace
from hwnas.errors import BudgetError
from hwnas.pipeline.config import SearchConfig
from hwnas.pipeline.limits import MIB, Limit, limits_of, possible_limits
from hwnas.pipeline.search import search_problem
from hwnas.strategies.registry import STRATEGIES

SPACES = {
    "mobilenet": hwnas.space("mobilenet", resolution=16, width=0.5),
    "vit": hwnas.space("vit", resolution=8, embeddings=(8, 12), depths=(1, 2), heads=(1, 3), ratios=(1, 1.5)),
    "nasbench201": hwnas.space("nasbench201", resolution=8, width=4, cells=1),
}
UNITS = {"params": 1, "bytes": MIB, "peak": MIB}
every_space = pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)


def rows_of(space: SearchSpace, count: int = 500) -> IntArray:
    return space.spread_rows(np.random.default_rng(0), count)


def limit_at(space: SearchSpace, cost: str, share: float) -> Limit:
    """The limit that so large a share of architectures keeps."""
    return Limit(cost, float(np.quantile(space.costs(cost, rows_of(space)), share)) / UNITS[cost])


def ready(space: SearchSpace, limits: list[Limit]) -> SimpleNamespace:
    fastest = minimise(space.choices, space.cost_factors("flops"), possible_limits(space, limits))
    return SimpleNamespace(budget_ms=np.inf, fastest=fastest)


def flops_as_latency(space: SearchSpace) -> SimpleNamespace:
    def milliseconds(rows: IntArray, statistic: str = "") -> FloatArray:
        return space.costs("flops", rows) / 1e6

    return SimpleNamespace(predict_ms=milliseconds, upper_ms=milliseconds)


@every_space
@pytest.mark.parametrize("search", STRATEGIES.values(), ids=STRATEGIES)
@pytest.mark.parametrize("share", [0.02, 0.5])
def test_every_architecture_a_strategy_asks_for_keeps_every_limit(space: SearchSpace, search, share: float) -> None:
    limits = [limit_at(space, "peak", share), limit_at(space, "bytes", 0.9)]
    config = SearchConfig(max_peak_mib=limits[0].most, max_model_mib=limits[1].most)
    asked: list[IntArray] = []

    def loss(rows: IntArray) -> FloatArray:
        asked.extend(rows)
        return -space.costs("flops", rows)  # the larger the better

    problem = search_problem(config, space, flops_as_latency(space), ready(space, limits), loss)
    assert set(problem.limits) == {"latency", "bytes", "peak"}
    search(problem, evaluations=40, seed=0)
    assert len(asked) > 1
    for limit in limits:
        assert (space.costs(limit.cost, np.array(asked)) <= limit.most * MIB * (1 + 1e-12)).all()


@every_space
@pytest.mark.parametrize("cost", UNITS)
@given(share=st.floats(0, 1))
@settings(max_examples=8)
def test_the_fastest_within_a_limit_keeps_it_and_no_other_that_does_is_faster(
    space: SearchSpace, cost: str, share: float
) -> None:
    limit = limit_at(space, cost, share)
    fastest = ready(space, [limit]).fastest
    rows = rows_of(space)
    within = space.costs(cost, rows) <= limit.bound
    assert space.cost(cost, fastest) <= limit.bound * (1 + 1e-6)  # the solver's tolerance
    assert space.cost("flops", fastest) <= space.costs("flops", rows[within]).min()


@every_space
@pytest.mark.parametrize(("cost", "words"), [("bytes", "MiB of weights"), ("peak", "MiB of activations")])
def test_a_limit_that_nothing_keeps_is_refused_with_the_least_and_that_is_enough(
    space: SearchSpace, cost: str, words: str
) -> None:
    with pytest.raises(BudgetError, match=rf"^no architecture of {space.name} has at most 1e-06 {words}; ") as refusal:
        possible_limits(space, [Limit(cost, 1e-6)])
    least = float(str(refusal.value).rpartition("the least is ")[2])
    assert refusal.value.exit_code == 3
    possible_limits(space, [Limit(cost, least)])
    assert least * MIB <= space.costs(cost, rows_of(space)).min() * 1.001
    with pytest.raises(BudgetError, match="the least is"):
        possible_limits(space, [Limit(cost, 0.998 * least)])


def test_limits_that_exclude_each_other_are_refused_with_the_least_of_the_last() -> None:
    space = SPACES["vit"]
    few = Limit("params", space.cost("params", minimise(space.choices, space.cost_factors("params"))))
    with pytest.raises(BudgetError, match=rf"of vit with at most {few.most} parameters has at most 1e-06 MiB of act"):
        possible_limits(space, [few, Limit("peak", 1e-6)])


def test_limits_are_those_that_the_configuration_has() -> None:
    assert limits_of(SearchConfig()) == ()
    config = SearchConfig(max_params=1000, max_model_mib=0.5, max_peak_mib=0.25)
    assert limits_of(config) == (Limit("params", 1000), Limit("bytes", 0.5), Limit("peak", 0.25))
    assert [str(limit) for limit in limits_of(config)] == [
        "at most 1000 parameters",
        "at most 0.5 MiB of weights",
        "at most 0.25 MiB of activations",
    ]
