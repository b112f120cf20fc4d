"""The worth of a search's result: whether its networks beat guessing, and its training examples differ.

Shapes: N examples.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
import torch

from hwnas.core.operator import Shape
from hwnas.data.dataset import Dataset, Split
from hwnas.evaluate.split import SplitScore
from hwnas.report.axes import SHARE, metric_text
from hwnas.runs.database import Evaluation
from hwnas.tasks.task import Guessing, Metric

# The best of many networks that guess beats guessing by luck: by less than a hundredth of the first metric.
LUCK: Final = 0.01
# A loss this many times that of guessing is no overfitting.
DIVERGED: Final = 2.0
# Where at most this share of the training examples differ, the others are likely to be read wrongly.
FEW: Final = 0.1


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """The scores of guessing on the validation split, the number of different training examples, and warnings in words.

    `guessing` is empty for a task that does not say what guessing is.
    """

    guessing: Mapping[str, float]
    different_examples: int
    warnings: tuple[str, ...]

    def describe(self) -> dict[str, Any]:
        """Returns what run.json stores."""
        return {
            "guessing": dict(self.guessing),
            "different_examples": self.different_examples,
            "warnings": list(self.warnings),
        }


def worth_of(
    front: Sequence[Evaluation],
    data: Dataset,
    validation: SplitScore,
    output_shape: Shape,
    *,
    classes_weigh_alike: bool = False,
) -> Worth:
    """Compares a front with guessing, and counts the training examples that differ.

    Where classes weigh alike in the training or in the objectives, the first metric, in which frequent ones weigh more, may
    be worse than that of guessing.
    """
    task, different = validation.task, different_examples(data.train)
    guessing: Mapping[str, float] = {}
    if isinstance(task, Guessing):
        labels = torch.from_numpy(np.array(data.validation.labels))
        guess = task.guess(labels, output_shape).to(validation.device)
        guessing = validation.score(lambda x: guess.expand(len(x), *guess.shape))
    warnings = (
        _on_examples(different, data.train, data.outputs),
        _on_guessing([evaluation.metrics for evaluation in front], guessing, task.metrics, classes_weigh_alike),
    )
    return Worth(guessing=guessing, different_examples=different, warnings=tuple(text for text in warnings if text))


def different_examples(split: Split) -> int:
    """Returns the number of different inputs of a split."""
    return len({hashlib.blake2s(np.ascontiguousarray(example).data).digest() for example in split.raw})


def _on_examples(different: int, split: Split, outputs: int) -> str:
    """Returns a warning where few inputs with one label each differ: they cannot teach more than the labels' shares."""
    count, has_one_label = len(split), split.labels.size == len(split)
    if not has_one_label or different == count or different > max(1, outputs, FEW * count):
        return ""
    return (
        f"only {different:,} of {count:,} training examples differ from one another; look whether they are read as they "
        "should be"
    )


@final
@dataclass(frozen=True, slots=True)
class _Comparison:
    """The front's best value of a metric, and that of guessing; `luck` is what the best of many is better by."""

    metric: Metric
    best: float
    guess: float
    luck: float

    @property
    def is_missed(self) -> bool:
        """True where no network beats guessing, or a value is NaN."""
        return not self.metric.minimised(self.best) < self.metric.minimised(self.guess) - self.luck

    def __str__(self) -> str:
        best, guess = (metric_text(value, self.metric.unit) for value in (self.best, self.guess))
        return f"{self.metric.name} {best} (guessing: {guess})"


def _on_guessing(
    front: Sequence[Mapping[str, float]],
    guessing: Mapping[str, float],
    metrics: Sequence[Metric],
    classes_weigh_alike: bool,
) -> str:
    """Returns a warning that names the metrics in which no network of the front beats guessing."""
    compared = []
    for metric in metrics:
        values = [scores[metric.name] for scores in front if metric.name in scores]
        if values and metric.name in guessing:
            guess = guessing[metric.name]
            luck = LUCK * (abs(guess) or 1.0) if metric is metrics[0] and metric.unit != SHARE else 0.0
            compared.append(_Comparison(metric, min(values, key=metric.minimised), guess, luck))
    missed = [each for each in compared if each.is_missed]
    if len(missed) < len(compared) and classes_weigh_alike:
        missed = [each for each in missed if each.metric is not metrics[0]]
    if not missed:
        return ""
    names = ", ".join(each.metric.name for each in missed)
    is_nothing = len(missed) == len(compared)
    subject = "the front is no better" if is_nothing else f"in {names}, no network is better"
    advice = (
        "the training has diverged: give a lower --learning-rate"
        if _has_diverged(compared, metrics[0])
        else "look at the inputs and the labels, train longer (--epochs), or give more data"
    )
    said = ", ".join(map(str, missed))
    return f"{subject} than guessing without the input, on the validation split: best {said}; {advice}"


def _has_diverged(compared: Sequence[_Comparison], first: Metric) -> bool:
    """Returns True where the loss is a multiple of guessing's, and no share of right answers beats guessing either."""
    is_far = any(
        each.metric is first and not first.highest and not each.best < DIVERGED * each.guess for each in compared
    )
    return is_far and all(each.is_missed for each in compared if each.metric.unit == SHARE)
