"""Language modelling: the next token at every position.

Shapes: outputs (N, L, K) are logits, labels (N, L) are token ids; N windows, L positions, K tokens.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Final, final

from torch import Tensor

from hwnas.core.operator import Shape
from hwnas.tasks.classes import cross_entropy, distillation, last_axis, log_shares, loss_and_accuracy
from hwnas.tasks.shapes import require_shape
from hwnas.tasks.task import Metric

# exp of a larger number is more than a double holds.
MOST_NATS: Final = 700.0


@final
class Language:
    """Cross-entropy in nats per token, the share of tokens predicted correctly, and perplexity, exp(loss)."""

    name: Final = "language"
    metrics: Final = (
        Metric(name="loss", unit="nats"),
        Metric(name="perplexity"),
        Metric(name="accuracy", unit="share", highest=True),
    )

    def loss(self, outputs: Tensor, labels: Tensor, *, smoothing: float = 0.0) -> Tensor:
        """Returns the mean cross-entropy in nats per token."""
        return cross_entropy(*last_axis(outputs, labels), smoothing)

    def imitation(self, outputs: Tensor, teacher: Tensor) -> Tensor:
        """Returns the mean cross-entropy against the teacher's probabilities, in nats per token."""
        return distillation(outputs.flatten(0, -2), teacher.flatten(0, -2))

    def score(self, batches: Iterable[tuple[Tensor, Tensor]]) -> Mapping[str, float]:
        """Returns loss, accuracy and perplexity of a split. Raises DataError for an empty split."""
        loss, accuracy = loss_and_accuracy(last_axis(outputs, labels) for outputs, labels in batches)
        perplexity = math.inf if loss > MOST_NATS else math.exp(loss)
        return {"loss": loss, "accuracy": accuracy, "perplexity": perplexity}

    def guess(self, labels: Tensor, output_shape: Shape) -> Tensor:
        """Returns, at every position, the logits of the tokens' shares: their loss is the entropy of single tokens."""
        return log_shares(labels.flatten(), output_shape[-1]).expand(output_shape)

    def require_outputs(self, output_shape: Shape, classes: int) -> None:
        """Raises SpaceError unless networks give one logit per position and token."""
        fits = len(output_shape) == 2 and output_shape[-1] == classes
        require_shape(self.name, fits, output_shape, f"(positions, {classes}), one per token")
