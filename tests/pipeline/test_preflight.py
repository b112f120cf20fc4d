"""Laws of the preflight: a budget passes exactly where the fastest architecture within the limits is within it."""

import itertools
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.core.arch import Arch
from hwnas.core.choice import Choice
from hwnas.core.factors import Factor
from hwnas.core.layer import Layer, Options
from hwnas.core.operator import Operator
from hwnas.core.space import SearchSpace
from hwnas.core.wiring import Chain
from hwnas.costs.cost import Limit
from hwnas.costs.predicted import PredictedCost
from hwnas.costs.sizes import SizeCost
from hwnas.errors import BudgetError
from hwnas.operators.conv import ConvBlock, MBConv, PoolClassifier
from hwnas.pipeline.goal import GoalRequest
from hwnas.pipeline.options import SourcesRequest
from hwnas.pipeline.preflight import Preflight, fastest, fastest_ms, require_met, slowest_ms
from hwnas.pipeline.sources import Need, Predictors, Sources
from hwnas.pipeline.target import target_of
from hwnas.predict.predictor import LatencyPredictor
from hwnas.profiler.request import DeviceRequest
from hwnas.runs.folder import RunFolder
from hwnas.spaces.request import SpaceRequest
from hwnas.tasks.registry import load_task
from hwnas.testing.notes import Notes

CONDITIONS = {"device": "cpu", "threads": 1}


def fixed(operator: Operator, _: Options) -> Operator:
    return operator


def block(number: int, options: Options) -> Operator:
    kernel, expansion = (int(options[f"block{number}.{name}"]) for name in ("kernel", "expansion"))
    return MBConv(input_shape=(4, 4, 4), channels=4, kernel=kernel, expansion=expansion, shortcut=number > 1)


@cache
def tiny() -> SearchSpace:
    """Stem, two blocks of two kernels and two expansions each, head: 16 architectures."""
    choices, layers = [], [Layer("stem", (), partial(fixed, ConvBlock(input_shape=(3, 8, 8), channels=4, stride=2)))]
    for number in (1, 2):
        own = (Choice(f"block{number}.kernel", (3, 5)), Choice(f"block{number}.expansion", (2, 3)))
        layers.append(Layer(f"block{number}", tuple(choice.name for choice in own), partial(block, number)))
        choices += own
    head = PoolClassifier(input_shape=(4, 4, 4), features=8, classes=3)
    layers.append(Layer("head", (), partial(fixed, head)))
    return SearchSpace("tiny", tuple(choices), Chain(tuple(layers)), (3, 8, 8), 3)


@cache
def archs(space: SearchSpace | None = None) -> tuple[Arch, ...]:
    space = space or tiny()
    indices = itertools.product(*[range(len(choice.options)) for choice in space.choices])
    return tuple(dict.fromkeys(space.decode(row) for row in indices))


def additive_predictor(space: SearchSpace, upper: float = 1.0, median: float = 1.0) -> LatencyPredictor:
    """Per choice, 1 ms and 0.5 ms for every step of its option; the first block's in the other direction."""
    factors = [Factor("base", (), np.array(1.0))]
    for number, choice in enumerate(space.choices):
        steps = np.arange(len(choice.options)) * (0.5 + 0.1 * number)
        factors.append(Factor(choice.name, (choice.name,), steps[::-1] if number == 0 else steps))
    return LatencyPredictor(
        choices=space.choices,
        additive=tuple(factors),
        interval=(0.9, upper),
        statistics={"p10": 1.0, "median": median, "p90": 2.0},
        report={"held_out": {"mape": 0.01}},
        conditions=CONDITIONS,
        space=space.describe(),
    )


STATISTICS = st.sampled_from(["p10", "median", "p90"])


def latency(upper: float = 1.0, statistic: str = "p10", **statistics: float) -> PredictedCost:
    return PredictedCost(additive_predictor(tiny(), upper, **statistics), statistic, "latency")


