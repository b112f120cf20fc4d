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
    """Returns the mean cross-entropy in nats, with label smoothing; weighted by the label's class where there are weights.

    The weights are not torch's, which weigh each class's term of the smoothing by that class: a network that is right about
    frequent classes would then be taught to call them rare.
    """
    if weights is None:
        return F.cross_entropy(logits_PK, labels_P, label_smoothing=smoothing)
    weight_P = logits_PK.new_tensor(weights)[labels_P.long()]
    loss_P = F.cross_entropy(logits_PK, labels_P, label_smoothing=smoothing, reduction="none")
    # A batch may hold no class that has a weight.
    return (loss_P * weight_P).sum() / weight_P.sum().clamp(min=torch.finfo(weight_P.dtype).tiny)


def balanced_weights(labels_P: Tensor, classes: int) -> tuple[float, ...]:
    """Returns N / (K * count) of each class, by which all classes weigh the same, and 0 of a class that does not occur.

    >>> balanced_weights(torch.tensor([0, 0, 0, 1]), 3)
    (0.4444444444444444, 1.3333333333333333, 0.0)
    """
    count_K = torch.bincount(labels_P, minlength=classes).double()
    weight_K = torch.where(count_K > 0, len(labels_P) / (classes * count_K), 0.0)
    return tuple(weight_K.tolist())


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


def class_counts(logits_PK: Tensor, labels_P: Tensor) -> Tensor:
    """Returns the numbers of right predictions, of labels and of predictions by class, on the CPU; shape (3, K)."""
    labels_P, predictions_P = labels_P.long(), logits_PK.argmax(1)
    right_P = labels_P[labels_P == predictions_P]
    counted = [torch.bincount(each_P, minlength=logits_PK.shape[1]) for each_P in (right_P, labels_P, predictions_P)]
    return torch.stack(counted).cpu()


def summed_counts(batches: Iterable[Predictions]) -> Tensor:
    """Returns the class counts of a split; shape (3, K). Raises DataError without predictions."""
    count_3K = sum((class_counts(*batch) for batch in batches), torch.zeros(3, 1, dtype=torch.int64))
    require_predictions(int(count_3K[1].sum()))
    return count_3K


def loss_and_counts(batches: Iterable[Predictions]) -> tuple[float, Tensor]:
    """Returns the mean cross-entropy in nats, and the class counts (3, K). Raises DataError without predictions."""
    loss, count_3K = 0.0, torch.zeros(3, 1, dtype=torch.int64)
    for batch in batches:
        loss += summed_entropy(*batch)
        count_3K = count_3K + class_counts(*batch)
    count = int(count_3K[1].sum())
    require_predictions(count)
    return loss / count, count_3K


def class_rows(count_3K: Tensor) -> list[dict[str, float]]:
    """Returns the numbers of labels and predictions of each class, and the shares of them that are right."""
    right_K, labels_K, predictions_K = count_3K
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


def accuracy(count_3K: Tensor) -> float:
    """Returns the share of predictions that are right."""
    return int(count_3K[0].sum()) / int(count_3K[1].sum())


def mean_share(right_K: Tensor, count_K: Tensor) -> float:
    """Returns the mean of right / count over the classes whose count is not 0."""
    occurs_K = count_K > 0
    return float((right_K[occurs_K].double() / count_K[occurs_K]).mean())


def require_predictions(count: int) -> None:
    """Raises DataError where a split has no labelled example."""
    if count == 0:
        raise DataError("the split has no labelled example, so it has no score; give data with larger splits")
