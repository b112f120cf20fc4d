"""Laws of penalties: they rise with costs, say what was published, and `budget` meets its bounds."""

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hwnas.errors import HwnasError, UnknownNameError
from hwnas.strategies.gradient.penalties import PENALTIES, Penalty, descent, penalty, updated

PUBLISHED = sorted(set(PENALTIES) - {"budget", "none"})

ratios = st.floats(0.01, 100)
multipliers = st.floats(0, 10)


def numbers(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def loss(name: str, task: float, ratio_K: Sequence[float], multiplier_K: Sequence[float] = ()) -> float:
    chosen = PENALTIES[name]
    multiplier = numbers(*(multiplier_K or [0.0] * len(ratio_K)))
    return float(chosen.apply(torch.tensor(task, dtype=torch.float64), numbers(*ratio_K), multiplier, chosen.weight))


@pytest.mark.parametrize("name", PENALTIES)
@given(low=ratios, high=ratios, other=ratios, multiplier=multipliers)
def test_the_loss_never_falls_where_a_cost_rises(
    name: str, low: float, high: float, other: float, multiplier: float
) -> None:
    low, high = sorted([low, high])
    values = [loss(name, 2.0, [ratio, other], [multiplier, 1.0]) for ratio in (low, high)]
    assert values[0] <= values[1] * (1 + 1e-12) + 1e-12


@pytest.mark.parametrize("name", PUBLISHED)
@given(low=st.floats(1, 10), factor=st.floats(1.01, 10))
def test_over_the_bound_the_loss_rises_with_a_cost(name: str, low: float, factor: float) -> None:
    assert loss(name, 2.0, [low]) < loss(name, 2.0, [low * factor])


@pytest.mark.parametrize("name", PENALTIES)
@given(task=st.floats(0.01, 10), multiplier=multipliers)
def test_at_the_bound_the_loss_is_that_of_the_task(name: str, task: float, multiplier: float) -> None:
    scale = 0.2 * math.log(1000) ** 0.6 if name == "fbnet" else 1
    assert loss(name, task, [1.0], [multiplier]) == pytest.approx(scale * task)


@pytest.mark.parametrize("name", PENALTIES)
@given(ratio=st.floats(1e-9, 1e9))
def test_losses_and_gradients_are_finite(name: str, ratio: float) -> None:
    ratio_K, task = numbers(ratio, 1.0).requires_grad_(), torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    value = PENALTIES[name].apply(task, ratio_K, numbers(0.5, 0.0), PENALTIES[name].weight)
    slopes = torch.autograd.grad(value, [task, ratio_K], allow_unused=True, materialize_grads=True)
    assert value.isfinite() and all(slope.isfinite().all() for slope in slopes)


@pytest.mark.parametrize(
    ("name", "ratio_K", "expected"),
    [
        ("none", [3.0], 2.0),
        ("fbnet", [0.5], 2 * 0.2 * math.log(500) ** 0.6),
        ("fbnet", [0.5, 2.0], 2 * 0.2 * math.log(500) ** 0.6 * math.log(2000) ** 0.6),
        ("proxyless-linear", [1.5, 0.8], 2 + 0.1 * (0.5 - 0.2)),
        ("proxyless-log", [2.0], 2 * (math.log(2000) / math.log(1000)) ** 0.3),
        ("mnasnet-soft", [2.0, 0.5], 2.0),
        ("mnasnet-hard", [1.5, 0.5], 3.0),
        ("budget", [math.e], 52.0),
    ],
)
def test_losses_are_the_published_formulas(name: str, ratio_K: list[float], expected: float) -> None:
    assert loss(name, 2.0, ratio_K) == pytest.approx(expected)


def test_doubling_latency_costs_five_percent_by_mnasnets_soft_reward() -> None:
    """The exponent was chosen for this (Tan et al. 2019, section 3.1)."""
    assert loss("mnasnet-soft", 1.0, [2.0]) == pytest.approx(1.05, abs=0.001)


def test_mnasnets_hard_reward_and_the_budget_do_not_ask_for_less_than_the_bound() -> None:
    for name in ("mnasnet-hard", "budget"):
        assert loss(name, 2.0, [0.9]) == loss(name, 2.0, [0.1]) == 2.0


@given(ratio=ratios, multiplier=multipliers, weight=st.floats(0.1, 10))
def test_the_budgets_gradient_is_its_next_multiplier_over_the_ratio(
    ratio: float, multiplier: float, weight: float
) -> None:
    ratio_K = numbers(ratio).requires_grad_()
    value = PENALTIES["budget"].apply(torch.tensor(1.0), ratio_K, numbers(multiplier), weight)
    (slope_K,) = torch.autograd.grad(value, ratio_K)
    next_multiplier = max(0.0, multiplier + weight * math.log(ratio))
    assert float(slope_K) == pytest.approx(next_multiplier / ratio)
    assert float(updated(numbers(multiplier), ratio_K, weight)) == pytest.approx(next_multiplier)


@given(over=st.floats(1.01, 100), under=st.floats(0.01, 0.99), weight=st.floats(0.1, 10))
def test_multipliers_rise_over_the_bound_and_fall_to_zero_under_it(over: float, under: float, weight: float) -> None:
    multiplier_K = numbers(0.0, 0.0)
    ratio_K = numbers(over, under).requires_grad_()
    for _ in range(3):
        risen_K = updated(multiplier_K, ratio_K, weight)
        assert risen_K[0] > multiplier_K[0] and risen_K[1] == 0 and not risen_K.requires_grad
        multiplier_K = risen_K
    steps = math.ceil(-float(multiplier_K[0]) / (weight * math.log(under)))
    for _ in range(steps + 1):
        fallen_K = updated(multiplier_K, numbers(under, under), weight)
        assert (fallen_K >= 0).all() and (fallen_K <= multiplier_K).all()
        multiplier_K = fallen_K
    assert (multiplier_K == 0).all()


@given(angle=st.floats(0, 2 * math.pi), best=st.tuples(st.floats(-3, 3), st.floats(-3, 3)), bound=st.floats(-2, 2))
@settings(max_examples=20)
def test_the_budget_leads_to_the_best_point_within_the_bound(
    angle: float, best: tuple[float, float], bound: float
) -> None:
    """The task |x - best|^2 / 2 and the ratio exp(a x - bound): projection onto a half-plane, its multiplier the distance."""
    a, target = numbers(math.cos(angle), math.sin(angle)), numbers(*best)
    rho = 1.0
    x, multiplier_K = torch.zeros(2, dtype=torch.float64, requires_grad=True), numbers(0.0)
    for _ in range(30):
        for _ in range(15):
            task, ratio_K = (x - target).square().sum() / 2, (a @ x - bound).exp()[None]
            (slope,) = torch.autograd.grad(PENALTIES["budget"].apply(task, ratio_K, multiplier_K, rho), x)
            x = (x - 0.5 * slope).detach().requires_grad_()
        multiplier_K = updated(multiplier_K, (a @ x - bound).exp()[None], rho)
    distance = max(0.0, float(a @ target) - bound)
    assert x.detach().numpy() == pytest.approx((target - distance * a).numpy(), abs=1e-4)
    assert float(multiplier_K) == pytest.approx(distance, abs=1e-4)


@given(
    slopes=st.lists(st.floats(-3, 3), min_size=2, max_size=5).filter(lambda each: max(map(abs, each)) > 0.1),
    over=st.floats(0.01, 2),
)
def test_a_step_down_the_budget_meets_one_bound_whose_logarithm_is_linear(slopes: list[float], over: float) -> None:
    slope_L = numbers(*slopes)
    step_L = descent(slope_L[None], numbers(math.exp(over)), numbers(0.0), 100.0, 1e6)
    assert float(slope_L @ step_L) == pytest.approx(-over)


@given(data=st.data(), count=st.integers(1, 3), most=st.floats(0.001, 10))
def test_a_step_down_the_budget_is_at_most_so_long_and_none_within_the_bounds(
    data: st.DataObject, count: int, most: float
) -> None:
    slope_KL = numbers(*data.draw(st.lists(st.floats(-5, 5), min_size=4 * count, max_size=4 * count))).reshape(count, 4)
    ratio_K = numbers(*data.draw(st.lists(ratios, min_size=count, max_size=count)))
    step_L = descent(slope_KL, ratio_K, torch.zeros_like(ratio_K), 100.0, most)
    assert (step_L.abs() <= most * (1 + 1e-9)).all()
    over_K = ratio_K.log().clamp(min=0)
    assert float(over_K @ slope_KL @ step_L) <= 0
    if (ratio_K <= 1).all():
        assert (step_L == 0).all()


def test_the_weight_can_be_replaced_but_not_by_what_is_no_weight() -> None:
    assert replace(PENALTIES["budget"], weight=2.0) == Penalty(PENALTIES["budget"].apply, 2.0, separate=True)
    for weight in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(HwnasError, match=rf"the weight of a penalty is a positive number, not {weight}"):
            replace(PENALTIES["fbnet"], weight=weight)


def test_every_penalty_is_found_by_its_name() -> None:
    assert {name: penalty(name) for name in PENALTIES} == dict(PENALTIES)


def test_an_unknown_penalty_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown penalty 'magic'; known: budget, fbnet, .*proxyless-log"):
        penalty("magic")
