"""Segmentation: one class per pixel.

Shapes: outputs (N, K, H, W) are logits, labels (N, H, W) are classes, or `UNLABELLED`; N images, K classes, P pixels.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, final

from torch import Tensor

from hwnas.core.labels import UNLABELLED
from hwnas.core.operator import Shape
from hwnas.tasks.classes import (
    Predictions,
    accuracy,
    balanced_weights,
    class_rows,
    cross_entropy,
    distillation,
    log_shares,
    loss_and_counts,
    mean_share,
    summed_counts,
)
from hwnas.tasks.shapes import require_shape
from hwnas.tasks.task import Metric


@final
@dataclass(frozen=True, slots=True)
class Segmentation:
    """Cross-entropy in nats per pixel, mean intersection over union, and the share of pixels that are right.

    The mean IoU (Everingham et al. 2010, section 4) is over the classes that occur in the split's labels or predictions.

    `weights` are those of the classes in the training loss.
    """

    name: ClassVar[str] = "segmentation"
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric(name="loss", unit="nats"),
        Metric(name="miou", unit="share", highest=True),
        Metric(name="accuracy", unit="share", highest=True),
    )

    weights: tuple[float, ...] | None = None

    def loss(self, outputs: Tensor, labels: Tensor, *, smoothing: float = 0.0) -> Tensor:
        """Returns the mean cross-entropy in nats per labelled pixel; 0 for a batch that has none."""
        logits_PK, labels_P = _pixels(outputs, labels)
        return cross_entropy(logits_PK, labels_P, smoothing, self.weights) if len(labels_P) else outputs.sum() * 0.0

    def imitation(self, outputs: Tensor, teacher: Tensor) -> Tensor:
        """Returns the mean cross-entropy against the teacher's probabilities, in nats per pixel."""
        return distillation(_rows(outputs), _rows(teacher))

    def score(self, batches: Iterable[tuple[Tensor, Tensor]]) -> Mapping[str, float]:
        """Returns loss, mean IoU and accuracy of a split. Raises DataError for a split without labelled pixels."""
        loss, count_3K = loss_and_counts(_pixels(outputs, labels) for outputs, labels in batches)
        right_K, labels_K, predictions_K = count_3K
        miou = mean_share(right_K, labels_K + predictions_K - right_K)
        return {"loss": loss, "miou": miou, "accuracy": accuracy(count_3K)}

    def guess(self, labels: Tensor, output_shape: Shape) -> Tensor:
        """Returns, at every pixel, the logits of the label shares."""
        shares_K = log_shares(labels[labels != UNLABELLED], output_shape[0])
        return shares_K[:, None, None].expand(output_shape)

    def balanced(self, labels: Tensor, classes: int) -> "Segmentation":
        """Returns the task with a training loss in which all classes weigh the same, whatever their areas."""
        return replace(self, weights=balanced_weights(labels[labels != UNLABELLED], classes))

    def class_rows(self, batches: Iterable[tuple[Tensor, Tensor]]) -> list[dict[str, float]]:
        """Returns labelled pixels, predictions, recall and precision of every class."""
        return class_rows(summed_counts(_pixels(outputs, labels) for outputs, labels in batches))

    def require_outputs(self, output_shape: Shape, classes: int) -> None:
        """Raises SpaceError unless networks give a map of logits per class."""
        fits = len(output_shape) == 3 and output_shape[0] == classes
        require_shape(self.name, fits, output_shape, f"({classes}, height, width), one map per class")


def _rows(outputs: Tensor) -> Tensor:
    """Returns outputs with one pixel per row; shape (P, K)."""
    return outputs.movedim(1, -1).flatten(0, -2)


def _pixels(outputs: Tensor, labels: Tensor) -> Predictions:
    """Returns logits (P, K) and labels (P,) of the labelled pixels."""
    logits_PK, labels_P = _rows(outputs), labels.flatten()
    labelled = labels_P != UNLABELLED
    return (logits_PK, labels_P) if bool(labelled.all()) else (logits_PK[labelled], labels_P[labelled])
