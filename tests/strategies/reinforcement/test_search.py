"""A controller's search: what it tells, what switched-off choices count, and every combination of its options."""

import re
from itertools import product

import numpy as np
import pytest
from pydantic import ValidationError

from hwnas.strategies.controller import Controller
from hwnas.strategies.reinforcement.search import UNIFORM, decided
from hwnas.strategies.workshop import Workshop
from hwnas.testing.notes import Notes
from hwnas.testing.problems import choices_of, steps, uneven

COMBINATIONS = list(product(("factorised", "recurrent"), ("reinforce", "ppo"), ("soft", "hard"), (0, 3)))


@pytest.mark.parametrize(("policy", "algorithm", "reward", "buffer"), COMBINATIONS)
def test_every_combination_evaluates_as_many_feasible_networks_as_it_may(
    policy: str, algorithm: str, reward: str, buffer: int
) -> None:
    recorder = steps(choices_of([4] * 6, conditional=True), bounds={"latency": 6.0})
    options = Controller(evaluations=50, policy=policy, algorithm=algorithm, reward=reward, buffer=buffer)
    options.search(recorder.problem(), Workshop(seed=0))
    assert len(recorder.asked) == 50


@pytest.mark.parametrize("policy", ["factorised", "recurrent"])
def test_the_end_of_a_search_tells_the_rewards_of_the_random_search_twin_and_the_entropy(policy: str) -> None:
    notes = Notes()
    recorder = uneven(choices_of([4] * 10))
    Controller(evaluations=150, policy=policy).search(recorder.problem(), Workshop(seed=0, reporter=notes))
    twin, entropy, *states = notes.texts
    mean, best, best_uniform = map(float, re.findall(r"[+-][0-9.]+", twin))
    assert 0 < mean < best and 0 < best_uniform < best and f"of {UNIFORM} that were drawn uniformly" in twin
    now, most = (float(text.split()[-1].rstrip(".")) for text in entropy.replace(" nats", "").split(", "))
    assert 0 < now < most == pytest.approx(10 * np.log(4), abs=0.01)
    assert [("Spearman" in text) for text in states] == [True] * (policy == "recurrent")


def test_the_first_networks_are_the_same_whatever_the_policy() -> None:
    """They are the sample of random search."""
    asked = []
    for policy in ("factorised", "recurrent"):
        recorder = steps(choices_of([4] * 8))
        Controller(evaluations=40, policy=policy).search(recorder.problem(), Workshop(seed=0))
        asked.append(recorder.asked)
    assert asked[0][:UNIFORM] == asked[1][:UNIFORM] and asked[0] != asked[1]


def test_switched_off_choices_and_single_options_are_not_decided() -> None:
    space = choices_of([3, 4, 1], conditional=True)
    assert decided(space, np.array([[0, 3, 0], [1, 3, 0]])).tolist() == [[True, False, False], [True, True, False]]


@pytest.mark.parametrize(
    "options",
    [
        {"policy": "transformer"},
        {"algorithm": "a2c"},
        {"reward": "medium"},
        {"samples": 0},
        {"policy_rate": 0.0},
        {"policy_rate": float("nan")},
        {"entropy": -0.1},
        {"buffer": -1},
        {"steps": 3},
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Controller(**options)
