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

# The best of many networks that guess beats guessing by luck: by less than a hundredth of the loss.
LUCK: Final = 0.01
# A loss this many times that of guessing is no overfitting.
DIVERGED: Final = 2.0


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


def worth_of(front: Sequence[Evaluation], data: Dataset, validation: SplitScore, output_shape: Shape) -> Worth:
    """Compares a front with guessing, and counts the training examples that differ."""
    task, different = validation.task, different_examples(data.train)
    guessing: Mapping[str, float] = {}
    if isinstance(task, Guessing):
        labels = torch.from_numpy(np.array(data.validation.labels))
        guess = task.guess(labels, output_shape).to(validation.device)
        guessing = validation.score(lambda x: guess.expand(len(x), *guess.shape))
    warnings = (
        _on_examples(different, len(data.train), data.outputs),
        _on_guessing([evaluation.metrics for evaluation in front], guessing, task.metrics),
    )
    return Worth(guessing=guessing, different_examples=different, warnings=tuple(text for text in warnings if text))


def different_examples(split: Split) -> int:
    """Returns the number of different inputs of a split."""
    return len({hashlib.blake2s(np.ascontiguousarray(example).data).digest() for example in split.raw})


def _on_examples(different: int, count: int, outputs: int) -> str:
    """Returns a warning where so few inputs differ that they cannot teach more than the labels' shares."""
    if different == count or different > max(1, outputs):
        return ""
    return (
        f"only {different:,} of {count:,} training examples differ from one another; look whether they are read as they "
        "should be"
    )


def _on_guessing(front: Sequence[Mapping[str, float]], guessing: Mapping[str, float], metrics: Sequence[Metric]) -> str:
    """Returns a warning that names the metrics in which no network of the front beats guessing."""
    missed = []
    for metric in metrics:
        scores = [scores[metric.name] for scores in front if metric.name in scores]
        if not scores or metric.name not in guessing:
            continue
        best, guess = min(scores, key=metric.minimised), guessing[metric.name]
        luck = 0.0 if metric.unit == SHARE else LUCK * (abs(guess) or 1.0)
        if not metric.minimised(best) < metric.minimised(guess) - luck:
            missed.append((metric, best, guess))
    if not missed:
        return ""
    said = ", ".join(
        f"{metric.name} {metric_text(best, metric.unit)} (guessing: {metric_text(guess, metric.unit)})"
        for metric, best, guess in missed
    )
    first, best, guess = missed[0]
    diverged = first is metrics[0] and not first.highest and not best < DIVERGED * guess
    advice = (
        "the training has diverged: give a lower --learning-rate"
        if diverged
        else "look at the inputs and the labels, train longer (--epochs), or give more data"
    )
    return f"the front is no better than guessing without the input, on the validation split: best {said}; {advice}"
