"""One step of Bayesian optimisation with a Gaussian process. Loads scikit-learn when it is called.

Shapes: K points whose rewards are known, N points to choose from, M coordinates of a point.
"""

import warnings
from typing import Final

import numpy as np

from hwnas.core.arrays import FloatArray

# The weight of the standard deviation in the upper confidence bound, and the process's own settings: the defaults of the
# package bayesian-optimization, with which the code of RoBoT (He et al. 2024) runs.
KAPPA: Final = 2.576
NOISE: Final = 1e-6
RESTARTS: Final = 5


def most_promising(known_KM: FloatArray, reward_K: FloatArray, points_NM: FloatArray, rng: np.random.Generator) -> int:
    """Returns the index of the point with the highest upper confidence bound (GP-UCB, Srinivas et al. 2010).

    Rewards that are not finite count as the lowest finite one. The process has a Matern 5/2 kernel; its length scale
    maximises the likelihood. Without known points the first point is returned.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import Matern

    seed = int(rng.integers(2**31))
    finite_K = np.isfinite(reward_K)
    if not finite_K.any():
        return 0
    process = GaussianProcessRegressor(
        kernel=Matern(nu=2.5), alpha=NOISE, normalize_y=True, n_restarts_optimizer=RESTARTS, random_state=seed
    )
    with warnings.catch_warnings():
        # With few points the best length scale may lie at its bound, and variances round to below 0.
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", "Predicted variances smaller than 0", UserWarning)
        process.fit(known_KM, np.where(finite_K, reward_K, reward_K[finite_K].min()))
        mean_N, deviation_N = process.predict(points_NM, return_std=True)
    return int(np.argmax(mean_N + KAPPA * deviation_N))
