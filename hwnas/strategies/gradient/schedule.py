"""The schedule of a gradient search: warm-up and phases; and the record of an epoch. Imports no torch."""

import math
from dataclasses import dataclass
from typing import Final, final

from hwnas.errors import TrainingError

# Earlier logits only say how weights that were hardly trained should be scaled: often the wrong options (docs/log.md).
LEAST_AGE: Final = 3
# DrNAS rests the logits in the first 10 of the 25 epochs of a phase.
RESTING: Final = 0.4


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A part of a search (DrNAS's progressive learning, Chen et al. 2021, section 2.3).

    `kept` is the share of the remaining options that stay at its start. `partial` is the number of parts that the channels of
    a cell's edges are split into; the operators get one part. In the first `resting` share of its epochs the weights alone
    are trained: those of channels that came in are young.
    """

    kept: float = 1.0
    partial: int = 1
    resting: float = 0.0


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """The epochs and rates of training probabilities.

    `warmup_epochs` of weights alone come before the recipe's epochs. `arch_rate` is Adam's rate, and `weights_share` the
    share of the training examples that teach the weights; None takes the sampler's (`samplers.LogitTraining`). `phases` have
    equal lengths; the warm-up belongs to the first. `unrolled` lets probabilities see a step of the weights (second-order
    DARTS). `divergence` regularises logits by DrNAS's divergence from equal concentrations instead of their squares.
    `mixed_precision` runs the supernet in bfloat16 where that is safe. Raises TrainingError.
    """

    warmup_epochs: int = 5
    arch_rate: float | None = None
    weights_share: float | None = None
    phases: tuple[Phase, ...] = (Phase(),)
    unrolled: bool = False
    divergence: bool = False
    mixed_precision: bool = False

    def __post_init__(self) -> None:
        partial = min((phase.partial for phase in self.phases), default=0)
        share = 0.5 if self.weights_share is None else self.weights_share
        if self.warmup_epochs < 0 or not 0 < share < 1 or partial <= 0:
            raise TrainingError(f"cannot search with {self}: epochs and parts are positive, shares below 1")

    def share(self, epoch: int, epochs: int) -> float:
        """Returns the share of a search of `epochs` that is done in an epoch, from 0; negative in the warm-up, 1 at the end."""
        return (epoch - self.warmup_epochs) / max(1, epochs - 1)

    def phase(self, epoch: int, epochs: int) -> tuple[bool, Phase]:
        """Returns the phase of an epoch, from 0, of a search of `epochs` after the warm-up; True if the phase starts then."""
        begun = max(0, epoch - self.warmup_epochs)
        starts = self._starts(epochs)
        number = max(number for number, start in enumerate(starts) if start <= begun)
        return starts[number] == epoch - self.warmup_epochs, self.phases[number]

    def rests(self, epoch: int, epochs: int) -> bool:
        """Returns True for an epoch, from 0, that trains the weights alone: in the warm-up and at the start of a phase."""
        begun = epoch - self.warmup_epochs
        ends = [*self._starts(epochs)[1:], epochs]
        spans = zip(self._starts(epochs), ends, self.phases, strict=True)
        return begun < 0 or any(
            start <= begun < start + round(phase.resting * (end - start)) for start, end, phase in spans
        )

    def require_age(self, epochs: int) -> None:
        """Raises TrainingError where options would be dropped by logits that were trained for less than 3 epochs."""
        for start, phase in zip(self._starts(epochs), self.phases, strict=True):
            age = sum(not self.rests(self.warmup_epochs + epoch, epochs) for epoch in range(start))
            if phase.kept < 1 and age < LEAST_AGE:
                raise TrainingError(
                    f"after {age} epochs probabilities are too young to drop options by them; they need {LEAST_AGE} before a "
                    f"phase that drops some: give more --epochs (here {epochs}), or leave out --progressive"
                )

    def _starts(self, epochs: int) -> list[int]:
        return [math.ceil(epochs * number / len(self.phases)) for number in range(len(self.phases))]


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

    def numbers(self) -> dict[str, float]:
        """Returns the numbers by name; `arch_loss` is left out where no probabilities were trained."""
        losses = {"gradient/weights_loss": self.weights_loss, "gradient/entropy": self.entropy}
        if self.arch_loss is not None:
            losses["gradient/arch_loss"] = self.arch_loss
        return losses | {f"gradient/ratio{number}": ratio for number, ratio in enumerate(self.ratios, start=1)}
