"""Laws of hard limits: they are read as written, held by every strategy, and refused at once where nothing meets them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hwnas
from hwnas.core.arrays import FloatArray, IntArray
from hwnas.core.optimum import minimise
from hwnas.core.space import SearchSpace
from hwnas.costs.cost import Limit
from hwnas.costs.function import FunctionCost
from hwnas.costs.limits import in_words, parse_limit, possible
from hwnas.costs.predicted import PredictedCost
from hwnas.costs.registry import cost_kind
from hwnas.costs.sizes import SIZES
from hwnas.errors import BudgetError, HwnasError, UnknownNameError
from hwnas.predict.predictor import LatencyPredictor
from hwnas.strategies.nsga2 import Nsga2
from hwnas.strategies.problem import Problem, Strategy
from hwnas.strategies.random import RandomSearch
from hwnas.strategies.workshop import Workshop
from hwnas.tasks.task import Metric

SPACES = {
    "mobilenet": hwnas.space("mobilenet", resolution=16, width=0.5),
    "vit": hwnas.space("vit", resolution=8, embeddings=(8, 12), depths=(1, 2), heads=(1, 3), ratios=(1, 1.5)),
    "nasbench201": hwnas.space("nasbench201", resolution=8, width=4, cells=1),
}
every_space = pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)


def rows_of(space: SearchSpace, count: int = 500) -> IntArray:
    return space.spread_rows(np.random.default_rng(0), count)


def limit_at(space: SearchSpace, name: str, share: float) -> Limit:
    """The limit that so large a share of architectures keeps."""
    cost = SIZES[name](space)
    return Limit(cost, float(np.quantile(cost.values(rows_of(space)), share)))


def predictor(space: SearchSpace, cost: str = "energy", interval: float = 1.25) -> LatencyPredictor:
    """A predictor of FLOPs, in millions."""
    factors = [replace(factor, values=factor.values / 1e6) for factor in space.cost_factors("flops")]
    statistics = {"mean": 1.0} if cost == "energy" else {"p10": 1.0, "median": 1.1}
    facts: Mapping[str, Any] = {"report": {}, "conditions": {}, "space": space.describe()}
    return LatencyPredictor(
        choices=space.choices,
        additive=tuple(factors),
        interval=(0.9, interval),
        statistics=statistics,
        cost=cost,
        **facts,
    )


# ---- reading


@pytest.mark.parametrize(
    ("text", "name", "bound"),
    [
        ("params<=200000", "params", 200_000.0),
        ("params <= 0.2M", "params", 200_000.0),
        ("flops<=1.5e6", "flops", 1.5e6),
        ("model<=0.25MiB", "model", 0.25),
        ("model<=0.25", "model", 0.25),
        ("peak<=100KiB", "peak", 100 / 1024),
        ("energy<=2mJ", "energy", 2.0),
        ("energy<=0.002J", "energy", 2.0),
        ("latency<=400us", "latency", 0.4),
        ("latency@amd-epyc<=0.4ms", "latency@amd-epyc", 0.4),
        ("jacobian<=7.5", "jacobian", 7.5),
        ("grad-norm<=-1", "grad-norm", -1.0),
    ],
)
def test_a_limit_is_a_name_and_a_bound_in_the_unit_of_the_cost(text: str, name: str, bound: float) -> None:
    assert parse_limit(text) == (name, pytest.approx(bound, rel=1e-12))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("params", r"limit 'params' cannot be read; write COST<=NUMBER, such as params<=200000 or peak<=0.5MiB"),
        ("params<200000", "cannot be read; write COST<=NUMBER"),
        ("params<=", "cannot be read; write COST<=NUMBER"),
        ("params<=1.2.3", "cannot be read; write COST<=NUMBER"),
        ("params<=1e999", "cannot be read; write COST<=NUMBER"),
        ("peak<=100KB", "limit 'peak<=100KB': peak has no unit 'KB'; write B, KiB, MiB, GiB or no unit"),
        ("jacobian<=1ms", "jacobian has no unit 'ms'; write the number alone"),
    ],
)
def test_a_limit_that_cannot_be_read_is_refused_with_what_to_write(text: str, message: str) -> None:
    with pytest.raises(HwnasError, match=message):
        parse_limit(text)


@pytest.mark.parametrize("name", ["watts", "params@amd-epyc", "latency@"])
def test_an_unknown_cost_is_answered_with_the_known_ones(name: str) -> None:
    if name == "latency@":
        assert cost_kind(name).unit == "ms"
        return
    with pytest.raises(
        UnknownNameError, match=rf"unknown cost '{name}'; known: FILE.py:NAME, energy, energy@DEVICE, .*flops, .*params"
    ):
        parse_limit(f"{name}<=3")


def test_limits_are_written_for_people_and_as_they_were_asked_for() -> None:
    space = SPACES["vit"]
    epyc = PredictedCost(predictor(space, "latency"), "median", "latency@amd-epyc")
    limits = [Limit(SIZES["params"](space), 200_000.0), Limit(SIZES["peak"](space), 0.25), Limit(epyc, 0.4)]
    limits.append(Limit(FunctionCost("watts", "W", lambda rows_NC: np.ones(len(rows_NC))), 3.0))
    assert [str(limit) for limit in limits] == [
        "params <= 200000",
        "peak <= 0.25 MiB",
        "latency@amd-epyc <= 0.4 ms",
        "watts <= 3 W",
    ]
    assert [in_words(limit) for limit in limits] == [
        "at most 200000 parameters",
        "at most 0.25 MiB of activations",
        "at most 0.4 ms of latency on amd-epyc",
        "at most 3 W of watts",
    ]
    assert all(parse_limit(str(limit).removesuffix("W")) for limit in limits[:3])


# ---- holding


@pytest.mark.parametrize("bound", [-2.0, 0.0, 0.5, 3.0])
def test_a_limit_is_exceeded_where_the_upper_end_is_above_the_bound(bound: float) -> None:
    cost = FunctionCost("size", "", lambda rows_NC: np.asarray(rows_NC)[:, 0] - 2.0)
    rows_NC = np.arange(6)[:, None]
    assert np.array_equal(Limit(cost, bound).over(rows_NC) > 0, cost.values(rows_NC) > bound)


@every_space
@pytest.mark.parametrize("strategy", [Nsga2(evaluations=40), RandomSearch(evaluations=40)], ids=["nsga2", "random"])
@pytest.mark.parametrize("share", [0.02, 0.5])
def test_every_architecture_a_strategy_asks_for_keeps_every_limit(
    space: SearchSpace, strategy: Strategy, share: float
) -> None:
    limits = (limit_at(space, "peak", share), limit_at(space, "model", 0.9))
    flops = SIZES["flops"](space)
    asked: list[IntArray] = []

    def evaluate(rows_NC: IntArray) -> dict[str, FloatArray]:
        asked.extend(rows_NC)
        return {"loss": -flops.values(rows_NC)}  # the larger the better

    assert flops.factors is not None
    start = minimise(space.choices, flops.factors, possible(space, limits))
    problem = Problem(
        space=space,
        objectives=("loss", "flops"),
        metrics=(Metric(name="loss"),),
        costs={"flops": flops},
        evaluate=evaluate,
        limits=limits,
        start_C=space.encode([start])[0],
    )
    strategy.search(problem, Workshop(seed=0))
    assert len(asked) > 1
    for limit in limits:
        assert (limit.cost.values(np.array(asked)) <= limit.bound).all()


@every_space
@pytest.mark.parametrize("name", ["params", "model", "peak"])
@given(share=st.floats(0, 1))
@settings(max_examples=5, deadline=None)
def test_the_smallest_within_a_limit_keeps_it_and_no_other_that_does_is_smaller(
    space: SearchSpace, name: str, share: float
) -> None:
    limit = limit_at(space, name, share)
    smallest = space.encode([minimise(space.choices, space.cost_factors("flops"), possible(space, [limit]))])
    rows_NC = rows_of(space)
    assert limit.over(smallest)[0] <= 1e-6  # the solver's tolerance
    within = limit.over(rows_NC) <= 0
    assert space.costs("flops", smallest)[0] <= space.costs("flops", rows_NC[within]).min()


# ---- refusing


@every_space
@pytest.mark.parametrize(
    ("name", "words"), [("params", "parameters"), ("model", "MiB of weights"), ("peak", "MiB of activations")]
)
def test_a_limit_that_nothing_keeps_is_refused_with_the_least_and_that_is_enough(
    space: SearchSpace, name: str, words: str
) -> None:
    cost = SIZES[name](space)
    with pytest.raises(BudgetError, match=rf"^no architecture of {space.name} has at most 1e-06 {words}; ") as refusal:
        possible(space, [Limit(cost, 1e-6)])
    least = float(str(refusal.value).rpartition("the least is ")[2])
    assert refusal.value.exit_code == 3
    possible(space, [Limit(cost, least)])
    assert least <= cost.values(rows_of(space)).min() * 1.001
    with pytest.raises(BudgetError, match="the least is"):
        possible(space, [Limit(cost, 0.998 * least)])


@pytest.mark.parametrize("cost", ["energy", "latency"])
def test_a_predicted_limit_is_held_against_the_upper_end_of_the_interval(cost: str) -> None:
    space = SPACES["vit"]
    predicted = PredictedCost(predictor(space, cost), "mean" if cost == "energy" else "median", cost)
    ratio = 1.25 if cost == "energy" else 1.25 * 1.1
    words = "mJ an inference" if cost == "energy" else "ms of latency"
    with pytest.raises(BudgetError, match=f"has at most 1e-06 {words}; the least is ") as refusal:
        possible(space, [Limit(predicted, 1e-6)])
    least = float(str(refusal.value).rpartition("the least is ")[2])
    assert least == pytest.approx(ratio * space.cost("flops", space.smallest()) / 1e6, rel=1e-3)
    assert least >= ratio * space.cost("flops", space.smallest()) / 1e6
    assert len(possible(space, [Limit(predicted, least)])) == 1


def test_limits_that_exclude_each_other_are_refused_with_the_least_of_the_last() -> None:
    space = SPACES["vit"]
    params, peak = SIZES["params"](space), SIZES["peak"](space)
    assert params.factors is not None
    few = Limit(params, float(space.cost("params", minimise(space.choices, params.factors))))
    message = rf"of vit with at most {few.bound:.0f} parameters has at most 1e-06 MiB of act"
    with pytest.raises(BudgetError, match=message):
        possible(space, [few, Limit(peak, 1e-6)])


def test_a_limit_without_a_program_is_left_to_the_search() -> None:
    space = SPACES["vit"]
    limit = Limit(FunctionCost("watts", "W", lambda rows_NC: np.ones(len(rows_NC))), 0.5)
    assert possible(space, [limit]) == []
    assert len(possible(space, [limit, limit_at(space, "params", 0.5)])) == 1
