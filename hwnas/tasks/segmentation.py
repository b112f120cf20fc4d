"""Segmentation: one class per pixel.

Shapes: outputs (N, K, H, W) are logits, labels (N, H, W) are classes, or `UNLABELLED`; N images, K classes, P pixels.
"""

from collections.abc import Iterable, Mapping
from typing import Final, final

import torch
from torch import Tensor

from hwnas.core.labels import UNLABELLED
from hwnas.core.operator import Shape
from hwnas.tasks.classes import Predictions, cross_entropy, distillation, require_predictions, summed_entropy
from hwnas.tasks.shapes import require_shape
from hwnas.tasks.task import Metric


@final
class Segmentation:
    """Cross-entropy in nats per pixel, mean intersection over union, and the share of pixels that are right.

    The mean IoU (Everingham et al. 2010, section 4) is over the classes that occur in the split's labels or predictions.
    """

    name: Final = "segmentation"
    metrics: Final = (
        Metric(name="loss", unit="nats"),
        Metric(name="miou", unit="share", highest=True),
        Metric(name="accuracy", unit="share", highest=True),
    )

    def loss(self, outputs: Tensor, labels: Tensor, *, smoothing: float = 0.0) -> Tensor:
        """Returns the mean cross-entropy in nats per labelled pixel; 0 for a batch that has none."""
        logits_PK, labels_P = _pixels(outputs, labels)
        return cross_entropy(logits_PK, labels_P, smoothing) if len(labels_P) else outputs.sum() * 0.0

    def imitation(self, outputs: Tensor, teacher: Tensor) -> Tensor:
        """Returns the mean cross-entropy against the teacher's probabilities, in nats per pixel."""
        return distillation(_rows(outputs), _rows(teacher))

    def score(self, batches: Iterable[tuple[Tensor, Tensor]]) -> Mapping[str, float]:
        """Returns loss, mean IoU and accuracy of a split. Raises DataError for a split without labelled pixels."""
        loss, confusion_KK = 0.0, torch.zeros((), dtype=torch.int64)
        for outputs, labels in batches:
            logits_PK, labels_P = _pixels(outputs, labels)
            loss += summed_entropy(logits_PK, labels_P)
            confusion_KK = confusion_KK + _confusion(logits_PK, labels_P)
        count = int(confusion_KK.sum())
        require_predictions(count)
        right = int(confusion_KK.diagonal().sum())
        return {"loss": loss / count, "miou": _mean_iou(confusion_KK), "accuracy": right / count}

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


def _confusion(logits_PK: Tensor, labels_P: Tensor) -> Tensor:
    """Returns how many pixels of each label (rows) were predicted as each class (columns), on the CPU; shape (K, K)."""
    classes = logits_PK.shape[1]
    pairs_P = labels_P * classes + logits_PK.argmax(1)
    return torch.bincount(pairs_P, minlength=classes**2).reshape(classes, classes).cpu()


def _mean_iou(confusion_KK: Tensor) -> float:
    """Returns the mean of intersection / union over the classes that occur."""
    intersection_K = confusion_KK.diagonal()
    union_K = confusion_KK.sum(0) + confusion_KK.sum(1) - intersection_K
    occurs_K = union_K > 0
    return float((intersection_K[occurs_K].double() / union_K[occurs_K]).mean())
