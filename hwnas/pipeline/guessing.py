"""Comparison of a front's scores on a split with those of guessing, beyond what chance gives the best of many networks.

Shapes: N labels, K classes.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist
from typing import Final, final

import numpy as np
import torch
from torch import Tensor

from hwnas.core.arrays import IntArray
from hwnas.core.labels import UNLABELLED
from hwnas.core.operator import Shape
from hwnas.data.dataset import Split
from hwnas.report.axes import SHARE, metric_text
from hwnas.tasks.task import Guessing, Metric, Task

# The probability that any of the networks that guess passes for one that has learned, at most.
ERROR_RATE: Final = 0.05
# A loss this many times that of guessing, and of outputs that are all zero, is no overfitting.
DIVERGED: Final = 2.0
_NATS: Final = "nats"
_BATCH: Final = 64
# The number of labels, or of outputs, that are counted or scored at once.
_PART: Final = 2**22


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Guess:
    """The scores of constant outputs on a split: the best ones, and zeros, which call all classes equally likely.

    `zeros` computes the scores of zeros, which are seldom needed. `count` is the number of examples, `predictions` that of
    independent predictions, and `balanced_predictions` the number of predictions at which classes of equal size leave as much
    to chance as the split's classes do.
    """

    scores: Mapping[str, float]
    zeros: Callable[[], Mapping[str, float]]
    count: int
    predictions: float
    balanced_predictions: float
    is_constant: bool
    has_classes: bool


def guess_on(split: Split, task: Task, output_shape: Shape) -> Guess | None:
    """Returns what guessing scores on a split; None for a task that does not say what guessing is."""
    if not isinstance(task, Guessing):
        return None
    array = np.array(split.labels)
    labels, has_classes = torch.from_numpy(array), array.dtype.kind in "iub"
    guess = task.guess(labels, output_shape)
    counts_K = _class_counts(array) if has_classes else np.array([len(split)])
    return Guess(
        scores=task.score(_constant(guess, labels)),
        zeros=lambda: task.score(_constant(torch.zeros_like(guess), labels)),
        count=len(split),
        predictions=float(counts_K.sum()),
        balanced_predictions=float(len(counts_K) ** 2 / (1 / counts_K).sum()),
        is_constant=len(counts_K) == 1 if has_classes else bool((array == array[:1]).all()),
        has_classes=has_classes,
    )


def _constant(outputs: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    for part in torch.split(labels, max(1, min(_BATCH, _PART // outputs.numel()))):
        yield outputs.expand(len(part), *outputs.shape), part


def _class_counts(labels: IntArray) -> IntArray:
    """Returns the numbers of labels of the classes that occur; shape (K,)."""
    flat, counts_K = labels.reshape(-1), np.zeros(0, np.int64)
    if (
        not flat.size or flat.max() >= _PART or ((flat < 0) & (flat != UNLABELLED)).any()
    ):  # numbers of a task of one's own
        return np.unique(flat[flat != UNLABELLED], return_counts=True)[1]
    # In parts: masks of many images have more pixels than memory should hold a second time.
    for start in range(0, len(flat), _PART):
        part = flat[start : start + _PART].astype(np.int64)
        part_K = np.bincount(part[part != UNLABELLED], minlength=len(counts_K))
        part_K[: len(counts_K)] += counts_K
        counts_K = part_K
    return counts_K[counts_K > 0]


def chance(metric: Metric, guess: Guess, tries: int) -> float:
    """Returns by how much the best of `tries` scores beats guessing where no network's outputs depend on the labels.

    With z the quantile 1 - ERROR_RATE / tries of the normal distribution (Bonferroni), it is

    - of a share p: z sqrt(p (1 - p) / n), its standard error; n = K^2 / sum_k(1 / N_k), so that the error is that of a mean
      over K classes of N_k labels (n = N where classes are equally frequent);
    - of nats: z^2 / (2 N), as twice the gain of the log-likelihood along one direction is chi-squared (Wilks 1938);
    - of a squared error: guessing's times z^2 / N, because N times the explained share of a variance is chi-squared, too.
    """
    z, value = NormalDist().inv_cdf(1 - ERROR_RATE / tries), guess.scores[metric.name]
    if metric.unit == SHARE:
        return z * sqrt(max(0.0, value * (1 - value)) / guess.balanced_predictions)
    if metric.unit == _NATS:
        return z**2 / (2 * guess.predictions)
    return (abs(value) or 1.0) * z**2 / guess.predictions


@final
@dataclass(frozen=True, slots=True)
class Comparison:
    """A front's best value of a metric, that of guessing, and what chance adds to guessing."""

    metric: Metric
    best: float
    guess: float
    chance: float

    @property
    def is_missed(self) -> bool:
        """True where no network beats guessing, or a value is NaN."""
        return not self.gain > 0

    @property
    def is_significant(self) -> bool:
        """True where a network beats guessing by more than chance."""
        return self.gain > self.chance

    @property
    def gain(self) -> float:
        """The best value's lead over guessing, positive where better."""
        return self.metric.minimised(self.guess) - self.metric.minimised(self.best)

    def __str__(self) -> str:
        best, guess = (metric_text(value, self.metric.unit) for value in (self.best, self.guess))
        return f"{self.metric.name} {best} (guessing: {guess})"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Comparisons:
    """The comparisons of a front with guessing on one split, by metric."""

    all: Sequence[Comparison]
    guess: Guess
    first: Metric

    @property
    def missed(self) -> list[Comparison]:
        """The metrics in which no network beats guessing."""
        return [comparison for comparison in self.all if comparison.is_missed]

    @property
    def has_learned(self) -> bool:
        """True where a network beats guessing by more than chance, in the first metric or in a share.

        Other metrics follow from these, as perplexity does from the loss.
        """
        return any(
            comparison.is_significant
            for comparison in self.all
            if comparison.metric == self.first or comparison.metric.unit == SHARE
        )

    @property
    def has_diverged(self) -> bool:
        """True where the loss is a multiple of that of guessing and of zeros, and no share of right answers beats guessing."""
        name = self.first.name
        losses = [
            comparison.best for comparison in self.all if comparison.metric == self.first and not self.first.highest
        ]
        if any(not comparison.is_missed for comparison in self.all if comparison.metric.unit == SHARE):
            return False
        # Zeros are scored only where the loss is far above guessing's. NaN is far above everything.
        return any(
            not loss < DIVERGED * self.guess.scores[name] and not loss < DIVERGED * self.guess.zeros()[name]
            for loss in losses
        )


def compared(
    front: Sequence[Mapping[str, float]], guess: Guess, metrics: Sequence[Metric], networks: int
) -> Comparisons:
    """Compares the best of a front with guessing; `networks` is the number of those that the front was chosen from."""
    found = []
    for metric in metrics:
        values = [scores[metric.name] for scores in front if metric.name in scores]
        if values and metric.name in guess.scores:
            luck = chance(metric, guess, max(1, networks) * len(metrics))
            found.append(Comparison(metric, min(values, key=metric.minimised), guess.scores[metric.name], luck))
    return Comparisons(all=found, guess=guess, first=metrics[0])
