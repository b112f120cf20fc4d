"""The worth of a search's result: whether its networks beat guessing, and its training examples differ.

Shapes: N examples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

from hwnas.core.operator import Shape
from hwnas.data.dataset import Dataset, Split
from hwnas.data.splits import example_hashes
from hwnas.pipeline.guessing import Comparisons, Guess, compared, guess_on
from hwnas.tasks.task import Task

# Where at most this share of the training examples differ, the others are likely to be read wrongly.
FEW: Final = 0.1
_GUESSING: Final = "better than guessing without the input"


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


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class FrontScores:
    """The metrics of a front's networks on both splits; `networks` is the number of those that it was chosen from."""

    validation: Sequence[Mapping[str, float]]
    test: Sequence[Mapping[str, float]]
    networks: int


def worth_of(
    front: FrontScores, data: Dataset, task: Task, output_shape: Shape, *, classes_weigh_alike: bool = False
) -> Worth:
    """Compares a front with guessing, on both splits, and counts the training examples that differ.

    Where classes weigh alike in the training or in the objectives, the first metric, in which frequent ones weigh more, may
    be worse than that of guessing.
    """
    different = different_examples(data.train)
    texts = [_on_examples(different, data.train, data.outputs)]
    guess = guess_on(data.validation, task, output_shape)
    guess_on_test = guess_on(data.test, task, output_shape)
    if guess is not None and guess_on_test is not None:
        validation = compared(front.validation, guess, task.metrics, front.networks)
        test = compared(
            front.test, guess_on_test, task.metrics, len(front.test)
        )  # nothing was chosen by the test split
        texts += [
            _on_validation(validation, test, front.networks, classes_weigh_alike),
            _on_test(validation, test),
        ]
    return Worth(
        guessing=guess.scores if guess is not None else {},
        different_examples=different,
        warnings=tuple(text for text in texts if text),
    )


def different_examples(split: Split) -> int:
    """Returns the number of different inputs of a split."""
    return len(set(example_hashes(split)))


def _on_examples(different: int, split: Split, outputs: int) -> str:
    """Returns a warning where few inputs with one label each differ: they cannot teach more than the labels' shares."""
    count, has_one_label = len(split), split.labels.size == len(split)
    if not has_one_label or different == count or different > max(1, outputs, FEW * count):
        return ""
    return (
        f"only {different:,} of {count:,} training examples differ from one another; look whether they are read as they "
        "should be"
    )


def _on_validation(validation: Comparisons, test: Comparisons, networks: int, classes_weigh_alike: bool) -> str:
    """Returns a warning where a front is no better than guessing on the validation split, or by no more than chance.

    A front that has learned by the test split is not told that its few validation examples leave that open.
    """
    if not validation.all:
        return ""
    if validation.guess.is_constant:
        return f"{_constant(validation.guess, 'validation')}: best {_said(validation)}; give a split with other labels, too"
    missed = validation.missed
    if len(missed) == len(validation.all):
        return f"the front is no {_GUESSING}, on the validation split: best {_said(validation)}; {_advice(validation)}"
    if not validation.has_learned and not test.has_learned:
        return (
            f"the front {_open(validation.guess, 'validation')}: best {_said(validation)}, and the best of {networks:,} that "
            f"guess may be as good; give more validation data, or train longer (--epochs)"
        )
    if classes_weigh_alike:
        missed = [comparison for comparison in missed if comparison.metric != validation.first]
    if not missed:
        return ""
    names, said = ", ".join(comparison.metric.name for comparison in missed), ", ".join(map(str, missed))
    return f"in {names}, no network is {_GUESSING}, on the validation split: best {said}; {_advice(validation)}"


def _on_test(validation: Comparisons, test: Comparisons) -> str:
    """Returns a warning where a front that beats guessing on the validation split does not on the test split."""
    if not test.all:
        return ""
    if test.guess.is_constant:
        return f"{_constant(test.guess, 'test')}: best {_said(test)}; give a split with other labels, too"
    if test.has_learned or not validation.has_learned:
        return ""
    beats = "the front beats guessing on the validation split, but"
    advice = "look whether both are read and labelled alike"
    if len(test.missed) == len(test.all):
        return (
            f"validation and test disagree: {beats} is no {_GUESSING}, on the test split: best {_said(test)}; {advice}"
        )
    return f"{beats} {_open(test.guess, 'test')}: best {_said(test)}; {advice}, or give more test data"


def _open(guess: Guess, split: str) -> str:
    return f"cannot be told from guessing without the input with {guess.count:,} {split} examples"


def _constant(guess: Guess, split: str) -> str:
    reason = (
        f"the {split} split has one class only"
        if guess.has_classes
        else f"the targets of the {split} split do not vary"
    )
    return f"{reason}, so guessing is right"


def _said(comparisons: Comparisons) -> str:
    return ", ".join(map(str, comparisons.all))


def _advice(comparisons: Comparisons) -> str:
    if comparisons.has_diverged:
        return "the training has diverged: give a lower --learning-rate"
    return "look at the inputs and the labels, train longer (--epochs), or give more data"
