"""Classification: one class per example.

Shapes: outputs (N, K) are logits, labels (N,) are classes; N examples, K classes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, final

from torch import Tensor

from hwnas.core.operator import Shape
from hwnas.tasks.classes import (
    accuracy,
    balanced_weights,
    class_rows,
    cross_entropy,
    distillation,
    last_axis,
    log_shares,
    loss_and_counts,
    mean_share,
    summed_counts,
)
from hwnas.tasks.shapes import require_shape
from hwnas.tasks.task import Metric


@final
@dataclass(frozen=True, slots=True)
class Classification:
    """Cross-entropy in nats, accuracy (the share of examples whose most likely class is the label), and balanced accuracy (the
    mean over the classes of that share, so that a rare class weighs as much as a frequent one).

    `weights` are those of the classes in the training loss.
    """

    name: ClassVar[str] = "classification"
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric(name="loss", unit="nats"),
        Metric(name="accuracy", unit="share", highest=True),
        Metric(name="balanced_accuracy", unit="share", highest=True),
    )

    weights: tuple[float, ...] | None = None

    def loss(self, outputs: Tensor, labels: Tensor, *, smoothing: float = 0.0) -> Tensor:
        """Returns the mean cross-entropy in nats."""
        return cross_entropy(*last_axis(outputs, labels), smoothing, self.weights)

    def imitation(self, outputs: Tensor, teacher: Tensor) -> Tensor:
        """Returns the mean cross-entropy against the teacher's probabilities, in nats."""
        return distillation(outputs.flatten(0, -2), teacher.flatten(0, -2))

    def score(self, batches: Iterable[tuple[Tensor, Tensor]]) -> Mapping[str, float]:
        """Returns loss, accuracy and balanced accuracy of a split. Raises DataError for an empty split."""
        loss, count_3K = loss_and_counts(last_axis(outputs, labels) for outputs, labels in batches)
        right_K, labels_K, _ = count_3K
        return {"loss": loss, "accuracy": accuracy(count_3K), "balanced_accuracy": mean_share(right_K, labels_K)}

    def guess(self, labels: Tensor, output_shape: Shape) -> Tensor:
        """Returns the logits of the label shares: their loss is the shares' entropy, their accuracy the largest share."""
        return log_shares(labels.flatten(), output_shape[-1])

    def balanced(self, labels: Tensor, classes: int) -> "Classification":
        """Returns the task with a training loss in which all classes weigh the same."""
        return replace(self, weights=balanced_weights(labels.flatten(), classes))

    def class_rows(self, batches: Iterable[tuple[Tensor, Tensor]]) -> list[dict[str, float]]:
        """Returns labels, predictions, recall and precision of every class."""
        return class_rows(summed_counts(last_axis(outputs, labels) for outputs, labels in batches))

    def require_outputs(self, output_shape: Shape, classes: int) -> None:
        """Raises SpaceError unless networks give one logit per class."""
        require_shape(self.name, tuple(output_shape) == (classes,), output_shape, f"({classes},), one per class")
