"""The schedule of a gradient search: warm-up, phases and temperature; and the record of an epoch. Imports no torch."""

import math
from dataclasses import dataclass
from typing import final

from hwnas.errors import TrainingError


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A part of a search (DrNAS's progressive learning, Chen et al. 2021, section 2.3).

    `kept` is the share of the remaining options that stay at its start. `partial` is the number of parts that the channels of
    a cell's edges are split into; the operators get one part.
    """

    kept: float = 1.0
    partial: int = 1


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """The epochs and rates of training probabilities.

    `warmup_epochs` of weights alone come before the recipe's epochs. `arch_rate` is Adam's rate; None takes the rate that
    lets a logit move by `search.REACH`. `weights_share` of the training examples teach the weights, the others the
    probabilities. The temperature falls linearly from the first to the second. `phases` have equal lengths; the warm-up
    belongs to the first. `unrolled` lets probabilities see a step of the weights (second-order DARTS). `mixed_precision`
    runs the supernet in bfloat16 where that is safe. Raises TrainingError.
    """

    warmup_epochs: int = 5
    arch_rate: float | None = None
    arch_decay: float = 1e-3
    weights_share: float = 0.5
    temperatures: tuple[float, float] = (10.0, 0.1)
    phases: tuple[Phase, ...] = (Phase(),)
    unrolled: bool = False
    mixed_precision: bool = False

    def __post_init__(self) -> None:
        partial = min((phase.partial for phase in self.phases), default=0)
        if self.warmup_epochs < 0 or not 0 < self.weights_share < 1 or min(*self.temperatures, partial) <= 0:
            raise TrainingError(f"cannot search with {self}: epochs and temperatures are positive, shares below 1")

    def temperature(self, epoch: int, epochs: int) -> float:
        """Returns the temperature of an epoch, from 0, of a search of `epochs` after the warm-up."""
        start, end = self.temperatures
        share = max(0, epoch - self.warmup_epochs) / max(1, epochs - 1)
        return start + (end - start) * share

    def phase(self, epoch: int, epochs: int) -> tuple[bool, Phase]:
        """Returns the phase of an epoch, from 0, of a search of `epochs` after the warm-up; True if the phase starts then."""
        begun = max(0, epoch - self.warmup_epochs)
        starts = [math.ceil(epochs * number / len(self.phases)) for number in range(len(self.phases))]
        number = max(number for number, start in enumerate(starts) if start <= begun)
        return starts[number] == epoch - self.warmup_epochs, self.phases[number]


@final
@dataclass(frozen=True, slots=True)
class Progress:
    """The record of one epoch, counted from 1.

    Losses are the task's; `arch_loss` excludes the penalty, and is None where no probabilities were trained. `ratios` are
    expected costs over their bounds. `entropy` is 1 where all options are equally likely, 0 where every choice is decided.
    """

    epoch: int
    weights_loss: float
    arch_loss: float | None
    ratios: tuple[float, ...]
    multipliers: tuple[float, ...]
    entropy: float
