"""A new device from a few measurements: devices that are known already say what to expect.

What each known device took, as a function of the architecture, is a feature: their mean, and how each differs from it (so
the prior is a Gaussian process around the devices' mean, with their own covariance). What no known device does is left to
the features of the space. How far each of these goes is learned from the known devices as well: each in turn plays the
new one, given the others (hierarchical Bayes over tasks: Yu, Tresp and Schwaighofer 2005). A device unlike all that are known
is better predicted without them: both predictions are made, and weighed by how likely they make the measurements.

Shapes: N architectures, C choices, D known devices, P features, G groups of them, M measured architectures.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, final

import numpy as np
from scipy.sparse import csr_array, hstack
from scipy.special import softmax

from hwnas.benchmarks.published import published_rows, published_space
from hwnas.core.arrays import FloatArray, IntArray
from hwnas.core.space import SearchSpace
from hwnas.errors import PredictorError
from hwnas.predict.additive import LEAST, default_scales, relative
from hwnas.predict.basis import Basis, Name
from hwnas.predict.bayes import LogScales, fit_posterior, group_kernels, most_likely_scales
from hwnas.predict.features import space_basis

# Logarithms of standard deviations before any known device is asked, each with how uncertain it is: of the devices' mean
# and their differences, of an intercept, of any feature of the space, and of a measurement's noise.
MEAN_SCALE: Final = (0.0, 0.3)
DIFFERENCE_SCALE: Final = (0.0, 1.0)
INTERCEPT_SCALE: Final = (-2.0, 1.0)
FEATURE_SCALE: Final = (-2.5, 2.0)
NOISE_SCALE: Final = (-3.0, 1.0)
# How closely the known devices, when they agree, and when they do not, bind a new one.
CLOSEST: Final = 1.0
LOOSEST: Final = 2.0
# How probable it is that a new device is like known ones.
ALIKE: Final = 0.75
# Architectures by which a known device plays the new one, and the most by which it is known at all.
PLAYED: Final = 100
KNOWN: Final = 1000


def transfer_ms(
    space: SearchSpace | str,
    rows: IntArray,
    source_ms: Mapping[str, FloatArray] | FloatArray,
    measured_index: IntArray,
    measured_ms: FloatArray,
) -> FloatArray:
    """Latency of every row on a new device, in milliseconds; shape (N,). For several devices see `KnownDevices`.

    `measured_ms` (M,) is what the new device took for the rows `measured_index` (M,): 5 to 50 of them. Raises
    PredictorError, DataError, UnknownNameError where something of all this cannot be.
    """
    return KnownDevices(space, rows, source_ms).predict_ms(measured_index, measured_ms)


@final
class KnownDevices:
    """Latencies of known devices, from which those of a new one are predicted by a few measurements.

    `rows` (N, C) are option indices of the space, not normalised where devices ran what cannot matter; or `space` is the
    name of a published table, `nasbench201`, `fbnet` or `ofa`, and the rows are as its file writes them. `source_ms` holds
    what devices took for the rows, (N,) each, NaN where it is not known; or an array (D, N) or (N, D).
    """

    def __init__(
        self, space: SearchSpace | str, rows: IntArray, source_ms: Mapping[str, FloatArray] | FloatArray
    ) -> None:
        if isinstance(space, str):
            made, rows_NC = published_space(space), published_rows(space, np.asarray(rows))
        else:
            made, rows_NC = space, _checked_rows(space, np.asarray(rows))
        source_DN = _checked_sources(source_ms, len(rows_NC))
        design_NP, group_P = features_of_rows(made, rows_NC)
        known_ND = np.stack([_smooth_ms(design_NP, group_P, source_ms_N) for source_ms_N in source_DN], axis=1)
        alone = default_scales(view_groups(made, group_P), expecting=False)
        self._models = (
            _Model(
                *with_devices(known_ND, design_NP, group_P), beliefs(known_ND, source_DN, design_NP, group_P), ALIKE
            ),
            _Model(design_NP, group_P, alone, 1 - ALIKE),
        )

    def predict_ms(self, measured_index: IntArray, measured_ms: FloatArray) -> FloatArray:
        """Latency of every row on a device that took `measured_ms` (M,) for rows `measured_index` (M,); shape (N,)."""
        index_M, target_ms_M = _checked_measurements(measured_index, measured_ms, self._models[0].design_NP.shape[0])
        found = [model.predict_ms(index_M, target_ms_M) for model in self._models]
        weights = softmax([log_evidence for _, log_evidence in found])
        return np.asarray(np.average([ms_N for ms_N, _ in found], axis=0, weights=weights))


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Model:
    """Features (N, P) of all rows, what is believed of their scales, and how probable it is that a device is so."""

    design_NP: csr_array
    group_P: IntArray
    believed: LogScales
    probability: float

    def predict_ms(self, index_M: IntArray, measured_ms_M: FloatArray) -> tuple[FloatArray, float]:
        """Latency of all rows (N,), and the logarithm of how likely this makes the measurements."""
        weighted_MP, target_M = _relative(self.design_NP[index_M], measured_ms_M)
        posterior = fit_posterior(weighted_MP, target_M, self.group_P, self.believed)
        ms_N = float(np.median(measured_ms_M)) * (self.design_NP @ posterior.mean_P)
        return np.maximum(ms_N, LEAST * measured_ms_M.min()), posterior.log_evidence + float(np.log(self.probability))


def features_of_rows(space: SearchSpace, rows_NC: IntArray) -> tuple[csr_array, IntArray]:
    """Features (N, P) of networks that take about 1 ms, and their groups (P,); feature 0 is the intercept.

    Where networks as written cost more than normalised, the features are those of both: some devices timed
    NAS-Bench-201's cells with the edges that lead nowhere, others without.
    """
    basis, normal_NC = unit_basis(space), space.normalise(rows_NC)
    normal = basis.design(normal_NC, space.columns)
    if np.array_equal(space.costs("flops", rows_NC), space.costs("flops", normal_NC)):
        return normal, basis.group_P
    written = basis.design(rows_NC, space.columns)
    return hstack([normal, written]).tocsr(), np.concatenate([basis.group_P, len(basis.groups) + basis.group_P])


def view_groups(space: SearchSpace, group_P: IntArray) -> tuple[Name, ...]:
    """The names of the groups of `features_of_rows`."""
    groups = unit_basis(space).groups
    return groups * ((int(group_P.max()) + 1) // len(groups))


def beliefs(known_ND: FloatArray, source_DN: FloatArray, design_NP: csr_array, group_P: IntArray) -> LogScales:
    """Returns the prior of a new device's scales: each known device is predicted in turn from the others.

    `known_ND` are their latencies relative to their medians, without noise; `source_DN` as they were measured.
    """
    first = np.array(
        [MEAN_SCALE, DIFFERENCE_SCALE, INTERCEPT_SCALE, *[FEATURE_SCALE] * int(group_P.max()), NOISE_SCALE]
    )
    believed = LogScales(first[:, 0], first[:, 1])
    count = len(source_DN)
    if count < 2:
        return believed
    found = []
    for device, source_ms_N in enumerate(source_DN):
        index_M = _some(source_ms_N, PLAYED)
        others = np.delete(np.arange(count), device)
        design_MP, with_P = with_devices(known_ND[np.ix_(index_M, others)], design_NP[index_M], group_P)
        weighted_MP, target_M = _relative(design_MP, source_ms_N[index_M])
        found.append(most_likely_scales(group_kernels(weighted_MP, with_P), target_M, believed))
    return LogScales(np.median(found, axis=0), np.clip(np.std(found, axis=0), CLOSEST, LOOSEST))


def with_devices(known_ND: FloatArray, design_NP: csr_array, group_P: IntArray) -> tuple[csr_array, IntArray]:
    """Features and groups, before them two more groups: the known devices' mean, and their differences from it."""
    count = known_ND.shape[1]
    mean_N1 = known_ND.mean(axis=1, keepdims=True)
    differences_ND = (known_ND - mean_N1) / np.sqrt(count)
    design = hstack([csr_array(mean_N1), csr_array(differences_ND), design_NP]).tocsr()
    return design, np.concatenate([[0], np.ones(count, dtype=np.int64), group_P + 2])


