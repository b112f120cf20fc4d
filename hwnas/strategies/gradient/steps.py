"""One step of the weights, and one of the probabilities under the penalty.

Shapes: K constraints; L logits of all choices.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Final, final

import torch
from torch import Tensor, nn

from hwnas.strategies.gradient.constraint import Constraint
from hwnas.strategies.gradient.penalties import Penalty, updated
from hwnas.strategies.gradient.relaxation import Relaxation
from hwnas.supernet.mixture import Drawn
from hwnas.supernet.network import Supernet
from hwnas.train.recipes import Recipe
from hwnas.train.step import task_loss

# The length of the finite difference over weights. DARTS (section 2.3) has 0.01, which crosses so many of ReLU's kinks that
# of a small convolutional network not even all signs were right; 0.001 was within 10 %, and is far above float32's noise.
DIFFERENCE: Final = 0.001

# Multipliers move as fast as logits do, however many steps there are: faster ones would still rise when costs are falling.
PACE: Final = 3.0

Batch = tuple[Tensor, Tensor]


@final
@dataclass(frozen=True, slots=True)
class Chance:
    """What an epoch draws options with, and how many parts it makes of the channels of a cell's edges."""

    temperature: float
    generator: torch.Generator
    partial: int = 1


@final
@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Steps:
    """A supernet and its relaxation, their optimisers, and the multipliers (K,) of the constraints."""

    supernet: Supernet
    relaxation: Relaxation
    recipe: Recipe
    penalty: Penalty
    constraints: Sequence[Constraint]
    of_weights: torch.optim.Optimizer
    of_arch: torch.optim.Optimizer
    multiplier_K: Tensor
    mixed_precision: bool

    def parts(self) -> dict[str, Any]:
        """All that has a state, by name."""
        return {
            "weights": self.supernet,
            "optimizer": self.of_weights,
            "relaxation": self.relaxation,
            "arch_optimizer": self.of_arch,
        }

    def ratios(self) -> Tensor:
        """Expected costs over their bounds; shape (K,)."""
        probabilities = self.relaxation.probabilities()
        ratios = [constraint.expected(probabilities) / constraint.bound for constraint in self.constraints]
        return torch.stack(ratios) if ratios else self.multiplier_K

    def weights_step(self, batch: Batch, chance: Chance) -> float:
        """The loss before it, in nats per prediction."""
        self.of_weights.zero_grad()
        with torch.no_grad():  # probabilities have their own step
            drawn = self._drawn(chance)
        loss = self._task(batch, drawn, chance, self.recipe.label_smoothing)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.supernet.parameters(), self.recipe.clip_norm)
        self.of_weights.step()
        return float(loss.detach())

    def arch_step(self, batch: Batch, chance: Chance) -> float:
        """The loss before it, without the penalty, in nats per prediction."""
        loss = self._task(batch, self._drawn(chance), chance)
        # Nothing is left to decide where every choice has one option left.
        (gradient_L,) = torch.autograd.grad(
            self._penalised(loss), [self.relaxation.logits], allow_unused=True, materialize_grads=True
        )
        self._step_along(gradient_L)
        return float(loss.detach())

    def unrolled_step(self, batch: Batch, chance: Chance, weights_batch: Batch) -> float:
        """As `arch_step`, after a step of the weights: second-order DARTS (section 2.3, equations 7 and 8).

        The step of the weights is a plain gradient's, not clipped, at their rate now. All passes draw the same options.
        """
        weights = list(self.supernet.parameters())
        logits, start = self.relaxation.logits, chance.generator.get_state()
        rate = self.of_weights.param_groups[0]["lr"]
        smoothing = self.recipe.label_smoothing
        gradients = torch.autograd.grad(
            self._task(weights_batch, self._drawn(chance), chance, smoothing), weights, allow_unused=True
        )
        _shift(weights, gradients, -rate)
        chance.generator.set_state(start)
        loss = self._task(batch, self._drawn(chance), chance)
        gradient_L, *directions = torch.autograd.grad(
            self._penalised(loss), [logits, *weights], allow_unused=True, materialize_grads=True
        )
        _shift(weights, gradients, rate)
        length = torch.stack([direction.norm() for direction in directions]).norm()
        step = DIFFERENCE / float(length.clamp_min(1e-12))
        sides = []
        for sign in (1, -1):
            _shift(weights, directions, sign * step)
            chance.generator.set_state(start)
            side = self._task(weights_batch, self._drawn(chance), chance, smoothing)
            sides.append(torch.autograd.grad(side, [logits], allow_unused=True, materialize_grads=True)[0])
            _shift(weights, directions, -sign * step)
        self._step_along(gradient_L - rate * (sides[0] - sides[1]) / (2 * step))
        return float(loss.detach())

    def _drawn(self, chance: Chance) -> dict[str, Drawn]:
        return self.relaxation.draw(chance.temperature, chance.generator)

    def _task(self, batch: Batch, drawn: Mapping[str, Drawn], chance: Chance, label_smoothing: float = 0.0) -> Tensor:
        x, labels = batch
        with self._precision(x):
            logits = self.supernet(x, drawn, chance.partial)
        return task_loss(logits.float() if self.mixed_precision else logits, labels, label_smoothing)

    def _precision(self, x: Tensor) -> AbstractContextManager[Any]:
        return torch.autocast(x.device.type, torch.bfloat16) if self.mixed_precision else nullcontext()

    def _penalised(self, loss: Tensor) -> Tensor:
        return self.penalty.apply(loss, self.ratios(), self.multiplier_K, self.penalty.weight)

    def _step_along(self, gradient_L: Tensor) -> None:
        """A step of the probabilities, then one of the multipliers."""
        self.relaxation.logits.grad = gradient_L
        self.of_arch.step()
        with torch.no_grad():
            step = PACE * self.of_arch.param_groups[0]["lr"]
            self.multiplier_K.copy_(updated(self.multiplier_K, self.ratios(), step))


@torch.no_grad()
def _shift(weights: Sequence[Tensor], directions: Sequence[Tensor | None], by: float) -> None:
    for weight, direction in zip(weights, directions, strict=True):
        if direction is not None:
            weight.add_(direction, alpha=by)