@given(budget_ms=st.floats(0.5, 8), upper=st.floats(1, 1.5), statistic=STATISTICS)
@settings(max_examples=40, deadline=None)
def test_a_budget_passes_exactly_where_the_fastest_architecture_stays_within_it(
    budget_ms: float, upper: float, statistic: str
) -> None:
    cost = latency(upper, statistic, median=1.25)
    upper_ms = cost.upper(tiny().encode(archs()))
    assert fastest(tiny(), cost, ()) == archs()[int(upper_ms.argmin())]
    assert fastest_ms(tiny(), cost, ()) == pytest.approx(upper_ms.min())
    assert slowest_ms(tiny(), cost) == pytest.approx(upper_ms.max())
    if upper_ms.min() <= budget_ms:
        require_met(tiny(), {"latency": cost}, {"latency": budget_ms}, (), statistic)
    else:
        with pytest.raises(BudgetError) as refusal:
            require_met(tiny(), {"latency": cost}, {"latency": budget_ms}, (), statistic)
        assert refusal.value.exit_code == 3
        for part in (f"the budget of {budget_ms:.4g} ms cannot be met", f"up to {upper_ms.min():.4g} ms", statistic):
            assert part in str(refusal.value)


PARAMS = sorted({tiny().cost("params", arch) for arch in archs()})


@given(st.integers(PARAMS[0], PARAMS[-1] + 30))
@settings(max_examples=40, deadline=None)
def test_the_fastest_architecture_keeps_the_limit_on_parameters(max_params: int) -> None:
    limits = [Limit(SizeCost(tiny(), "params"), float(max_params))]
    allowed = [arch for arch in archs() if tiny().cost("params", arch) <= max_params]
    found = fastest(tiny(), latency(), limits)
    assert tiny().cost("params", found) <= max_params
    ms_N = latency().values(tiny().encode(allowed))
    assert fastest_ms(tiny(), latency(), limits) == pytest.approx(ms_N.min())


def test_a_limit_on_parameters_can_make_a_budget_one_that_cannot_be_met() -> None:
    # The first choice costs time where it is small, so the fastest architecture is not the one with fewest parameters.
    require_met(tiny(), {"latency": latency()}, {"latency": 1.2}, (), "p10")
    limits = [Limit(SizeCost(tiny(), "params"), float(PARAMS[0]))]
    with pytest.raises(BudgetError, match=r"budget of 1\.2 ms cannot be met: the fastest .* takes up to 1\.5 ms"):
        require_met(tiny(), {"latency": latency()}, {"latency": 1.2}, limits, "p10")


def test_budgets_of_two_devices_that_exclude_each_other_are_refused() -> None:
    """Each alone can be met, by an architecture that is too slow for the other device."""
    predictor = additive_predictor(tiny())
    mirrored = [
        Factor(factor.name, factor.scope, factor.values.max() + 1e-3 - factor.values) for factor in predictor.factors
    ]
    other = PredictedCost(with_factors(predictor, mirrored), "p10", "latency@board")
    latencies = {"latency": latency(), "latency@board": other}
    budgets = {name: 1.001 * fastest_ms(tiny(), cost, ()) for name, cost in latencies.items()}
    for name, bound_ms in budgets.items():
        require_met(tiny(), latencies, {name: bound_ms}, (), "p10")
    with pytest.raises(BudgetError):
        require_met(tiny(), latencies, budgets, (), "p10")


def with_factors(predictor: LatencyPredictor, factors: list[Factor]) -> LatencyPredictor:
    from dataclasses import replace

    return replace(predictor, additive=tuple(factors), booster=None)


@pytest.mark.parametrize(
    ("budget", "told"),
    [
        ("5s", "the budget of 5000 ms limits nothing: no network of tiny takes as long"),
        ("200%", "--latency-budget 200% limits nothing: a share is of the largest network"),
        ("2ms", None),
    ],
)
def test_a_budget_that_limits_nothing_says_so(budget: str, told: str | None, tmp_path: Path) -> None:
    request, notes = GoalRequest(latency_budget=budget), Notes()
    target = target_of(DeviceRequest())
    need = Need(name="latency", kind="latency", target=target)
    sources = Sources(request=SourcesRequest(), space=tiny(), restrictions=SpaceRequest(), needs=[need])
    preflight = Preflight(
        space=tiny(),
        request=request,
        targets=[target],
        predictors=Predictors(run=RunFolder(tmp_path), sources=sources, seed=0, reporter=notes),
        latencies={"latency": latency()},
        costs={"latency": latency()},
        metrics=load_task("classification").metrics,
        reporter=notes,
    )
    preflight.goal({})
    assert [text for text in notes.texts if "limits nothing" in text] == ([] if told is None else [told])
