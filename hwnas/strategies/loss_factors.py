"""The factors of a loss: the additive model of latencies, fitted to the losses of evaluated networks.

A sum of factors has an exact best network under limits (`core/optimum.py`). A draw from the model's posterior is a sum of
factors, too, so Thompson sampling is the same integer program.

Shapes: N architectures, C choices, P features.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from scipy.linalg import cho_solve

from hwnas.core.arrays import FloatArray, IntArray
from hwnas.core.factors import Factor, absorbed
from hwnas.core.space import SearchSpace
from hwnas.errors import TrainingError
from hwnas.predict.additive import AdditiveModel, fit_additive
from hwnas.predict.bayes import Posterior
from hwnas.predict.features import space_basis


@final
@dataclass(frozen=True, eq=False)
class LossFactors:
    """The losses of a space's networks as sums over layers, and how uncertain few evaluations leave these.

    `model` predicts positive numbers, as a cost must be: the losses, moved up by `shift`. It must have a posterior.
    """

    model: AdditiveModel
    shift: float

    @classmethod
    def fit(cls, space: SearchSpace, rows_NC: IntArray, loss_N: FloatArray) -> "LossFactors":
        """Returns the factors that the losses of one evaluated network or more make likely; lower losses are better.

        The evidence decides how much features matter, so few networks give flat factors. Losses may be negative. Raises
        TrainingError for a loss that is not a number.
        """
        if not np.isfinite(loss_N).all():
            raise TrainingError(
                f"the losses {loss_N.tolist()} cannot be fitted; train again with a lower learning rate"
            )
        shift = 0.0 if loss_N.min() > 0 else float((np.ptp(loss_N) or 1.0) - loss_N.min())
        basis = space_basis(space, {}, float(np.median(loss_N)) + shift)
        return cls(fit_additive(basis, space.columns, rows_NC, loss_N + shift), shift)

    def predict(self, rows_NC: IntArray) -> FloatArray:
        """Returns the expected loss of each architecture; shape (N,)."""
        return self.model.predict(rows_NC) - self.shift

    @property
    def mean(self) -> Sequence[Factor]:
        """The expected factors; their sum is the expected loss up to a constant."""
        return absorbed(self.model.factors)

    def drawn(self, rng: np.random.Generator) -> Sequence[Factor]:
        """Returns factors drawn from the posterior; their sum is a loss up to a constant."""
        posterior = self.model.posterior
        assert posterior is not None  # networks were evaluated
        return absorbed(self.model.basis.factors(_drawn(posterior, rng)))


def _drawn(posterior: Posterior, rng: np.random.Generator) -> FloatArray:
    """Returns weights drawn from a posterior; shape (P,).

    A draw from the prior is corrected by what it gets wrong about the data (Matheron's rule: Wilson et al. 2020, section 2).
    """
    design_NP = posterior.design_NP
    prior_P = rng.standard_normal(len(posterior.prior_P)) * np.sqrt(posterior.prior_P)
    noise_N = posterior.noise * rng.standard_normal(design_NP.shape[0])
    gain_N = cho_solve((posterior.factor_NN, True), design_NP @ prior_P + noise_N)
    return np.asarray(posterior.mean_P + prior_P - posterior.prior_P * (design_NP.T @ gain_N))
