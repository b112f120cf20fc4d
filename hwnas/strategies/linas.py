"""LINAS, the search of DyNAS-T (Cummings et al. 2022): NSGA-II on predictions, whose population is evaluated next.

Shapes: N architectures, C choices, F one-hot features.
"""

from typing import ClassVar, Final, final

import numpy as np
from pydantic.dataclasses import dataclass

from hwnas.core.arrays import FloatArray, IntArray
from hwnas.strategies.bred import bred
from hwnas.strategies.evaluated import Evaluated
from hwnas.strategies.learned import Predict, search_in_rounds
from hwnas.strategies.options import STRICT, Evaluations, PerRound, Predictions
from hwnas.strategies.problem import Problem
from hwnas.strategies.workshop import Workshop

# The regularisation that cross-validation chooses from: five values over the ranges of the published code, which tries 100.
RIDGE_ALPHAS: Final = (0.1, 0.3, 1.0, 3.0, 10.0)
SVR_COSTS: Final = (1.0, 3.0, 10.0, 30.0, 100.0)
FOLDS: Final = 5
MOST_SVR_STEPS: Final = 1_000_000


@final
@dataclass(frozen=True, kw_only=True, config=STRICT)
class Linas:
    """Evaluates, round after round, the population that NSGA-II breeds on predictions, with more than two objectives U-NSGA-III.

    Every objective that is a metric has its own predictor, ridge regression or a support vector machine; costs are exact.
    """

    name: ClassVar[str] = "linas"
    trains_weights: ClassVar[bool] = False

    evaluations: Evaluations = 200
    per_round: PerRound = 50
    predictions: Predictions = 5_000

    def search(self, problem: Problem, workshop: Workshop) -> None:
        """Evaluates `evaluations` different architectures, or all where there are fewer."""
        rng = np.random.default_rng(workshop.seed)

        def propose(evaluated: Evaluated) -> IntArray:
            seed = int(rng.integers(2**31))
            return bred(evaluated, ridge_or_svr, self.per_round, self.predictions, seed)

        search_in_rounds(problem, propose, evaluations=self.evaluations, per_round=self.per_round, rng=rng)


def ridge_or_svr(features_NF: FloatArray, target_N: FloatArray, _seed: int) -> Predict:
    """Fits ridge regression and a support vector machine with an RBF kernel, and returns what cross-validates better.

    The mean absolute percentage error decides. As in DyNAS-T's code, targets are scaled to between 10 and 100, and features
    in which all architectures are alike are left out.
    """
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import GridSearchCV
    from sklearn.svm import SVR

    varies_F = np.ptp(features_NF, axis=0) > 0
    largest = float(np.abs(target_N).max())
    if len(target_N) < 2 or not varies_F.any() or largest == 0:
        return lambda features_NF: np.full(len(features_NF), target_N.mean())
    unit = 10 ** (np.floor(np.log10(largest)) - 1)
    searches = [
        GridSearchCV(model, grid, scoring="neg_mean_absolute_percentage_error", cv=min(FOLDS, len(target_N)))
        for model, grid in (
            (Ridge(), {"alpha": RIDGE_ALPHAS}),
            (SVR(kernel="rbf", gamma="auto", epsilon=0.0, max_iter=MOST_SVR_STEPS), {"C": SVR_COSTS}),
        )
    ]
    fitted = [search.fit(features_NF[:, varies_F], target_N / unit) for search in searches]
    model = max(fitted, key=lambda search: search.best_score_).best_estimator_
    return lambda features_NF: np.asarray(unit * model.predict(features_NF[:, varies_F]))
