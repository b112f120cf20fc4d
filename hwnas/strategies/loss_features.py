"""Features of architectures that losses may follow, however layers are joined.

Shapes: N architectures, C choices, F features, R reference architectures.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, final

import numpy as np

from hwnas.core.arrays import FloatArray, IntArray
from hwnas.core.space import SearchSpace
from hwnas.core.structure import structure
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
        known, keys = self._known, [row_C.tobytes() for row_C in rows_NC]
        new = {key: row_C for key, row_C in zip(keys, rows_NC, strict=True) if key not in known.index}
        if new:
            raw_NF, used_NC = self._raw(np.array(list(new.values())))
            known.add(list(new), raw_NF, used_NC)
        at_N = [known.index[key] for key in keys]
        return Inputs(known.features_NF[at_N], known.used_NC[at_N], trend_N)

    @cached_property
    def _known(self) -> "_Known":
        """The features of the reference and of the rows that were asked for: the same candidates are asked for again."""
        raw_RF, used_RC = self._raw(self.rows_RC)
        scaling = _Scaling.of(raw_RF)
        known = _Known(scaling, np.zeros((0, len(scaling.kept_F))), used_RC[:0])
        known.add([row_C.tobytes() for row_C in self.rows_RC], raw_RF, used_RC)
        return known

    def _raw(self, rows_NC: IntArray) -> tuple[FloatArray, IntArray]:
        """Returns all features in their own units (N, F), and the used options (N, C)."""
        space, columns, built = self.space, self.space.columns, structure(self.space, rows_NC)
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
        raw_NF = np.stack([*by_option.values(), *costs, *counted], axis=1)
        return raw_NF, built.used_rows(space, rows_NC)


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Scaling:
    """The columns of the features that are kept, with their means and standard deviations; shape (F,) each."""

    kept_F: IntArray
    mean_F: FloatArray
    deviation_F: FloatArray

    @classmethod
    def of(cls, raw_RF: FloatArray) -> "_Scaling":
        mean_F, deviation_F = raw_RF.mean(axis=0), raw_RF.std(axis=0)
        varied_F = np.flatnonzero(deviation_F > CONSTANT * np.maximum(1.0, np.abs(mean_F)))
        scaled_RF = (raw_RF[:, varied_F] - mean_F[varied_F]) / deviation_F[varied_F]
        _, first = np.unique(np.round(scaled_RF / EQUAL).astype(np.int64), axis=1, return_index=True)
        kept_F = varied_F[np.sort(first)]
        return cls(kept_F, mean_F[kept_F], deviation_F[kept_F])

    def apply(self, raw_NF: FloatArray) -> FloatArray:
        return np.asarray((raw_NF[:, self.kept_F] - self.mean_F) / self.deviation_F)


@final
@dataclass(eq=False)
class _Known:
    """Scaled features (N, F) and used options (N, C) of rows; `index` has each row's place by its bytes."""

    scaling: _Scaling
    features_NF: FloatArray
    used_NC: IntArray
    index: dict[bytes, int] = field(default_factory=dict)

    def add(self, rows_NC: Sequence[bytes], raw_NF: FloatArray, used_NC: IntArray) -> None:
        """Adds rows, by their bytes."""
        begin = len(self.used_NC)
        self.index.update(zip(rows_NC, range(begin, begin + len(rows_NC)), strict=True))
        self.features_NF = np.concatenate([self.features_NF, self.scaling.apply(raw_NF)])
        self.used_NC = np.concatenate([self.used_NC, used_NC])
