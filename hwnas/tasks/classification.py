"""Classification: one class per example.

Shapes: outputs (N, K) are logits, labels (N,) are classes; N examples, K classes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, final

import torch
from torch import Tensor

from hwnas.core.operator import Shape
from hwnas.tasks.classes import (
    balanced_weights,
    class_rows,
    confusion,
    cross_entropy,
    distillation,
    last_axis,
    log_shares,
    mean_recall,
    require_predictions,
    summed_confusion,
    summed_entropy,
)
from hwnas.tasks.shapes import require_shape
from hwnas.tasks.task import Metric


@final
@dataclass(frozen=True, slots=True)
class Classification:
    """Cross-entropy in nats, the share of examples whose most likely class is the label, and the mean of that share over the
    classes, which rare classes count in as much as frequent ones.

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
        loss, confusion_KK = 0.0, torch.zeros((), dtype=torch.int64)
        for outputs, labels in batches:
            logits_PK, labels_P = last_axis(outputs, labels)
            loss += summed_entropy(logits_PK, labels_P)
            confusion_KK = confusion_KK + confusion(logits_PK, labels_P)
        count, right = int(confusion_KK.sum()), int(confusion_KK.diagonal().sum()) if confusion_KK.dim() else 0
        require_predictions(count)
        return {"loss": loss / count, "accuracy": right / count, "balanced_accuracy": mean_recall(confusion_KK)}

    def guess(self, labels: Tensor, output_shape: Shape) -> Tensor:
        """Returns the logits of the label shares: their loss is the shares' entropy, their accuracy the largest share."""
        return log_shares(labels.flatten(), output_shape[-1])

    def balanced(self, labels: Tensor, classes: int) -> "Classification":
        """Returns the task with a training loss in which all classes weigh the same."""
        return replace(self, weights=balanced_weights(labels.flatten(), classes))

    def class_rows(self, batches: Iterable[tuple[Tensor, Tensor]]) -> list[dict[str, float]]:
        """Returns labels, predictions, recall and precision of every class."""
        return class_rows(summed_confusion(last_axis(outputs, labels) for outputs, labels in batches))

    def require_outputs(self, output_shape: Shape, classes: int) -> None:
        """Raises SpaceError unless networks give one logit per class."""
        require_shape(self.name, tuple(output_shape) == (classes,), output_shape, f"({classes},), one per class")