def fitted_ms(
    design_NP: csr_array, group_P: IntArray, index_M: IntArray, measured_ms_M: FloatArray, believed: LogScales
) -> FloatArray:
    """Latency of all rows, in milliseconds, from that of some; shape (N,)."""
    return _Model(design_NP, group_P, believed, 1.0).predict_ms(index_M, measured_ms_M)[0]


def _smooth_ms(design_NP: csr_array, group_P: IntArray, measured_ms_N: FloatArray) -> FloatArray:
    """A known device's latency without the noise of its measurements, relative to its median; shape (N,)."""
    index = _some(measured_ms_N, KNOWN)
    scales = np.array([MEAN_SCALE, *[FEATURE_SCALE] * int(group_P.max()), NOISE_SCALE])
    smooth_N = fitted_ms(design_NP, group_P, index, measured_ms_N[index], LogScales(scales[:, 0], scales[:, 1]))
    return smooth_N / float(np.median(smooth_N))


def _relative(design_MP: csr_array, measured_ms_M: FloatArray) -> tuple[csr_array, FloatArray]:
    """Weighted features and targets, so that relative errors count; features are shares of the median latency."""
    weight_M = relative(measured_ms_M)
    median_ms = float(np.median(measured_ms_M))
    return design_MP.multiply(median_ms * weight_M[:, None]).tocsr(), measured_ms_M * weight_M


