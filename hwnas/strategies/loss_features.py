"""Features of architectures that losses may follow, however layers are joined.

Shapes: N architectures, C choices, F features, R reference architectures.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final, final

import numpy as np

from hwnas.core.arrays import FloatArray, IntArray
from hwnas.core.space import SearchSpace
from hwnas.core.structure import Structure, structure
from hwnas.predict.features import role_of
from hwnas.predict.process import Inputs

# Features that vary less over the reference are constant; features that are closer to each other are one.
CONSTANT: Final = 1e-9
EQUAL: Final = 1e-6


@final
@dataclass(frozen=True, eq=False)
class LossFeatures:
    """Features in units of their standard deviations over reference architectures `rows_RC`.

    The features: for every option of every role, how many layers on a mean path have it; the logarithms of the FLOPs and of
    the parameters of all layers on any path; the number of such layers; the depth in operators with weights; and the
    logarithm of the number of paths. Features that are constant over the reference are left out, and so are repeated ones.
    """

    space: SearchSpace
    rows_RC: IntArray

    def inputs(self, rows_NC: IntArray, trend_N: FloatArray) -> Inputs:
        """Returns features, used options and a trend, as a Gaussian process takes them."""
        new = {row_C.tobytes(): row_C for row_C in rows_NC if row_C.tobytes() not in self._known}
        if new:
            self._known.update(zip(new, self._computed(np.array(list(new.values()))), strict=True))
        known = [self._known[row_C.tobytes()] for row_C in rows_NC]
        features, used = zip(*known, strict=True) if known else ((), ())
        count = len(self._scaling[0])
        used_NC = np.array(used, dtype=np.int64).reshape(rows_NC.shape)
        return Inputs(np.array(features, dtype=np.float64).reshape(len(rows_NC), count), used_NC, trend_N)

    @cached_property
    def _known(self) -> dict[bytes, tuple[FloatArray, IntArray]]:
        """The features and used options of rows that were asked for before: the same candidates are asked for again."""
        return {}

    def _computed(self, rows_NC: IntArray) -> Iterator[tuple[FloatArray, IntArray]]:
        """Yields the features (F,) and the used options (C,) of each row."""
        built = structure(self.space, rows_NC)
        mean_F, deviation_F, kept_F = self._scaling
        features_NF = (self._raw(built, rows_NC)[:, kept_F] - mean_F) / deviation_F
        return zip(features_NF, built.used_rows(self.space, rows_NC), strict=True)

    @cached_property
    def _scaling(self) -> tuple[FloatArray, FloatArray, IntArray]:
        """The means, standard deviations and columns of the features that are kept."""
        raw_RF = self._raw(structure(self.space, self.rows_RC), self.rows_RC)
        mean_F, deviation_F = raw_RF.mean(axis=0), raw_RF.std(axis=0)
        varied_F = np.flatnonzero(deviation_F > CONSTANT * np.maximum(1.0, np.abs(mean_F)))
        scaled_RF = (raw_RF[:, varied_F] - mean_F[varied_F]) / deviation_F[varied_F]
        _, first = np.unique(np.round(scaled_RF / EQUAL).astype(np.int64), axis=1, return_index=True)
        kept_F = varied_F[np.sort(first)]
        return mean_F[kept_F], deviation_F[kept_F], kept_F

    def _raw(self, built: Structure, rows_NC: IntArray) -> FloatArray:
        """Returns all features in their own units; shape (N, F)."""
        space, columns = self.space, self.space.columns
        by_option: dict[tuple[str, str], FloatArray] = {}
        for number, layer in enumerate(space.layers):
            for name in layer.scope:
                for index, option in enumerate(space.choice(name).options):
                    has_N = built.share_NL[:, number] * (rows_NC[:, columns[name]] == index)
                    key = (role_of(name, layer.name), repr(option))
                    by_option[key] = by_option.get(key, 0.0) + has_N
        live_NL = built.share_NL > 0
        costs = []
        for cost in ("flops", "params"):
            cells = [factor.at(rows_NC, columns) for factor in space.cost_factors(cost)]
            costs.append(np.log1p(np.sum(np.stack(cells, axis=1) * live_NL, axis=1)) if cells else 0 * built.depth_N)
        counted = [live_NL.sum(axis=1), built.depth_N, np.log1p(built.paths_N)]
        return np.stack([*by_option.values(), *costs, *counted], axis=1)
