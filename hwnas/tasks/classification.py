"""Classification: one class per example.

Shapes: outputs (N, K) are logits, labels (N,) are classes; N examples, K classes.
"""

from collections.abc import Iterable, Mapping
from typing import Final, final

from torch import Tensor

from hwnas.core.operator import Shape
from hwnas.tasks.classes import cross_entropy, distillation, last_axis, loss_and_accuracy
from hwnas.tasks.shapes import require_shape
from hwnas.tasks.task import Metric


@final
class Classification:
    """Cross-entropy in nats, and the share of examples whose most likely class is the label."""

    name: Final = "classification"
    metrics: Final = (Metric(name="loss", unit="nats"), Metric(name="accuracy", unit="share", highest=True))

    def loss(self, outputs: Tensor, labels: Tensor, *, smoothing: float = 0.0) -> Tensor:
        """Returns the mean cross-entropy in nats."""
        return cross_entropy(*last_axis(outputs, labels), smoothing)

    def imitation(self, outputs: Tensor, teacher: Tensor) -> Tensor:
        """Returns the mean cross-entropy against the teacher's probabilities, in nats."""
        return distillation(outputs.flatten(0, -2), teacher.flatten(0, -2))

    def score(self, batches: Iterable[tuple[Tensor, Tensor]]) -> Mapping[str, float]:
        """Returns loss and accuracy of a split. Raises DataError for an empty split."""
        loss, accuracy = loss_and_accuracy(last_axis(outputs, labels) for outputs, labels in batches)
        return {"loss": loss, "accuracy": accuracy}

    def require_outputs(self, output_shape: Shape, classes: int) -> None:
        """Raises SpaceError unless networks give one logit per class."""
        require_shape(self.name, tuple(output_shape) == (classes,), output_shape, f"({classes},), one per class")
