"""The additive latency model: isolated operators, corrected in context by whole networks.

    latency(arch) = sum over layers of isolated time + intercept + scale + corrections

Corrections are shared hierarchically, because a kernel that costs more than its isolated time does so everywhere a
little, in its stage more alike, and at its own place most: each level is a group of features with its own prior
variance. The weights have a Gaussian prior, so the fit is closed-form ridge regression (Bishop 2006, section 3.3), and
the groups' variances maximise the marginal likelihood (section 3.5). Every feature depends on one layer's scope only,
so the corrected model is a sum of factors again.

Shapes: N networks, P features, G groups of features, S cells of a layer's factor.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize

from hwnas.core.cost import Factor, FloatArray, IntArray, layer_factors, total
from hwnas.core.layer import Layer
from hwnas.core.space import SearchSpace

INTERCEPT: Final = "intercept"
# Log of a group's prior standard deviation, relative to what it multiplies; the search starts at 0.05.
LOG_BOUNDS: Final = (-12.0, 2.0)


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """Per layer, the value of every feature at every cell of the layer's factor: (S, P). `group_P` names their groups."""

    layers: tuple[Factor, ...]  # the isolated times
    cells: tuple[FloatArray, ...]
    group_P: IntArray

    def design(self, rows_NC: IntArray, columns: Mapping[str, int]) -> FloatArray:
        """The features of architectures; shape (N, P). Column 0 is the intercept."""
        result = np.zeros((len(rows_NC), len(self.group_P)))
        for factor, cells_SP in zip(self.layers, self.cells, strict=True):
            index = Factor(
                factor.name, factor.scope, np.arange(factor.values.size, dtype=float).reshape(factor.values.shape)
            )
            result += cells_SP[index.at(rows_NC, columns).astype(np.intp)]
        result[:, 0] = 1.0
        return result


def features(space: SearchSpace, isolated_ms: Mapping[str, float]) -> Features:
    """Features of the space, from the isolated time of every operator by key.

    Levels follow the dotted names: `kernel=5` anywhere in the network, in the layer's stage, at the layer itself. Each
    comes twice: as a fixed cost, and as a share of the operator's isolated time.
    """
    factors = layer_factors(space, lambda operator: isolated_ms[operator.key])
    typical_ms = float(np.mean([factor.values.max() for factor in factors]))
    names: dict[tuple[str, ...], int] = {(INTERCEPT,): 0}
    groups: dict[tuple[str, str], int] = {(INTERCEPT, ""): 0}
    group_of = [0]
    entries: list[list[tuple[int, int, float]]] = []
    for layer, factor in zip(space.layers, factors, strict=True):
        found = []
        for cell, (index, operator) in enumerate(layer.cells(space.by_name)):
            if operator is None:
                continue
            for level, name in _levels(layer, space, index):
                for kind, value in (("fixed", typical_ms), ("share", float(factor.values[index]))):
                    feature = (kind, *name)
                    if feature not in names:
                        names[feature] = len(names)
                        group_of.append(groups.setdefault((kind, level), len(groups)))
                    found.append((cell, names[feature], value))
        entries.append(found)
    cells = []
    for factor, found in zip(factors, entries, strict=True):
        cells_SP = np.zeros((factor.values.size, len(names)))
        for cell, column, value in found:
            cells_SP[cell, column] = value
        cells.append(cells_SP)
    return Features(factors, tuple(cells), np.array(group_of))


def _levels(layer: Layer, space: SearchSpace, index: Sequence[int]) -> list[tuple[str, tuple[str, ...]]]:
    """(level, feature name) of everything that is known of one cell."""
    stage = layer.name.rpartition(".")[0]
    result: list[tuple[str, tuple[str, ...]]] = [("scale", ("scale",))]
    for name, i in zip(layer.scope, index, strict=True):
        option = str(space.choice(name).options[i])
        role = _role(name, layer.name)
        result += [
            ("network", ("network", role, option)),
            ("stage", ("stage", stage, role, option)),
            ("layer", ("layer", layer.name, role, option)),
        ]
    return result


