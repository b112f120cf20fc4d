"""Policies are distributions that repeat themselves, and learners move them towards rewards."""

import numpy as np
import pytest
import torch

from hwnas.strategies.reinforcement.diagnostics import state_correlation
from hwnas.strategies.reinforcement.learner import ALGORITHMS, Batch, Learner
from hwnas.strategies.reinforcement.policies import POLICIES, Policy, RecurrentPolicy

SIZES = [3, 1, 4]
every_policy = pytest.mark.parametrize("name", POLICIES)


def policy(name: str, seed: int = 0, aims: int = 2) -> Policy:
    return POLICIES[name](SIZES, aims, torch.Generator().manual_seed(seed))


def drawn(of: Policy, count: int, seed: int = 0, aim: int = 0) -> torch.Tensor:
    return of.draw(torch.full((count,), aim), torch.Generator().manual_seed(seed))


def batch(rows_NC: torch.Tensor, aim: int = 0) -> Batch:
    aims_N = torch.full((len(rows_NC),), aim)
    return Batch(rows_NC=rows_NC, aims_N=aims_N, decided_NC=torch.ones_like(rows_NC, dtype=torch.bool))


@every_policy
def test_only_options_that_a_choice_has_are_drawn_and_their_probabilities_add_up_to_one(name: str) -> None:
    of = policy(name)
    rows_NC = drawn(of, 200)
    assert rows_NC.max(dim=0).values.tolist() == [size - 1 for size in SIZES] and rows_NC.min() == 0
    probabilities_NCO = of.log_probabilities(rows_NC, torch.zeros(200, dtype=torch.long)).exp()
    assert torch.allclose(probabilities_NCO.sum(dim=2), torch.ones(200, 3))
    assert all((probabilities_NCO[:, choice, size:] == 0).all() for choice, size in enumerate(SIZES))


@every_policy
def test_rows_are_drawn_as_often_as_their_probability_says(name: str) -> None:
    of = policy(name)
    with torch.no_grad():
        for parameter in of.parameters():
            parameter.normal_(0, 0.5, generator=torch.Generator().manual_seed(1))
    rows_NC, counts = drawn(of, 4000).unique(dim=0, return_counts=True)
    log_N, _ = learner(of).likelihood(batch(rows_NC))
    assert torch.allclose(counts / 4000, log_N.exp(), atol=0.03)


@every_policy
def test_torchs_global_random_state_is_neither_used_nor_changed(name: str) -> None:
    torch.manual_seed(1)
    before, first = torch.get_rng_state(), drawn(policy(name), 20)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(drawn(policy(name), 20), first)
    assert not torch.equal(drawn(policy(name), 20, seed=1), first)


def learner(of: Policy, algorithm: str = "reinforce", rate: float = 0.05, entropy: float = 0.0) -> Learner:
    return Learner(of, algorithm=algorithm, rate=rate, entropy=entropy, aims=2)


@every_policy
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_what_is_rewarded_becomes_likely_under_its_aim(name: str, algorithm: str) -> None:
    of = policy(name)
    learning = learner(of, algorithm)
    for step in range(80):
        rows_NC = drawn(of, 10, seed=step)
        learning.learn(
            batch(rows_NC), (rows_NC[:, 2] == 3).double().numpy() + (rows_NC[:, 0] == 1).double().numpy(), None
        )
    share = (drawn(of, 500) == torch.tensor([1, 0, 3])).double().mean(dim=0)
    assert share[0] > 0.7 and share[2] > 0.7


def test_an_aim_leaves_the_logits_of_another_as_they_are() -> None:
    of = policy("factorised")
    rows_NC = drawn(of, 10)
    learner(of).learn(batch(rows_NC, aim=1), rows_NC[:, 2].double().numpy(), None)
    assert of.logits_ACO[1].abs().sum() > 0 and of.logits_ACO[0].abs().sum() == 0  # type: ignore[attr-defined]


@every_policy
def test_a_buffer_makes_its_architectures_likelier(name: str) -> None:
    of, best = policy(name), batch(torch.tensor([[2, 0, 1]]))
    learning, rows_NC = learner(of), drawn(policy(name), 10)
    before = learning.likelihood(best)[0].item()
    learning.learn(batch(rows_NC), np.zeros(10), best)
    assert learning.likelihood(best)[0].item() > before


@every_policy
def test_choices_that_are_not_decided_count_nothing(name: str) -> None:
    of = policy(name)
    rows_NC = torch.tensor([[0, 0, 0], [0, 0, 1], [0, 0, 2], [0, 0, 3]])
    decided_NC = torch.tensor([[True, False, False]]).expand(4, 3)
    log_N, entropy_N = learner(of).likelihood(
        Batch(rows_NC=rows_NC, aims_N=torch.zeros(4, dtype=torch.long), decided_NC=decided_NC)
    )
    assert torch.allclose(log_N, log_N[:1].expand(4)) and (entropy_N <= np.log(3) + 1e-5).all()


def test_states_correlate_with_architectures_where_they_add_up_what_was_read() -> None:
    of = RecurrentPolicy([4] * 6, 1, torch.Generator().manual_seed(0))
    rows_NC = np.random.default_rng(0).integers(0, 4, (60, 6))
    small = state_correlation(of, rows_NC)
    with torch.no_grad():
        of.option_COH[:] = 0.0
    assert -1 <= small <= 1 and np.isnan(state_correlation(of, rows_NC))
    assert np.isnan(state_correlation(of, rows_NC[:, :1]))
