"""Regression: numbers per example.

Shapes: outputs and labels are (N, T); N examples, T targets. Data sets standardise the targets, so errors are in standard
deviations of the training labels.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Final, final

import torch
from torch import Tensor
from torch.nn import functional as F

from hwnas.core.operator import Shape
from hwnas.tasks.classes import require_predictions
from hwnas.tasks.shapes import require_shape
from hwnas.tasks.task import Metric


@final
class Regression:
    """Mean squared error, its root, and R2, the share of the labels' variance that is explained.

    R2 is averaged over targets. As in scikit-learn's `r2_score`, a target that does not vary counts 1 where its predictions
    are exact, else 0.
    """

    name: Final = "regression"
    metrics: Final = (Metric(name="loss"), Metric(name="r2", highest=True), Metric(name="rmse"))

    def loss(self, outputs: Tensor, labels: Tensor, *, smoothing: float = 0.0) -> Tensor:
        """Returns the mean squared error; `smoothing` is ignored."""
        return F.mse_loss(outputs, labels.view_as(outputs))  # labels (N,) would be broadcast to (N, N)

    def imitation(self, outputs: Tensor, teacher: Tensor) -> Tensor:
        """Returns the mean squared difference to the teacher's outputs."""
        return F.mse_loss(outputs, teacher)

    def score(self, batches: Iterable[tuple[Tensor, Tensor]]) -> Mapping[str, float]:
        """Returns loss, rmse and r2 of a split. Raises DataError for an empty split."""
        squares = _Squares()
        for outputs, labels in batches:
            squares.add(outputs.double(), labels.view_as(outputs).double())
        require_predictions(squares.count)
        loss = float((squares.error_T / squares.count).mean())
        return {"loss": loss, "rmse": math.sqrt(loss), "r2": float(squares.explained().mean())}

    def guess(self, labels: Tensor, output_shape: Shape) -> Tensor:
        """Returns the targets' means: their loss is the variance, averaged over targets, their R2 is 0."""
        require_predictions(len(labels))
        return labels.double().mean(0).to(labels.dtype).reshape(output_shape)

    def require_outputs(self, output_shape: Shape, classes: int) -> None:
        """Raises SpaceError unless networks give one number per target."""
        require_shape(self.name, tuple(output_shape) == (classes,), output_shape, f"({classes},), one per target")


@final
class _Squares:
    """Sums of squared errors and of squared deviations of the labels from their mean, batch by batch."""

    def __init__(self) -> None:
        self.count = 0
        self.error_T = self._mean_T = self._deviation_T = torch.zeros((), dtype=torch.float64)

    def add(self, outputs_NT: Tensor, labels_NT: Tensor) -> None:
        """Adds a batch; the deviations are merged without cancellation (Chan et al. 1979, equation 2.1)."""
        added, total = len(labels_NT), self.count + len(labels_NT)
        mean_T = labels_NT.mean(0)
        step_T = mean_T - self._mean_T
        spread_T = (labels_NT - mean_T).square().sum(0)
        self._deviation_T = self._deviation_T + spread_T + step_T.square() * (self.count * added / total)
        self._mean_T = self._mean_T + step_T * (added / total)
        self.error_T = self.error_T + (outputs_NT - labels_NT).square().sum(0)
        self.count = total

    def explained(self) -> Tensor:
        """Returns 1 - error / deviation per target; shape (T,)."""
        exact_T = (self.error_T == 0).double()
        return torch.where(self._deviation_T > 0, 1 - self.error_T / self._deviation_T, exact_T)
