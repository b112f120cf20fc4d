"""Boosted trees (Chen and Guestrin 2016, XGBoost): on the residual of an additive model, as factors; and by themselves.

A leaf of a shallow tree is a constant on a box: options of the few choices on its path. So an ensemble is a sum of
factors, with a breakdown, an expectation and a budget like any other. xgboost only fits; its JSON is read here, so that
predicting needs no xgboost. `RegressionTrees` predict and explain by themselves, with larger trees; these need it.

Shapes: N networks, C choices, T candidate numbers of trees, F features.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self, final

import numpy as np

from hwnas.core.arrays import BoolArray, FloatArray, IntArray
from hwnas.core.choice import Choice
from hwnas.core.factors import Factor, absorbed

if TYPE_CHECKING:
    from xgboost import Booster, DMatrix

# The prefix of the names of trees' factors.
TREES: Final = "trees"
# Ensembles are nested: the first trees of the most are the fewest.
ENSEMBLE_SIZES: Final = (10, 20, 50, 100, 200, 300)
TREE_FOLDS: Final = 5
# Fewer networks cannot tell an interaction from noise.
FEWEST_FOR_TREES: Final = 40
# The least gain of trees, as a share of the relative error and in standard errors of the gain.
LEAST_GAIN: Final = 0.05
STANDARD_ERRORS: Final = 1.0

LEARNING_RATE: Final = 0.1
DEPTH: Final = 3
# In networks of mean weight: the fewest in a leaf, and those that pull a leaf to 0.
LEAF_NETWORKS: Final = 3.0
PRIOR_NETWORKS: Final = 1.0
# Each tree is fitted to other networks, or all would follow the same few.
SUBSAMPLE: Final = 0.8

# The settings of `RegressionTrees`: those of GBDT-NAS (Luo et al. 2020); `reg_lambda` is LightGBM's default.
REGRESSION_TREES: Final = 100
REGRESSION: Final[Mapping[str, Any]] = {
    "max_leaves": 31,
    "learning_rate": 0.05,
    "colsample_bytree": 0.9,
    "subsample": SUBSAMPLE,
    "reg_lambda": 0.0,
}
# The fewest networks in a leaf are 20 in GBDT-NAS, which has 1,000 networks or more; fewer networks have smaller leaves.
FULL_LEAF: Final = 20
NETWORKS_PER_LEAF_NETWORK: Final = 50


def fit_trees(rows_NC: IntArray, residual_N: FloatArray, weight_N: FloatArray, trees: int) -> dict[str, Any]:
    """Returns trees of depth 3 on option indices with the least weighted squared error, as XGBoost's own JSON.

    `residual_N` is measured minus predicted; a `weight_N` of 1 / predicted^2 makes errors relative. A row's correction is
    the sum of the leaves that it falls into. The same inputs give the same trees.
    """
    content: dict[str, Any] = json.loads(_boosted(rows_NC, residual_N, weight_N, trees).save_raw("json"))
    return content


def tree_factors(booster: Mapping[str, Any], choices: Sequence[Choice]) -> tuple[Factor, ...]:
    """Returns the trees of `fit_trees` as factors of normalised rows; `choices` are the columns they were fitted to.

    Leaves over the same choices share a factor, and leaves over a part of a factor's choices are added to it. Raises
    ValueError, KeyError or TypeError where the JSON is damaged.
    """
    leaves = []
    for number, tree in enumerate(booster["learner"]["gradient_booster"]["model"]["trees"]):
        try:
            leaves += [_leaf_factor(box, leaf, choices) for box, leaf in _leaves(tree, choices, 0, {})]
        except (IndexError, RecursionError):
            raise ValueError(f"tree {number} is no tree over {len(choices)} choices") from None
    return tuple(absorbed(leaves))


def chosen_trees(rows_NC: IntArray, residual_N: FloatArray, predicted_N: FloatArray) -> tuple[int, FloatArray]:
    """Returns the number of trees to add to an additive model, and the held-out corrections of that many trees; shape (N,).

    `predicted_N` are the additive model's predictions of networks it was not fitted to, `residual_N` is measured minus
    predicted. Trees must prove themselves on networks they were not fitted to: on average they must remove a good share of
    the relative error, and significantly more than nothing. Otherwise the answer is 0 trees and corrections of 0. Only the
    number of trees is chosen with all networks in sight.
    """
    none = 0, np.zeros(len(rows_NC))
    if len(rows_NC) < FEWEST_FOR_TREES:
        return none
    from hwnas.predict.additive import relative  # scipy takes a second to import, and predicting needs none

    added_TN = _held_out(rows_NC, residual_N, relative(predicted_N) ** 2)
    measured_N = predicted_N + residual_N
    without_N = np.abs(residual_N) / measured_N
    gain_TN = without_N - np.abs(residual_N - added_TN) / measured_N
    best = int(gain_TN.mean(1).argmax())
    standard_error = gain_TN[best].std(ddof=1) / np.sqrt(len(rows_NC))
    if gain_TN[best].mean() <= max(STANDARD_ERRORS * standard_error, LEAST_GAIN * without_N.mean()):
        return none
    return ENSEMBLE_SIZES[best], added_TN[best]


def _held_out(rows_NC: IntArray, residual_N: FloatArray, weight_N: FloatArray) -> FloatArray:
    """Returns each network's correction by trees that never saw it, for every number of trees; shape (T, N)."""
    from xgboost import DMatrix

    order = np.random.default_rng(0).permutation(len(rows_NC))
    result = np.empty((len(ENSEMBLE_SIZES), len(rows_NC)))
    for fold in np.array_split(order, TREE_FOLDS):
        rest = np.setdiff1d(order, fold)
        booster = _boosted(rows_NC[rest], residual_N[rest], weight_N[rest], max(ENSEMBLE_SIZES))
        of_fold = DMatrix(rows_NC[fold].astype(np.float32), nthread=1)
        for candidate, trees in enumerate(ENSEMBLE_SIZES):
            result[candidate, fold] = booster.predict(of_fold, iteration_range=(0, trees))
    return result


