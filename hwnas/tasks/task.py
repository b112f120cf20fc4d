"""The task seam: what a task must answer. Knows no data set and no space.

Shapes: N examples; outputs and labels are as the task and its data set agree.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from hwnas.core.operator import Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A number that a task reports of a network on a split, such as `accuracy`.

    `unit` is empty for numbers without one; `share` is a fraction that people read in percent. `highest` is True where
    higher is better. `chance` in `Task.score` results is not a metric.
    """

    name: str
    unit: str = ""
    highest: bool = False

    def minimised(self, value: float) -> float:
        """Returns the value with the sign that makes lower better."""
        return -value if self.highest else value


class Task(Protocol):
    """What networks are trained for and judged by. The first of `metrics` is what searches minimise by default."""

    @property
    def name(self) -> str: ...

    @property
    def metrics(self) -> tuple[Metric, ...]: ...

    def loss(self, outputs: "Tensor", labels: "Tensor", *, smoothing: float = 0.0) -> "Tensor":
        """Returns the loss of a training step, a differentiable scalar, averaged over predictions.

        `smoothing` is label smoothing; tasks without classes ignore it.
        """
        ...

    def imitation(self, outputs: "Tensor", teacher: "Tensor") -> "Tensor":
        """Returns the loss of a student's outputs against a teacher's outputs, a differentiable scalar (distillation)."""
        ...

    def score(self, batches: "Iterable[tuple[Tensor, Tensor]]") -> Mapping[str, float]:
        """Returns every metric of a split by name, from batches of outputs and labels."""
        ...

    def require_outputs(self, output_shape: "Shape", classes: int) -> None:
        """Raises SpaceError where networks of `output_shape` (without the batch axis) cannot solve the task.

        `classes` is the length of the channel axis that the data set asks for.
        """
        ...
