"""Predictors of known devices as the prior of a new device, whose own predictor then needs few networks.

The known devices' mean and their differences from it are features, whose scales the known devices say, as in `transfer`.
Here the features are factors, so that the new device's predictor is a sum of factors, too.

Shapes: N architectures, C choices, D known devices, S cells of a factor.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from hwnas.core.arrays import FloatArray, IntArray
from hwnas.core.factors import Factor
from hwnas.core.space import SearchSpace
from hwnas.predict.basis import Basis, Feature, Name, Table
from hwnas.predict.bayes import LogScales
from hwnas.predict.features import ALL, space_tables
from hwnas.predict.predictor import LatencyPredictor
from hwnas.predict.transfer import FEATURE_SCALE, MEAN_SCALE, beliefs, unit_basis

KNOWN_DEVICES: Final = "known devices"
MEAN_GROUP: Final = (KNOWN_DEVICES, "mean")
DIFFERENCE_GROUP: Final = (KNOWN_DEVICES, "difference")
# Architectures on which the known devices are compared.
COMPARED: Final = 200


def known_basis(
    space: SearchSpace, isolated: Mapping[str, float], typical_cost: float, known: Sequence[LatencyPredictor]
) -> tuple[Basis, LogScales]:
    """Returns the features of networks that cost about `typical_cost`, known devices among them, and the scales' prior.

    There is no expectation: the sum of isolated costs is a feature, like the cost on a known device. Raises PredictorError
    where a predictor does not know all of the space.
    """
    own = [predictor.for_space(space) for predictor in known]
    rows_NC = space.sample_rows(np.random.default_rng(0), COMPARED)
    latency_DN = np.array([predictor.predict(rows_NC) for predictor in own])
    median_D = np.median(latency_DN, axis=1)
    tables = [
        (Factor(factor.name, factor.scope, np.zeros_like(factor.values)), features)
        for factor, features in space_tables(space, isolated, typical_cost)
    ]
    basis = Basis.of([*tables, *_device_tables(own, typical_cost / median_D)], typical_cost)
    return basis, _believed(space, basis.groups, own, rows_NC, latency_DN / median_D[:, None])


def _device_tables(known: Sequence[LatencyPredictor], scale_D: FloatArray) -> Iterator[Table]:
    """Yields the devices' scaled factors as features: the devices' mean, and the difference of each from the mean."""
    shapes = {(f.name, f.scope): f.values.shape for predictor in known for f in predictor.factors}
    by_device = [{(f.name, f.scope): f.values for f in predictor.factors} for predictor in known]
    for (name, scope), shape in shapes.items():
        missing = np.zeros(shape)
        values_DS = np.array(
            [scale * of.get((name, scope), missing).reshape(-1) for scale, of in zip(scale_D, by_device, strict=True)]
        )
        mean_S = values_DS.mean(axis=0)
        differences_DS = (values_DS - mean_S) / np.sqrt(len(known))
        features = [Feature(cell, MEAN_GROUP, (), float(cost)) for cell, cost in enumerate(mean_S)]
        features += [
            Feature(cell, DIFFERENCE_GROUP, (str(device),), float(cost))
            for device, difference_S in enumerate(differences_DS)
            for cell, cost in enumerate(difference_S)
        ]
        yield Factor(name, scope, np.zeros(shape)), features


def _believed(
    space: SearchSpace,
    groups: Sequence[Name],
    known: Sequence[LatencyPredictor],
    rows_NC: IntArray,
    relative_DN: FloatArray,
) -> LogScales:
    """Returns the prior of the scales: each known device plays the new one, measured with its predictor's error."""
    rng = np.random.default_rng(0)
    error_D1 = np.array([[predictor.report["held_out"]["mape"]] for predictor in known])
    measured_DN = relative_DN * (1 + error_D1 * rng.standard_normal(relative_DN.shape))
    described = unit_basis(space)
    learned = beliefs(relative_DN.T, measured_DN, described.design(rows_NC, space.columns), described.group_P)
    *scales, noise = zip(learned.mean, learned.spread, strict=True)
    found = dict(zip([MEAN_GROUP, DIFFERENCE_GROUP, *described.groups], scales, strict=True))
    # Known devices say nothing about isolated costs: their sum is as good a guess as a device, its corrections are features.
    logs = np.array([*(found.get(group, MEAN_SCALE if group[-1] == ALL else FEATURE_SCALE) for group in groups), noise])
    return LogScales(logs[:, 0], logs[:, 1])
