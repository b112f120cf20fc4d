"""Penalties: one loss from the loss of a task and the ratios of expected costs to their bounds.

The published penalties with a logarithm depend on the unit of latency; here the unit is a thousandth of the bound, so that
the logarithm is positive for all ratios that occur.

Shapes: K constraints; L logits of all choices.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, final

import torch
from torch import Tensor

from hwnas.errors import HwnasError, UnknownNameError

UNITS_OF_BOUND: Final = 1000.0
# Just above 1: at 1 the logarithm is 0 and the slope of its power infinite.
LEAST_UNITS: Final = 1.01
# FBNet's alpha scales the loss and with it the step; it trades nothing off.
FBNET_SCALE: Final = 0.2

# The weight of `budget`: a cost 1 % over its bound weighs as much as a multiplier of 1. With a smaller weight the multipliers
# must do the work, and expected costs fell 10 to 30 % below their bounds and took long to come back (docs/log.md).
STIFFNESS: Final = 100.0

# Maps the task's loss (), ratios (K,), multipliers (K,) and the weight to the loss ().
Apply = Callable[[Tensor, Tensor, Tensor, float], Tensor]


@final
@dataclass(frozen=True, slots=True)
class Penalty:
    """A function of the task's loss and the ratios, and its weight.

    `apply(task, ratio_K, multiplier_K, weight)` returns the loss to minimise; only `budget` uses the multipliers. `weight`
    is the published one unless replaced. A `separate` penalty is added to the task's loss, and has a step of its own: its
    gradient is 50 times the task's, and Adam on the sum of both would hardly follow the task (docs/log.md). Raises
    HwnasError for a weight that is not positive and finite.
    """

    apply: Apply
    weight: float
    separate: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.weight < math.inf:
            raise HwnasError(f"the weight of a penalty is a positive number, not {self.weight}")


def penalty(name: str) -> Penalty:
    """Returns the penalty of a name. Raises UnknownNameError."""
    if name not in PENALTIES:
        raise UnknownNameError("penalty", name, list(PENALTIES))
    return PENALTIES[name]


@torch.no_grad()
def updated(multiplier_K: Tensor, ratio_K: Tensor, step: float) -> Tensor:
    """Returns the multipliers of `budget` after a step; shape (K,). They rise over the bound, and fall to 0 under it.

    Nocedal & Wright 2006, section 17.4, for the constraints log(ratio) <= 0; there the step's length is the weight, and the
    step is taken where the loss is least under the multipliers before.
    """
    return (multiplier_K + step * ratio_K.log()).clamp(min=0)


def descent(slope_KL: Tensor, ratio_K: Tensor, multiplier_K: Tensor, weight: float, most: float) -> Tensor:
    """Returns the step of the logits down `budget`, given the slopes of log(ratio); shape (L,), 0 within the bounds.

    The step is the gradient over a bound on the curvature (Gauss-Newton), so one constraint is met in one step where its log
    is linear. No entry exceeds `most`.
    """
    next_K = updated(multiplier_K, ratio_K, weight)
    curvature = weight * slope_KL[next_K > 0].square().sum()
    step_L = -(next_K @ slope_KL) / curvature.clamp_min(torch.finfo(curvature.dtype).tiny)
    return step_L * (most / step_L.abs().max().clamp_min(most))


def _none(task: Tensor, ratio_K: Tensor, multiplier_K: Tensor, weight: float) -> Tensor:
    return task


def _fbnet(task: Tensor, ratio_K: Tensor, multiplier_K: Tensor, weight: float) -> Tensor:
    """Returns task · alpha · log(latency)^beta (FBNet, Wu et al. 2019, equation 2)."""
    return task * FBNET_SCALE * _log_units(ratio_K).pow(weight).prod()


def _proxyless_linear(task: Tensor, ratio_K: Tensor, multiplier_K: Tensor, weight: float) -> Tensor:
    """Returns task + lambda · (ratio - 1) (ProxylessNAS, Cai et al. 2019, section 3.3)."""
    return task + weight * (ratio_K - 1).sum()


def _proxyless_log(task: Tensor, ratio_K: Tensor, multiplier_K: Tensor, weight: float) -> Tensor:
    """Returns task · (log(latency) / log(bound))^beta: `mul#log` of ProxylessNAS's code, there also scaled."""
    return task * (_log_units(ratio_K) / math.log(UNITS_OF_BOUND)).pow(weight).prod()


def _mnasnet_soft(task: Tensor, ratio_K: Tensor, multiplier_K: Tensor, weight: float) -> Tensor:
    """Returns task · ratio^w: the soft reward (MnasNet, Tan et al. 2019, equation 2) as a loss, so w has the other sign."""
    return task * ratio_K.pow(weight).prod()


def _mnasnet_hard(task: Tensor, ratio_K: Tensor, multiplier_K: Tensor, weight: float) -> Tensor:
    """Returns task · max(1, ratio)^w: the hard reward (MnasNet, Tan et al. 2019, equations 2 and 3) as a loss."""
    return task * ratio_K.clamp(min=1).pow(weight).prod()


def _budget(task: Tensor, ratio_K: Tensor, multiplier_K: Tensor, weight: float) -> Tensor:
    """Returns the augmented Lagrangian of log(ratio) <= 0 (Nocedal & Wright 2006, section 17.4); the weight is its rho."""
    next_K = (multiplier_K + weight * ratio_K.log()).clamp(min=0)
    return task + (next_K.square() - multiplier_K.square()).sum() / (2 * weight)


def _log_units(ratio_K: Tensor) -> Tensor:
    return (UNITS_OF_BOUND * ratio_K).clamp(min=LEAST_UNITS).log()


PENALTIES: Final[Mapping[str, Penalty]] = {
    "budget": Penalty(_budget, STIFFNESS, separate=True),
    "fbnet": Penalty(_fbnet, 0.6),
    "mnasnet-hard": Penalty(_mnasnet_hard, 1.0),
    "mnasnet-soft": Penalty(_mnasnet_soft, 0.07),
    "none": Penalty(_none, 1.0),
    "proxyless-linear": Penalty(_proxyless_linear, 0.1),
    "proxyless-log": Penalty(_proxyless_log, 0.3),
}
