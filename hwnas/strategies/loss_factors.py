"""The factors of a loss: the additive model of latencies, fitted to the losses of evaluated networks.

A sum of factors has an exact best network under limits (`core/optimum.py`). A draw from the model's posterior is a sum of
factors, too, so Thompson sampling is the same integer program.

Shapes: N architectures, C choices, P features.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import final

import numpy as np
from scipy.linalg import cho_solve

from hwnas.core.arrays import FloatArray, IntArray
from hwnas.core.factors import Factor, absorbed, total
from hwnas.core.space import SearchSpace
from hwnas.core.structure import unread
from hwnas.errors import TrainingError
from hwnas.predict.additive import AdditiveModel, fit_additive, relative
from hwnas.predict.basis import Basis, Feature, Table
from hwnas.predict.bayes import Posterior
from hwnas.predict.features import space_tables
from hwnas.strategies.threads import one_blas_thread


@final
@dataclass(frozen=True, eq=False)
class LossFactors:
    """The losses of a space's networks as sums over layers, and how uncertain few evaluations leave these.

    `model` predicts positive numbers, as a cost must be: the losses, moved up by `shift`, in units of `unit`. It must have
    a posterior.
    """

    model: AdditiveModel
    shift: float
    unit: float

    @classmethod
    @one_blas_thread
    def fit(cls, space: SearchSpace, rows_NC: IntArray, loss_N: FloatArray) -> "LossFactors":
        """Returns the factors that the losses of one evaluated network or more make likely; lower losses are better.

        The evidence decides how much features matter, so few networks give flat factors. Losses may be negative, and may be
        other numbers that are to be predicted. Raises TrainingError for a loss that is not finite.
        """
        if not len(loss_N) or not np.isfinite(loss_N).all():
            raise TrainingError(
                f"{np.count_nonzero(~np.isfinite(loss_N))} of {len(loss_N)} numbers to be fitted are not finite; losses are "
                "finite after training with a lower --learning-rate"
            )
        shift = 0.0 if loss_N.min() > 0 else float((np.ptp(loss_N) or 1.0) - loss_N.min())
        unit = float(np.median(loss_N)) + shift
        return cls(fit_additive(_basis(space), space.columns, rows_NC, (loss_N + shift) / unit), shift, unit)

    def predict(self, rows_NC: IntArray) -> FloatArray:
        """Returns the expected loss of each architecture; shape (N,)."""
        return total(self.mean, rows_NC, self.model.columns) - self.shift

    def held_out(self, loss_N: FloatArray) -> FloatArray:
        """Returns what the other networks say of each one's loss; `loss_N` are those that were fitted; shape (N,).

        Leave-one-out predictions of a Gaussian process with fixed scales (Rasmussen and Williams 2006, equation 5.12).
        """
        posterior = self.model.posterior
        assert posterior is not None  # networks were evaluated
        cost_N = (loss_N + self.shift) / self.unit
        relative_N = relative(cost_N)
        inverse_NN = cho_solve((posterior.factor_NN, True), np.eye(len(loss_N)))
        error_N = inverse_NN @ (cost_N * relative_N) / np.diag(inverse_NN) / relative_N
        return np.asarray(loss_N - self.unit * error_N)

    @cached_property
    def mean(self) -> Sequence[Factor]:
        """The expected factors; their sum is the expected loss up to a constant."""
        return self._losses(self.model.factors)

    def drawn(self, rng: np.random.Generator) -> Sequence[Factor]:
        """Returns factors drawn from the posterior; their sum is a loss up to a constant."""
        posterior = self.model.posterior
        assert posterior is not None  # networks were evaluated
        return self._losses(self.model.basis.factors(_drawn(posterior, rng)))

    def _losses(self, factors: Sequence[Factor]) -> Sequence[Factor]:
        return [Factor(factor.name, factor.scope, self.unit * factor.values) for factor in absorbed(factors)]


@lru_cache(maxsize=4)
def _basis(space: SearchSpace) -> Basis:
    """Returns the features of a space's losses around 1: the same for every fit, and slow to make."""
    return Basis.of([*space_tables(space, {}, 1.0), *_unread_tables(space)], 1.0)


def _unread_tables(space: SearchSpace) -> list[Table]:
    """Returns a table for every choice that no layer's scope has, with a feature per option.

    Such choices have no cost of their own in latency, but losses may follow them.
    """
    names = unread(space)
    tables: list[Table] = []
    for name in names:
        count = len(space.choice(name).options)
        features = [Feature(cell, ("fixed", "choice"), (name, str(cell)), 1.0 / len(names)) for cell in range(count)]
        tables.append((Factor(name, (name,), np.zeros(count)), features))
    return tables


def _drawn(posterior: Posterior, rng: np.random.Generator) -> FloatArray:
    """Returns weights drawn from a posterior; shape (P,).

    A draw from the prior is corrected by what it gets wrong about the data (Matheron's rule: Wilson et al. 2020, section 2).
    """
    design_NP = posterior.design_NP
    prior_P = rng.standard_normal(len(posterior.prior_P)) * np.sqrt(posterior.prior_P)
    noise_N = posterior.noise * rng.standard_normal(design_NP.shape[0])
    gain_N = cho_solve((posterior.factor_NN, True), design_NP @ prior_P + noise_N)
    return np.asarray(posterior.mean_P + prior_P - posterior.prior_P * (design_NP.T @ gain_N))
