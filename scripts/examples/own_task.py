"""A task of one's own: classes in an order, where a near miss is better than a far one. Nothing of hwnas is touched.

    hwnas search --task scripts/examples/own_task.py:make --data digits --space mobilenet --latency-budget 80%

Ages, grades and sizes are such classes. The loss is the squared earth mover's distance between the predicted distribution
and the label (Hou et al. 2016); searches minimise the mean distance between the predicted class and the label.

Shapes: N examples, K classes.
"""

from collections.abc import Iterable, Mapping

from torch import Tensor
from torch.nn import functional as F

from hwnas.errors import SpaceError
from hwnas.tasks.task import Metric


class OrdinalClassification:
    name = "ordinal"
    metrics = (
        Metric(name="distance", unit="classes"),
        Metric(name="accuracy", unit="share", highest=True),
    )

    def loss(self, outputs: Tensor, labels: Tensor, *, smoothing: float = 0.0) -> Tensor:
        """Returns the mean squared earth mover's distance between predictions and labels."""
        classes = outputs.shape[1]
        target_NK = (1 - smoothing) * F.one_hot(labels, classes).to(outputs) + smoothing / classes
        return _distance(outputs.softmax(1), target_NK)

    def imitation(self, outputs: Tensor, teacher: Tensor) -> Tensor:
        """Returns the mean squared earth mover's distance to the teacher's distribution."""
        return _distance(outputs.softmax(1), teacher.softmax(1))

    def score(self, batches: Iterable[tuple[Tensor, Tensor]]) -> Mapping[str, float]:
        """Returns how many classes predictions are off by, on average, and the share that is right."""
        distance, right, count = 0, 0, 0
        for outputs, labels in batches:
            off_N = (outputs.argmax(1) - labels).abs()
            distance, right, count = distance + int(off_N.sum()), right + int((off_N == 0).sum()), count + len(labels)
        return {"distance": distance / count, "accuracy": right / count}

    def guess(self, labels: Tensor, output_shape: tuple[int, ...]) -> Tensor:
        """Returns outputs that are sure of the median class, from which labels are least far."""
        return F.one_hot(labels.flatten().sort().values[(labels.numel() - 1) // 2], output_shape[0]).float()

    def require_outputs(self, output_shape: tuple[int, ...], classes: int) -> None:
        if tuple(output_shape) != (classes,):
            raise SpaceError(
                f"ordinal classes need outputs of shape ({classes},), not {output_shape}; give another --space"
            )


def _distance(probability_NK: Tensor, target_NK: Tensor) -> Tensor:
    """Returns the mean over examples of the summed squared differences of the cumulative distributions."""
    return (probability_NK.cumsum(1) - target_NK.cumsum(1)).square().sum(1).mean()


make = OrdinalClassification
