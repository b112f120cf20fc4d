"""One step of the weights, and one step of the probabilities under the penalty.

Shapes: K constraints; L logits of all choices.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Final, final

import torch
from torch import Tensor

from hwnas.strategies.gradient.constraint import Constraint
from hwnas.strategies.gradient.penalties import Penalty, descent, updated
from hwnas.strategies.gradient.relaxation import Relaxation
from hwnas.supernet.mixture import Drawn
from hwnas.supernet.network import Supernet
from hwnas.tasks.task import Task
from hwnas.train.recipes import Recipe
from hwnas.train.step import Batch, training_step

# The length of the finite difference over weights. DARTS (section 2.3) has 0.01, which crosses so many of ReLU's kinks that
# the gradient of a small convolutional network had wrong signs; 0.001 was within 10 %, and is far above float32's noise.
DIFFERENCE: Final = 0.001

# Multipliers, and logits under a separate penalty, move at most at this multiple of the pace of logits under the task, whatever
# the number of steps: faster ones would still rise when costs are falling.
PACE: Final = 3.0


@final
@dataclass(frozen=True, slots=True)
class Chance:
    """The temperature and generator of an epoch's draws, and the number of parts that a cell's edges split channels into."""

    temperature: float
    generator: torch.Generator
    partial: int = 1


@final
@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Steps:
    """A supernet and its relaxation, their optimisers, and the multipliers (K,) of the constraints."""

    supernet: Supernet
    relaxation: Relaxation
    task: Task
    recipe: Recipe
    penalty: Penalty
    constraints: Sequence[Constraint]
    of_weights: torch.optim.Optimizer
    of_arch: torch.optim.Optimizer
    multiplier_K: Tensor
    divergence: bool
    mixed_precision: bool

    def parts(self) -> dict[str, Any]:
        """Returns everything with a state, by name, for checkpoints."""
        return {
            "weights": self.supernet,
            "optimizer": self.of_weights,
            "relaxation": self.relaxation,
            "arch_optimizer": self.of_arch,
        }

    def ratios(self) -> Tensor:
        """Returns the expected costs over their bounds; shape (K,)."""
        return self._ratios(self.relaxation.probabilities())

    def _ratios(self, probabilities: Mapping[str, Tensor]) -> Tensor:
        ratios = [constraint.expected(probabilities) / constraint.bound for constraint in self.constraints]
        return torch.stack(ratios) if ratios else self.multiplier_K

    def weights_step(self, batch: Batch, chance: Chance) -> float:
        """Steps the weights; returns the task's loss before the step."""
        with torch.no_grad():  # probabilities have a step of their own
            drawn = self.relaxation.path(chance.temperature, chance.generator)
        loss = self._loss(batch, drawn, chance, self.recipe.label_smoothing)
        return training_step(self.supernet, self.of_weights, [loss], self.recipe.clip_norm)

    def arch_step(self, batch: Batch, chance: Chance) -> float:
        """Steps the probabilities; returns the task's loss before the step, without the penalty."""
        drawn = self._drawn(chance)
        loss = self._loss(batch, drawn, chance)
        # No logit has a gradient where every choice has one option left.
        (gradient_L,) = torch.autograd.grad(
            self._penalised(loss, drawn), [self.relaxation.logits], allow_unused=True, materialize_grads=True
        )
        self._step_along(gradient_L, drawn)
        return float(loss.detach())

    def unrolled_step(self, batch: Batch, chance: Chance, weights_batch: Batch) -> float:
        """Steps the probabilities by the loss after a step of the weights: second-order DARTS (section 2.3, equations 7, 8).

        The step of the weights follows the plain gradient, not clipped, at the present rate. All passes draw the same
        options. Returns the task's loss at the stepped weights, without the penalty.
        """
        weights = [weight for weight in self.supernet.parameters() if weight.requires_grad]
        logits, start = self.relaxation.logits, chance.generator.get_state()
        rate = self.of_weights.param_groups[0]["lr"]
        smoothing = self.recipe.label_smoothing
        gradients = torch.autograd.grad(
            self._loss(weights_batch, self._drawn(chance), chance, smoothing), weights, allow_unused=True
        )
        _shift(weights, gradients, -rate)
        chance.generator.set_state(start)
        drawn = self._drawn(chance)
        loss = self._loss(batch, drawn, chance)
        gradient_L, *directions = torch.autograd.grad(
            self._penalised(loss, drawn), [logits, *weights], allow_unused=True, materialize_grads=True
        )
        _shift(weights, gradients, rate)
        length = torch.stack([direction.norm() for direction in directions]).norm()
        step = DIFFERENCE / float(length.clamp_min(1e-12))
        sides = []
        for sign in (1, -1):
            _shift(weights, directions, sign * step)
            chance.generator.set_state(start)
            side = self._loss(weights_batch, self._drawn(chance), chance, smoothing)
            sides.append(torch.autograd.grad(side, [logits], allow_unused=True, materialize_grads=True)[0])
            _shift(weights, directions, -sign * step)
        self._step_along(gradient_L - rate * (sides[0] - sides[1]) / (2 * step), drawn)
        return float(loss.detach())

    def _drawn(self, chance: Chance) -> dict[str, Drawn]:
        return self.relaxation.draw(chance.temperature, chance.generator)

    def _loss(self, batch: Batch, drawn: Mapping[str, Drawn], chance: Chance, smoothing: float = 0.0) -> Tensor:
        x, labels = batch
        with self._precision(x):
            outputs = self.supernet(x, drawn, chance.partial)
        return self.task.loss(outputs.float() if self.mixed_precision else outputs, labels, smoothing=smoothing)

    def _precision(self, x: Tensor) -> AbstractContextManager[Any]:
        return torch.autocast(x.device.type, torch.bfloat16) if self.mixed_precision else nullcontext()

    def _penalised(self, loss: Tensor, drawn: Mapping[str, Drawn]) -> Tensor:
        """Returns the loss that Adam minimises: with the penalty, unless that has a step of its own."""
        if self.penalty.separate:
            return loss
        pairs = self.relaxation.sampler.pairs
        ratio_K = self._ratios(self.relaxation.pair_probabilities(drawn)) if pairs else self.ratios()
        return self.penalty.apply(loss, ratio_K, self.multiplier_K, self.penalty.weight)

    def _step_along(self, gradient_L: Tensor, drawn: Mapping[str, Drawn]) -> None:
        """Steps the probabilities along a gradient, then down a separate penalty, then the multipliers along the ratios."""
        logits, movable_L = self.relaxation.logits, self.relaxation.movable(drawn)
        before_L, most = logits.detach().clone(), PACE * self.of_arch.param_groups[0]["lr"]
        logits.grad = (gradient_L + self._regularisation()) * movable_L
        self.of_arch.step()
        if self.penalty.separate and self.constraints:
            ratio_K = self.ratios()
            slope_KL = torch.stack([self._slope(ratio.log()) for ratio in ratio_K]) * movable_L
            step_L = descent(slope_KL, ratio_K.detach(), self.multiplier_K, self.penalty.weight, most)
            self.relaxation.lean(step_L)
        if self.relaxation.sampler.pairs:
            self.relaxation.rescale(drawn, before_L)
        with torch.no_grad():
            self.multiplier_K.copy_(updated(self.multiplier_K, self.ratios(), most))

    def _regularisation(self) -> Tensor:
        """Returns the gradient of the regulariser: of half the squares of what the task has added, or of the divergence."""
        weight = self.relaxation.sampler.training.decay
        if self.divergence:
            return weight * self._slope(self.relaxation.divergence())
        return weight * (self.relaxation.logits.detach() - self.relaxation.tilt)

    def _slope(self, value: Tensor) -> Tensor:
        """Returns the gradient of a number in the logits; 0 where it does not depend on them."""
        logits = self.relaxation.logits
        if not value.requires_grad:
            return torch.zeros_like(logits)
        slopes = torch.autograd.grad(value, [logits], retain_graph=True, allow_unused=True, materialize_grads=True)
        return slopes[0]


@torch.no_grad()
def _shift(weights: Sequence[Tensor], directions: Sequence[Tensor | None], by: float) -> None:
    for weight, direction in zip(weights, directions, strict=True):
        if direction is not None:
            weight.add_(direction, alpha=by)