def _role(choice: str, layer: str) -> str:
    """What a choice is to a layer: its name without the path they share.

    >>> _role("stage2.block1.kernel", "stage2.block1"), _role("stage2.width", "stage2.block1"), _role("stem.width", "head")
    ('kernel', 'width', 'stem.width')
    """
    path, place = choice.split("."), layer.split(".")
    shared = 0
    while shared < min(len(path) - 1, len(place)) and path[shared] == place[shared]:
        shared += 1
    return ".".join(path[shared:])


def fit_factors(
    space: SearchSpace, features: Features, rows_NC: IntArray, latency_ms_N: FloatArray
) -> tuple[Factor, ...]:
    """Factors in milliseconds: the isolated times, corrected on N whole networks (none: not corrected)."""
    if len(rows_NC) == 0:
        return features.layers
    weights_P = _posterior_mean(features, rows_NC, space.columns, latency_ms_N)
    corrected = [
        Factor(factor.name, factor.scope, factor.values + (cells_SP @ weights_P).reshape(factor.values.shape))
        for factor, cells_SP in zip(features.layers, features.cells, strict=True)
    ]
    return (*corrected, Factor(INTERCEPT, (), np.array(weights_P[0])))


def _posterior_mean(
    features: Features, rows_NC: IntArray, columns: Mapping[str, int], latency_ms_N: FloatArray
) -> FloatArray:
    """Weights of the features. Residuals are relative, so that fast and slow networks count alike."""
    relative_N = 1.0 / latency_ms_N
    target_N = 1.0 - total(features.layers, rows_NC, columns) * relative_N
    design_NP = features.design(rows_NC, columns) * relative_N[:, None]
    # Intercept relative to a typical network, so that one prior scale suits all groups.
    unit_P = np.ones(design_NP.shape[1])
    unit_P[0] = float(np.median(latency_ms_N))
    design_NP = design_NP * unit_P
    kernels = [
        design_NP[:, features.group_P == group] @ design_NP[:, features.group_P == group].T
        for group in range(features.group_P.max() + 1)
    ]
    log_scales = _maximum_evidence(kernels, target_N)
    variance_P = np.exp(2 * log_scales[features.group_P])
    alpha_N = cho_solve(cho_factor(_covariance(kernels, log_scales)), target_N)
    return unit_P * variance_P * (design_NP.T @ alpha_N)


def _covariance(kernels: Sequence[FloatArray], log_scales: FloatArray) -> FloatArray:
    """Of the targets: the last scale is the noise's."""
    signal = sum(np.exp(2 * log_scale) * kernel for log_scale, kernel in zip(log_scales, kernels, strict=False))
    return np.asarray(signal + np.exp(2 * log_scales[-1]) * np.eye(len(kernels[0])))


def _maximum_evidence(kernels: Sequence[FloatArray], target_N: FloatArray) -> FloatArray:
    """Log prior scales of the groups, and of the noise, at the maximum of the marginal likelihood."""
    start = np.full(len(kernels) + 1, np.log(0.05))
    # The noise of a measurement is never below 0.2 %; a smaller value would be fitting noise.
    bounds = [LOG_BOUNDS] * len(kernels) + [(float(np.log(0.002)), LOG_BOUNDS[1])]
    solution = minimize(negative_evidence, start, (kernels, target_N), jac=True, bounds=bounds, method="L-BFGS-B")
    return np.asarray(solution.x)


def negative_evidence(
    log_scales: FloatArray, kernels: Sequence[FloatArray], target_N: FloatArray
) -> tuple[float, FloatArray]:
    """Minus the log marginal likelihood of the targets, up to a constant, and its gradient in `log_scales`."""
    covariance = _covariance(kernels, log_scales)
    factor = cho_factor(covariance, lower=True)
    inverse = cho_solve(factor, np.eye(len(covariance)))
    alpha_N = inverse @ target_N
    value = 0.5 * float(target_N @ alpha_N) + float(np.log(np.diag(factor[0])).sum())
    slope = 0.5 * (inverse - np.outer(alpha_N, alpha_N))
    variances = np.exp(2 * log_scales)
    gradient = [
        2 * variance * float((slope * kernel).sum()) for variance, kernel in zip(variances, kernels, strict=False)
    ]
    return value, np.array([*gradient, 2 * variances[-1] * float(np.trace(slope))])
