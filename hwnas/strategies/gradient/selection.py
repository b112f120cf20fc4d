"""The values that every selector gets, and the selector that needs nothing else: the likeliest architecture.

Shapes: N architectures, C choices.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor, nn

from hwnas.core import optimum
from hwnas.core.arch import Arch
from hwnas.core.arrays import BoolArray, FloatArray, IntArray
from hwnas.core.factors import total
from hwnas.core.space import SearchSpace
from hwnas.costs.proxies import MEASURES
from hwnas.errors import TrainingError
from hwnas.strategies.gradient.derive import choice_factor, derive, log_scores
from hwnas.supernet.mixture import Drawn
from hwnas.supernet.network import Supernet
from hwnas.tasks.task import Task


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """A trained supernet with probabilities of its options, the limits, and the means to compare options.

    `probabilities` has an array (options,) for every choice that is not tied; 0 marks an option that was dropped.
    `validation` is the supernet's loss under probabilities, with batch-norms in train mode as in DARTS-PT; `tune` trains the
    weights a little under them. `judge` gives the loss of architectures (N, C), lower is better; None: `validation` does.
    `factors` and `evolution` evaluate at most `evaluations` networks; `earlier_NC` were evaluated before, and are free.
    `batch` holds inputs and labels for zero-cost scores, which leave the supernet in train mode.
    """

    space: SearchSpace
    probabilities: Mapping[str, FloatArray]
    limits: Sequence[optimum.Limit]
    supernet: Supernet
    task: Task
    validation: Callable[[Mapping[str, Tensor | Drawn]], float]
    tune: Callable[[Mapping[str, Tensor]], None]
    batch: tuple[Tensor, Tensor]
    seed: int
    evaluations: int
    judge: Callable[[IntArray], FloatArray] | None = None
    earlier_NC: IntArray | None = None

    def losses(self, rows_NC: IntArray) -> FloatArray:
        """Returns the loss of each architecture, lower is better; shape (N,). Raises TrainingError."""
        if self.judge is not None:
            return self.judge(rows_NC)
        one, columns = torch.ones(1, device=self.batch[0].device), self.space.columns.items()
        drawn = ({name: Drawn((int(row_C[at]),), one) for name, at in columns} for row_C in rows_NC)
        return np.array([finite(self.validation(options)) for options in drawn])

    def undropped(self, likeliest_1C: IntArray) -> Sequence[optimum.Limit]:
        """Returns the limits, and one more: no more dropped options (probability 0) than the likeliest architecture has."""
        space, known = self.space, self.probabilities.items()
        dropped = [choice_factor(space, name, np.equal(p_K, 0.0)) for name, p_K in known if np.equal(p_K, 0.0).any()]
        fewest = total(dropped, likeliest_1C, space.columns)[0]
        return [*self.limits, (dropped, fewest + 0.5)] if dropped else self.limits

    def tensors(self, probabilities: Mapping[str, FloatArray]) -> dict[str, Tensor]:
        """Returns probabilities as tensors on the inputs' device, and of the inputs' type where that is floating."""
        inputs, _ = self.batch
        dtype = inputs.dtype if inputs.is_floating_point() else torch.float32
        return {
            name: torch.as_tensor(values, dtype=dtype, device=inputs.device) for name, values in probabilities.items()
        }

    def proxy(self, network: nn.Module) -> float:
        """Returns the zero-cost score that the space's inputs allow. Raises TrainingError for one that is not a number."""
        measure = MEASURES["jacobian" if self.space.vocabulary is None else "grad-norm"]
        torch.manual_seed(self.seed)  # dropout
        # Train mode: the running statistics of a supernet belong to no network.
        return finite(measure(network.train(), *self.batch, self.task.loss))

    def within(self, rows_NC: IntArray, limits: Sequence[optimum.Limit] | None = None) -> BoolArray:
        """Returns True for architectures that meet the space's requirements and all limits, or others; shape (N,)."""
        result = self.space.meets_requirements(rows_NC)
        for factors, bound in self.limits if limits is None else limits:
            result = result & (total(factors, rows_NC, self.space.columns) <= bound)
        return result


# The same selection and weights give the same architecture. Raises BudgetError where no architecture is within the limits.
Selector = Callable[[Selection], Arch]


def magnitude(selection: Selection) -> Arch:
    """Returns the likeliest options that the limits allow together (DARTS, Liu et al. 2019, section 2.3, plus the limits)."""
    return derive(selection.space, log_scores(selection.probabilities), selection.limits)


def finite(value: float) -> float:
    """Returns a loss or score. Raises TrainingError for one that is not a number."""
    if not math.isfinite(value):
        raise TrainingError(f"the supernet's loss or proxy is {value}; train it again with a lower learning rate")
    return value
