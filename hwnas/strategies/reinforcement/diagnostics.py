"""Diagnostics of a controller: its last draws beside uniform ones, and whether its states remember architectures.

Shapes: N architectures, C choices, P pairs, H units of the LSTM.
"""

from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr

from hwnas.core.arrays import FloatArray, IntArray
from hwnas.strategies.reinforcement.policies import RecurrentPolicy


@final
@dataclass(frozen=True, slots=True)
class Sample:
    """Evaluated rows (N, C) and their rewards (N,), in standard deviations of uniform draws under the same aim."""

    rows_NC: IntArray
    reward_N: FloatArray


def state_correlation(policy: RecurrentPolicy, rows_NC: IntArray) -> float:
    """Returns Spearman's correlation between distances of hidden states and edit distances of architectures.

    Adam and Lorraine (2019) ask so whether a controller remembers what it has chosen. The states are those from which the
    last choice is drawn, under the first aim. The edit distance of two architectures is the number of earlier choices that
    differ; the states have read no others. NaN where all distances are equal.
    """
    if rows_NC.shape[1] < 2 or len(rows_NC) < 3:
        return float("nan")
    with torch.no_grad():
        states_NH = policy.states(torch.from_numpy(rows_NC), torch.zeros(len(rows_NC), dtype=torch.long))[:, -1]
    state_P = pdist(states_NH.double().numpy())
    edit_P = np.rint(pdist(rows_NC[:, :-1], "hamming") * (rows_NC.shape[1] - 1))
    if np.ptp(state_P) == 0 or np.ptp(edit_P) == 0:
        return float("nan")
    return float(spearmanr(state_P, edit_P).statistic)


def twin_note(last: Sample, uniform: Sample) -> str:
    """Returns the rewards of a policy's last architectures beside those of uniform draws, in words.

    Uniform draws are the random-search twin that Li and Talwalkar (2019) and Adam and Lorraine (2019) ask for.
    """
    return (
        f"controller: mean reward of the policy's last {len(last.reward_N)} new networks: {last.reward_N.mean():+.2f} standard "
        f"deviations from that of {len(uniform.reward_N)} that were drawn uniformly (random search); the best of them "
        f"{last.reward_N.max():+.2f}, the best uniform one {uniform.reward_N.max():+.2f}"
    )