def _some(measured_ms_N: FloatArray, most: int) -> IntArray:
    """At most so many of the rows that were measured; the same of every device that was measured on the same rows."""
    return np.random.default_rng(0).permutation(np.flatnonzero(np.isfinite(measured_ms_N)))[:most]


def _checked_rows(space: SearchSpace, rows_NC: IntArray) -> IntArray:
    sizes_C = np.array([len(choice.options) for choice in space.choices])
    if rows_NC.ndim != 2 or rows_NC.shape[1] != len(sizes_C):
        raise PredictorError(f"rows have shape {rows_NC.shape}; {space.name} has {len(sizes_C)} choices")
    if not ((rows_NC >= 0) & (rows_NC < sizes_C) & (rows_NC == np.rint(rows_NC))).all():
        raise PredictorError(f"rows hold numbers that are no option indices of {space.name}")
    return rows_NC.astype(np.int64)


def _checked_sources(source_ms: Mapping[str, FloatArray] | FloatArray, count: int) -> FloatArray:
    """Shape (D, N)."""
    by_name = source_ms if isinstance(source_ms, Mapping) else dict(enumerate(_by_device(np.asarray(source_ms), count)))
    if not by_name:
        raise PredictorError("no device is known; `hwnas fit` predicts one from measurements of its own")
    for name, ms in by_name.items():
        known = np.asarray(ms, dtype=np.float64)
        measured = known[np.isfinite(known)]
        if known.shape != (count,) or len(measured) < 2 or not (measured > 0).all():
            raise PredictorError(
                f"known device {name}: latencies of shape {known.shape} for {count} rows; give one for each row, above 0, or "
                f"NaN where it is not known, and two at least"
            )
    return np.array(list(by_name.values()), dtype=np.float64)


def _by_device(source_ms: FloatArray, count: int) -> FloatArray:
    """Shape (D, N), whichever way round it is."""
    rows = np.atleast_2d(source_ms)
    return rows.T if rows.shape[0] == count != rows.shape[1] else rows


def _checked_measurements(index: IntArray, measured_ms: FloatArray, count: int) -> tuple[IntArray, FloatArray]:
    index_M, ms_M = np.asarray(index), np.asarray(measured_ms, dtype=np.float64)
    if index_M.ndim != 1 or index_M.shape != ms_M.shape or len(index_M) == 0:
        raise PredictorError(
            f"measured rows have shape {index_M.shape}, their latencies {ms_M.shape}; give one for each"
        )
    numbers = np.issubdtype(index_M.dtype, np.integer)  # and no mask of rows, which would read as rows 0 and 1
    known = numbers and index_M.min() >= 0 and index_M.max() < count
    if not known or not (ms_M > 0).all() or not np.isfinite(ms_M).all():
        raise PredictorError(f"measured rows are numbers from 0 to {count - 1}, with latencies above 0 ms")
    return index_M.astype(np.int64), ms_M


@lru_cache(maxsize=4)
def unit_basis(space: SearchSpace) -> Basis:
    """Features of networks that take about 1 ms, of which nothing was measured in isolation."""
    return space_basis(space, {}, 1.0)
