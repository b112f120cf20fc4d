"""The hypervolume of what was evaluated against evaluations, beside random search's as a fit predicts it.

Shapes: N architectures, D objectives, E points of a curve, R repetitions.
"""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, final

import numpy as np

from hwnas.core.arrays import FloatArray, IntArray
from hwnas.strategies.pareto import hypervolume, non_dominated

POINTS: Final = 60  # of a curve
REPETITIONS: Final = 32  # random searches of a predicted curve
SHARES: Final = (0.1, 0.9)  # the quantiles at the ends of their band


@final
@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Scale:
    """The reference point of hypervolumes, and the best value of each objective; both are to be minimised, shape (D,).

    Hypervolumes are shares of the box between the two, so they do not depend on units.
    """

    reference_D: FloatArray
    best_D: FloatArray

    @classmethod
    def of(cls, points_ND: FloatArray, is_metric: Sequence[bool]) -> "Scale":
        """Returns the scale of evaluated networks: the reference is the median of each metric and the highest of each cost.

        So networks that are worse in a metric than half of those evaluated count nothing: the few worst would decide the volume.
        """
        reference_D = np.where(is_metric, np.median(points_ND, axis=0), points_ND.max(axis=0))
        return cls(reference_D=reference_D, best_D=points_ND.min(axis=0))

    def shares(self, points_ND: FloatArray, counts_E: IntArray) -> FloatArray:
        """Returns the hypervolume of the first networks, for each count of them; shape (E,)."""
        box = float(np.prod(self.reference_D - self.best_D)) or 1.0
        front_ND, start, shares = points_ND[:0], 0, []
        for count in counts_E:
            front_ND = np.concatenate([front_ND, points_ND[start:count]])
            front_ND, start = front_ND[non_dominated(front_ND)], int(count)
            shares.append(hypervolume(front_ND, self.reference_D) / box)
        return np.array(shares)


@final
@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class HypervolumePlot:
    """Curves to draw: `counts_E` are numbers of evaluations, `evaluated_E` hypervolumes, as shares.

    `random_RE` are those of random searches as a fit predicts them; it is empty where they cannot be predicted, and `note`
    says why, or how good the fit is. `reference` says what the reference point is.
    """

    title: str
    reference: str
    counts_E: IntArray
    evaluated_E: FloatArray
    random_RE: FloatArray
    note: str

    def csv(self) -> str:
        """Returns the content of hypervolume.csv; of predicted random searches it has the mean and the middle 80 %."""
        columns = {"evaluations": self.counts_E, "evaluated": self.evaluated_E}
        if len(self.random_RE):
            low_E, high_E = np.quantile(self.random_RE, SHARES, axis=0)
            columns |= {"random_mean": self.random_RE.mean(axis=0), "random_low": low_E, "random_high": high_E}
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*(values_E.tolist() for values_E in columns.values()), strict=True))
        return text.getvalue()


def counts_up_to(evaluations: int) -> IntArray:
    """Returns the numbers of evaluations of a curve's points, from 1 to all; shape (E,).

    >>> counts_up_to(4)
    array([1, 2, 3, 4])
    """
    return np.unique(np.linspace(1, evaluations, min(evaluations, POINTS)).round().astype(np.int64))


def predicted_random(
    pool_NC: IntArray,
    points_of: Callable[[IntArray, np.random.Generator], FloatArray],
    scale: Scale,
    counts_E: IntArray,
    rng: np.random.Generator,
) -> FloatArray:
    """Returns the hypervolumes of random searches, each of different networks of a pool; shape (R, E).

    `points_of(rows_NC, rng)` draws their objectives as evaluations may give them, shape (N, D). The pool has at least as many
    networks as the last of `counts_E`.
    """
    shares = []
    for _ in range(REPETITIONS):
        rows_NC = pool_NC[rng.permutation(len(pool_NC))[: counts_E[-1]]]
        shares.append(scale.shares(points_of(rows_NC, rng), counts_E))
    return np.array(shares)
