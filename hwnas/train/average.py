"""The moving average of a module's weights over the steps of a training."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


def averaged(module: nn.Module, decay: float) -> AveragedModel:
    """Returns the exponential moving average of a module's parameters and batch-norm statistics, to be updated after each step.

    The first update copies the weights w. Update n + 1 is average += (1 - d) * (w - average) with
    d = min(decay, (1 + n) / (10 + n)), so that the first weights do not weigh on a training of few steps (the warm-up of
    TensorFlow's ExponentialMovingAverage). Statistics are averaged as weights are, because those of the last weights do not
    fit averaged ones; counters are copied.
    """

    def update(averages: Sequence[Tensor], values: Sequence[Tensor], count: Tensor | int) -> None:
        steps = int(count)
        share = 1 - min(decay, (1 + steps) / (10 + steps))
        for average, value in zip(averages, values, strict=True):
            if average.is_floating_point():
                average.lerp_(value, share)
            else:
                average.copy_(value)

    return AveragedModel(module, multi_avg_fn=update, use_buffers=True)
