"""Arithmetic that all tasks with classes share: cross-entropy, distillation, and the scores of a split.

Shapes: P predictions, K classes.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from hwnas.errors import DataError

Predictions = tuple[Tensor, Tensor]


def last_axis(outputs: Tensor, labels: Tensor) -> Predictions:
    """Returns outputs (N, ..., K) and labels (N, ...) as one prediction per row: (P, K) and (P,)."""
    return outputs.flatten(0, -2), labels.flatten()


def cross_entropy(
    logits_PK: Tensor, labels_P: Tensor, smoothing: float, weights: Sequence[float] | None = None
) -> Tensor:
    """Returns the mean cross-entropy in nats, with label smoothing; weighted by the label's class where there are weights."""
    weight_K = None if weights is None else logits_PK.new_tensor(weights)
    return F.cross_entropy(logits_PK, labels_P, weight=weight_K, label_smoothing=smoothing)


def balanced_weights(labels_P: Tensor, classes: int) -> tuple[float, ...]:
    """Returns N / (K * count) of each class, by which all classes weigh the same.

    >>> balanced_weights(torch.tensor([0, 0, 0, 1]), 2)
    (0.6666666666666666, 2.0)
    """
    count_K = torch.bincount(labels_P, minlength=classes).clamp(min=1).double()
    weights: list[float] = (len(labels_P) / (classes * count_K)).tolist()
    return tuple(weights)


def log_shares(labels_P: Tensor, classes: int) -> Tensor:
    """Returns the logits (K,) of the label shares: no constant prediction has a lower cross-entropy, which is their entropy."""
    require_predictions(len(labels_P))
    share_K = torch.bincount(labels_P, minlength=classes).float() / len(labels_P)
    return share_K.clamp(min=torch.finfo(share_K.dtype).tiny).log()


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


def confusion(logits_PK: Tensor, labels_P: Tensor) -> Tensor:
    """Returns how many labels of each class (rows) were predicted as each class (columns), on the CPU; shape (K, K)."""
    classes = logits_PK.shape[1]
    pairs_P = labels_P * classes + logits_PK.argmax(1)
    return torch.bincount(pairs_P, minlength=classes**2).reshape(classes, classes).cpu()


def summed_confusion(batches: Iterable[Predictions]) -> Tensor:
    """Returns the confusion of a split; shape (K, K). Raises DataError without predictions."""
    confusion_KK = sum((confusion(*batch) for batch in batches), torch.zeros((), dtype=torch.int64))
    require_predictions(int(confusion_KK.sum()))
    return confusion_KK


def class_rows(confusion_KK: Tensor) -> list[dict[str, float]]:
    """Returns the numbers of labels and predictions of each class, and the shares of them that are right."""
    right_K, labels_K, predictions_K = confusion_KK.diagonal(), confusion_KK.sum(1), confusion_KK.sum(0)
    return [
        {"labels": labels, "predictions": predictions, "recall": recall, "precision": precision}
        for labels, predictions, recall, precision in zip(
            labels_K.tolist(),
            predictions_K.tolist(),
            (right_K / labels_K).tolist(),
            (right_K / predictions_K).tolist(),
            strict=True,
        )
    ]


def mean_recall(confusion_KK: Tensor) -> float:
    """Returns the mean, over the classes that occur, of the share of a class's labels that is predicted right."""
    count_K = confusion_KK.sum(1)
    occurs_K = count_K > 0
    return float((confusion_KK.diagonal()[occurs_K].double() / count_K[occurs_K]).mean())


def require_predictions(count: int) -> None:
    """Raises DataError where a split has no labelled example."""
    if count == 0:
        raise DataError("the split has no labelled example, so it has no score; give data with larger splits")
