"""The updates of a policy: REINFORCE and PPO with a moving baseline, an entropy bonus, and a buffer of good architectures.

Shapes: N architectures, C choices, O most options of a choice, A aims.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, final

import numpy as np
import torch
from torch import Tensor

from hwnas.core.arrays import FloatArray
from hwnas.strategies.reinforcement.policies import Policy

# The share of a baseline that stays after each reward (ENAS).
BASELINE_DECAY: Final = 0.95
# PPO (Schulman et al. 2017): steps on one batch, and how far a probability's ratio to the old one counts from 1.
PPO_STEPS: Final = 4
PPO_CLIP: Final = 0.2
# The weight of the buffer's mean log-likelihood beside standardised rewards. Adam and Lorraine (2019) add a buffer of sampled
# architectures; this form of its loss is hwnas's proposal.
BUFFER_WEIGHT: Final = 0.1


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Drawn rows (N, C), their aims (N,), and whether each choice is on and had several options (N, C)."""

    rows_NC: Tensor
    aims_N: Tensor
    decided_NC: Tensor


@final
class Learner:
    """Moves a policy towards higher rewards. The mean reward of each aim's first batch is its first baseline."""

    def __init__(self, policy: Policy, *, algorithm: str, rate: float, entropy: float, aims: int) -> None:
        self.policy = policy
        self._objective, self._steps = ALGORITHMS[algorithm]
        self._entropy = entropy
        self._optimiser = torch.optim.Adam(policy.parameters(), lr=rate)
        self._baseline_A = np.full(aims, np.nan)

    def learn(self, batch: Batch, reward_N: FloatArray, buffer: Batch | None) -> None:
        """Updates the policy on drawn architectures and their rewards; the likelihood of the buffer's rises, too."""
        advantage_N = torch.tensor(self._advantages(batch.aims_N.numpy(), reward_N), dtype=torch.float32)
        with torch.no_grad():
            old_N, _ = self.likelihood(batch)
        for _ in range(self._steps):
            log_N, entropy_N = self.likelihood(batch)
            objective = self._objective(log_N, old_N, advantage_N).mean() + self._entropy * entropy_N.mean()
            if buffer is not None:
                objective = objective + BUFFER_WEIGHT * self.likelihood(buffer)[0].mean()
            self._optimiser.zero_grad()
            (-objective).backward()  # type: ignore[no-untyped-call]
            self._optimiser.step()

    def likelihood(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Returns log-likelihoods of rows and the entropies of their choices, both summed over decided choices; (N,) each."""
        log_NCO = self.policy.log_probabilities(batch.rows_NC, batch.aims_N)
        log_NC = log_NCO.gather(2, batch.rows_NC[:, :, None])[:, :, 0]
        entropy_NC = -(log_NCO.exp() * log_NCO).sum(dim=2)
        return (log_NC * batch.decided_NC).sum(dim=1), (entropy_NC * batch.decided_NC).sum(dim=1)

    def _advantages(self, aims_N: np.ndarray, reward_N: FloatArray) -> FloatArray:
        """Returns rewards minus the baselines of their aims, which then move; shape (N,)."""
        for aim in np.unique(aims_N):
            if np.isnan(self._baseline_A[aim]):
                self._baseline_A[aim] = reward_N[aims_N == aim].mean()
        advantage_N = reward_N - self._baseline_A[aims_N]
        for aim, reward in zip(aims_N, reward_N, strict=True):
            self._baseline_A[aim] += (1 - BASELINE_DECAY) * (reward - self._baseline_A[aim])
        return np.asarray(advantage_N)


def _reinforce(log_N: Tensor, old_N: Tensor, advantage_N: Tensor) -> Tensor:
    """Returns log p · advantage, whose gradient is the policy gradient (Williams 1992); shape (N,)."""
    return log_N * advantage_N


def _ppo(log_N: Tensor, old_N: Tensor, advantage_N: Tensor) -> Tensor:
    """Returns the clipped surrogate objective (Schulman et al. 2017, equation 7); shape (N,)."""
    ratio_N = (log_N - old_N).exp()
    return torch.minimum(ratio_N * advantage_N, ratio_N.clamp(1 - PPO_CLIP, 1 + PPO_CLIP) * advantage_N)


# The objective of log-likelihoods now and before, and advantages; and steps on one batch.
ALGORITHMS: Final[Mapping[str, tuple[Callable[[Tensor, Tensor, Tensor], Tensor], int]]] = {
    "reinforce": (_reinforce, 1),
    "ppo": (_ppo, PPO_STEPS),
}
