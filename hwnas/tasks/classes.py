"""Arithmetic that all tasks with classes share: cross-entropy, distillation, and the scores of a split.

Shapes: P predictions, K classes.
"""

from collections.abc import Iterable

from torch import Tensor
from torch.nn import functional as F

from hwnas.errors import DataError

Predictions = tuple[Tensor, Tensor]


def last_axis(outputs: Tensor, labels: Tensor) -> Predictions:
    """Returns outputs (N, ..., K) and labels (N, ...) as one prediction per row: (P, K) and (P,)."""
    return outputs.flatten(0, -2), labels.flatten()


def cross_entropy(logits_PK: Tensor, labels_P: Tensor, smoothing: float) -> Tensor:
    """Returns the mean cross-entropy in nats, with label smoothing."""
    return F.cross_entropy(logits_PK, labels_P, label_smoothing=smoothing)


def distillation(logits_PK: Tensor, teacher_PK: Tensor) -> Tensor:
    """Returns the mean cross-entropy in nats against the teacher's probabilities (Hinton et al. 2015, temperature 1)."""
    return F.cross_entropy(logits_PK, teacher_PK.softmax(1))


def summed_entropy(logits_PK: Tensor, labels_P: Tensor) -> float:
    """Returns the sum of the cross-entropies in nats."""
    return float(F.cross_entropy(logits_PK, labels_P, reduction="sum"))


def loss_and_accuracy(batches: Iterable[Predictions]) -> tuple[float, float]:
    """Returns the mean cross-entropy in nats and the share of correct predictions. Raises DataError without predictions."""
    loss, correct, count = 0.0, 0, 0
    for logits_PK, labels_P in batches:
        loss += summed_entropy(logits_PK, labels_P)
        correct += int((logits_PK.argmax(1) == labels_P).sum())
        count += len(labels_P)
    require_predictions(count)
    return loss / count, correct / count


def require_predictions(count: int) -> None:
    """Raises DataError where a split has no labelled example."""
    if count == 0:
        raise DataError("the split has no labelled example, so it has no score; give data with larger splits")