def _boosted(rows_NC: IntArray, residual_N: FloatArray, weight_N: FloatArray, trees: int) -> "Booster":
    from xgboost import DMatrix, train

    # XGBoost splits nothing that gains less than 1e-6, in whatever unit: so the weights are those that make it 1.
    unit = float(np.mean(weight_N * residual_N**2)) or 1.0
    relative_N = weight_N / unit
    options = {
        "objective": "reg:squarederror",
        "base_score": 0.0,
        "tree_method": "hist",
        "max_depth": DEPTH,
        "learning_rate": LEARNING_RATE,
        "min_child_weight": LEAF_NETWORKS * relative_N.mean(),
        "reg_lambda": PRIOR_NETWORKS * relative_N.mean(),
        "subsample": SUBSAMPLE,
        "seed": 0,
        "nthread": 1,
    }
    networks = DMatrix(rows_NC.astype(np.float32), residual_N, weight=relative_N, nthread=1)
    return train(options, networks, trees)


def _leaves(
    tree: Mapping[str, Any], choices: Sequence[Choice], node: int, box: Mapping[int, BoolArray]
) -> Iterator[tuple[Mapping[int, BoolArray], float]]:
    """Yields (box, value) of every leaf below a node; a box holds, per column on the path, which options lead there.

    A node of XGBoost's JSON sends a row left where its feature is less than the threshold; a leaf is a node without
    children, and its threshold is its value.
    """
    threshold = float(tree["split_conditions"][node])
    if not math.isfinite(threshold):
        raise ValueError(f"a tree's threshold is {threshold}")
    left = tree["left_children"][node]
    if left < 0:
        yield box, threshold
        return
    column, right = tree["split_indices"][node], tree["right_children"][node]
    if column < 0 or right < 0:  # Python would count from the end
        raise IndexError
    size = len(choices[column].options)
    is_left = np.arange(size) < threshold
    here = box.get(column, np.ones(size, dtype=bool))
    yield from _leaves(tree, choices, left, {**box, column: here & is_left})
    yield from _leaves(tree, choices, right, {**box, column: here & ~is_left})


def _leaf_factor(box: Mapping[int, BoolArray], leaf: float, choices: Sequence[Choice]) -> Factor:
    columns = sorted(box)
    names = tuple(choices[column].name for column in columns)
    cells = np.ix_(*(box[column] for column in columns))
    values = np.zeros([len(choices[column].options) for column in columns])
    values[cells] = leaf
    return Factor(f"{TREES}: {' x '.join(names)}", names, values)


@final
@dataclass(frozen=True, slots=True, eq=False)
class RegressionTrees:
    """Boosted trees that predict a number from features (N, F), with the settings of GBDT-NAS (Luo et al. 2020).

    They explain their predictions by SHAP values, which are those of the target divided by its standard deviation
    (Lundberg et al. 2020, TreeSHAP). XGBoost draws networks anew for each tree; LightGBM does so in GBDT-NAS for every fifth.
    """

    booster: "Booster"
    mean: float
    deviation: float

    @classmethod
    def fit(cls, features_NF: FloatArray, target_N: FloatArray, seed: int) -> Self:
        """Returns trees with the least squared error of finite targets. The same inputs give the same trees."""
        from xgboost import DMatrix, train

        mean, deviation = float(target_N.mean()), float(target_N.std()) or 1.0
        options = {
            **REGRESSION,
            "objective": "reg:squarederror",
            "base_score": 0.0,
            "tree_method": "hist",
            "grow_policy": "lossguide",
            "max_depth": 0,
            "min_child_weight": min(FULL_LEAF, max(1, len(target_N) // NETWORKS_PER_LEAF_NETWORK)),
            "seed": seed,
            "nthread": 1,
        }
        networks = DMatrix(features_NF.astype(np.float32), (target_N - mean) / deviation, nthread=1)
        return cls(train(options, networks, REGRESSION_TREES), mean, deviation)

    def predict(self, features_NF: FloatArray) -> FloatArray:
        """Returns predictions in the unit of the target; shape (N,)."""
        return self.mean + self.deviation * self.booster.predict(_matrix(features_NF)).astype(np.float64)

    def contributions(self, features_NF: FloatArray) -> FloatArray:
        """Returns the SHAP value of every feature; they sum to a prediction up to a constant; shape (N, F)."""
        return np.asarray(self.booster.predict(_matrix(features_NF), pred_contribs=True)[:, :-1])

    def interactions(self, features_NF: FloatArray) -> FloatArray:
        """Returns the SHAP interaction value of every pair of features, half of it in each order; shape (N, F, F)."""
        return np.asarray(self.booster.predict(_matrix(features_NF), pred_interactions=True)[:, :-1, :-1])


def _matrix(features_NF: FloatArray) -> "DMatrix":
    from xgboost import DMatrix

    return DMatrix(features_NF.astype(np.float32), nthread=1)
