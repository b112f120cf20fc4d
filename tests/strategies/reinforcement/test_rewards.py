"""Rewards are MnasNet's, for losses and accuracies alike, and aim at targets or exponents where nothing limits a cost."""

from dataclasses import replace

import numpy as np
import pytest

from hwnas.strategies.candidates import all_rows
from hwnas.strategies.problem import Problem
from hwnas.strategies.reinforcement.rewards import MULTIPLES, PLACES, Rewards, rewards_of
from hwnas.testing.problems import choices_of, steps

SPACE = choices_of([4] * 4)


def rewards(problem: Problem, kind: str) -> Rewards:
    rows_NC = all_rows(problem.space)
    return rewards_of(problem, kind, problem.points(rows_NC, metrics(len(rows_NC))), rows_NC)


def metrics(count: int) -> dict[str, np.ndarray]:
    values_N = np.random.default_rng(0).uniform(1, 2, count)
    return {"loss": values_N, "accuracy": -values_N}


def limited(metric: str, bound: float = 4.0) -> Problem:
    return steps(SPACE, bounds={"latency": bound}).problem((metric, "latency"))


@pytest.mark.parametrize(
    ("kind", "latency_ms", "factor"),
    [("soft", 8.0, 2**-0.07), ("soft", 2.0, 2**0.07), ("hard", 8.0, 0.5), ("hard", 2.0, 1.0), ("soft", 4.0, 1.0)],
)
def test_an_accuracy_has_the_reward_of_mnasnet(kind: str, latency_ms: float, factor: float) -> None:
    points_ND = np.array([[-0.75, latency_ms]])  # an accuracy of 0.75, minimised
    assert rewards(limited("accuracy"), kind).of(points_ND) == pytest.approx(np.array([[0.75 * factor]]))


@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_a_loss_is_worse_the_slower_the_network(kind: str) -> None:
    reward_N = rewards(limited("loss"), kind).of(np.array([[0.75, 6.0], [0.75, 8.0], [0.7, 8.0]]))[:, 0]
    assert reward_N[1] < reward_N[0] < 0 and reward_N[2] > reward_N[1]


def test_without_a_limit_hard_aims_at_several_targets_and_soft_at_several_exponents() -> None:
    free = steps(SPACE).problem()
    latency_N = free.costs["latency"].values(all_rows(SPACE))
    low, high = latency_N.min(), latency_N.max()
    hard, soft = rewards(free, "hard"), rewards(free, "soft")
    assert hard.target_AK[:, 0] == pytest.approx([low + place * (high - low) for place in PLACES])
    assert soft.below_AK[:, 0] == pytest.approx([-0.07 * multiple for multiple in MULTIPLES])
    assert np.ptp(soft.target_AK) == 0 and len(limited("loss").limits) == len(rewards(limited("loss"), "soft")) == 1


def test_a_target_only_rescales_the_soft_reward_so_that_it_cannot_spread_a_front() -> None:
    soft = rewards(limited("accuracy"), "soft")
    other = replace(soft, target_AK=3 * soft.target_AK)
    points_ND = np.random.default_rng(1).uniform(1, 2, (20, 2)) * [-1, 4]
    assert other.of(points_ND) == pytest.approx(3**0.07 * soft.of(points_ND))


def test_a_bound_on_one_of_two_costs_is_its_target_under_every_aim() -> None:
    problem = steps(SPACE, bounds={"latency": 4.0}).problem(("loss", "latency", "size"))
    found = rewards(problem, "hard")
    assert found.target_AK[:, 0].tolist() == [4.0] * len(PLACES) and len(set(found.target_AK[:, 1])) == len(PLACES)


def test_costs_that_are_zero_or_negative_have_finite_rewards_that_fall_with_the_cost() -> None:
    recorder = steps(SPACE)
    recorder.costs = {"score": lambda rows_NC: np.asarray(rows_NC).sum(axis=1) - 6.0}
    found = rewards(recorder.problem(("loss", "score")), "soft")
    reward_NA = found.of(np.stack([np.full(13, 1.5), np.arange(13) - 6.0], axis=1))
    assert np.isfinite(reward_NA).all() and (np.diff(reward_NA, axis=0) < 0).all()


def test_a_metric_that_is_not_a_number_has_the_lowest_reward() -> None:
    reward_N = rewards(limited("loss"), "soft").of(np.array([[np.nan, 4.0], [1.0, 4.0], [2.0, 4.0]]))[:, 0]
    assert reward_N[0] == reward_N[2] < reward_N[1]
