"""The task seam: what a task must answer. Knows no data set and no space.

Shapes: N examples. Outputs and labels are batches whose other axes the task defines and its data sets follow.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor

    from hwnas.core.operator import Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A number that a task reports of a network on a split, such as `accuracy`.

    `name` is a Python identifier: files hold the metric as `NAME_val` and `NAME_test`. `unit` is empty for numbers without
    one; `share` is a fraction that people read in percent. `highest` is True for metrics where higher is better.

    >>> Metric(name="accuracy", unit="share", highest=True).minimised(0.75)
    -0.75
    """

    name: str
    unit: str = ""
    highest: bool = False

    def minimised(self, value: float) -> float:
        """Returns the value with the sign that makes lower better."""
        return -value if self.highest else value


class Task(Protocol):
    """A task that networks are trained for and scored by. Searches minimise the first of `metrics` by default.

    A task holds no state between calls and draws no random numbers, so training and scoring stay reproducible. The suite
    `hwnas.testing.tasks.TaskSuite` tests every law that is stated here.
    """

    @property
    def name(self) -> str:
        """The task's name on the command line and in a run's files, such as `classification`."""
        ...

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The metrics of `score`, in the order of tables; at least one, each name once."""
        ...

    def loss(self, outputs: "Tensor", labels: "Tensor", *, smoothing: float = 0.0) -> "Tensor":
        """Returns the loss of a training step, a differentiable scalar, averaged over predictions.

        `outputs` is a network's output for a batch, with a gradient; `labels` are on the same device. `smoothing` is label
        smoothing (Szegedy et al. 2016, section 7); tasks without classes ignore it.
        """
        ...

    def imitation(self, outputs: "Tensor", teacher: "Tensor") -> "Tensor":
        """Returns the loss of a student's outputs against a teacher's, a differentiable scalar, averaged over predictions.

        Both have the same shape; the teacher's outputs carry no gradient. The gradient is zero where they are equal
        (distillation, Hinton et al. 2015).
        """
        ...

    def score(self, batches: "Iterable[tuple[Tensor, Tensor]]") -> Mapping[str, float]:
        """Returns every metric of a split by name, from batches of outputs and labels.

        The batches are read once and may differ in size; the result does not depend on how a split is batched. All outputs
        of a split may not fit into memory together, so a task keeps sums, not outputs.
        """
        ...

    def require_outputs(self, output_shape: "Shape", classes: int) -> None:
        """Raises SpaceError where networks of `output_shape` (without the batch axis) cannot solve the task.

        `classes` is the length of the channel axis that the data set asks for: classes, tokens or targets.
        """
        ...


@runtime_checkable
class Guessing(Protocol):
    """A task that says what to beat: the best outputs that ignore the input. All built-in tasks do.

    A front whose networks score no better has learned nothing, and is reported so.
    """

    def guess(self, labels: "Tensor", output_shape: "Shape") -> "Tensor":
        """Returns the constant outputs of one example, of `output_shape`, with the best first metric on these labels."""
        ...


@runtime_checkable
class Balancing(Protocol):
    """A task with classes whose training loss can give all of them the same weight, however rare they are."""

    def balanced(self, labels: "Tensor", classes: int) -> "Task":
        """Returns the task with a training loss that weighs each class by N / (K * count), as counted in the labels.

        A class that does not occur weighs nothing; equal weights change no loss, with label smoothing either. Scores stay
        as they are (King & Zeng 2001; `class_weight="balanced"` of scikit-learn).
        """
        ...


CLASS_ROW: Final = ("labels", "predictions", "recall", "precision")


@runtime_checkable
class ByClass(Protocol):
    """A task with classes that tells what becomes of each."""

    def class_rows(self, batches: "Iterable[tuple[Tensor, Tensor]]") -> "list[dict[str, float]]":
        """Returns, for each class in order, the number of its `labels` and of its `predictions`, `recall` and `precision`.

        A share of nothing is NaN. The batches are those of `score`.
        """
        ...
