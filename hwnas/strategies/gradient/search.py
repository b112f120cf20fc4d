"""Gradient search: weights and probabilities are trained in turn, and expected costs are held to their bounds.

One part of the training examples teaches the weights, the other part the probabilities (DARTS, Liu et al. 2019, section
2.3). A warm-up trains the weights alone at the initial probabilities, so searches for several budgets can share it.

Every epoch's randomness comes from the seed and the epoch's number alone, so a search that was stopped after any epoch
resumes exactly.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Final, final

import numpy as np
import torch

from hwnas.core.arrays import IntArray
from hwnas.core.reporter import Reporter, record
from hwnas.data.dataset import Dataset
from hwnas.data.streamed import ahead
from hwnas.errors import TrainingError
from hwnas.strategies.gradient.constraint import Constraint
from hwnas.strategies.gradient.penalties import Penalty
from hwnas.strategies.gradient.relaxation import Relaxation
from hwnas.strategies.gradient.schedule import Progress, Schedule
from hwnas.strategies.gradient.steps import Chance, Steps
from hwnas.supernet.network import Supernet
from hwnas.tasks.task import Task
from hwnas.train.checkpoint import require_number, restored, save_checkpoint
from hwnas.train.epochs import torch_seed
from hwnas.train.recipes import Recipe
from hwnas.train.step import Batch, optimizer_of, set_rate, shuffled_batches, steps_of, training_batch

# The time in epochs, a batch for the weights, and a batch for the probabilities or None.
Step = tuple[float, Batch, Batch | None]
# The distance that Adam can move a logit in a search: TangleNAS's rate of 3e-4 times its about 20,000 steps.
REACH: Final = 6.0


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class GradientSearch:
    """The training of a supernet and its relaxation, both in place, under constraints.

    The recipe's epochs follow the warm-up's; its rate falls to zero over both.
    """

    supernet: Supernet
    relaxation: Relaxation
    data: Dataset
    task: Task
    recipe: Recipe
    schedule: Schedule
    penalty: Penalty
    constraints: Sequence[Constraint]
    seed: int
    reporter: Reporter

    def warm_up(self, checkpoint: Path) -> None:
        """Trains the weights alone, from the checkpoint where there is one. Raises TrainingError, RunError."""
        self._train(checkpoint, self.schedule.warmup_epochs, "warming up")

    def run(self, checkpoint: Path) -> list[Progress]:
        """Trains weights and probabilities to the last epoch; returns the record of every epoch after the warm-up.

        Starts from the checkpoint where there is one, also from a warm-up's. Raises TrainingError where a loss stops being a
        number; the checkpoint is then that of the last good epoch.
        """
        return self._train(checkpoint, self._whole.epochs, "searching")

    @property
    def _whole(self) -> Recipe:
        """The recipe with the epochs of warm-up and search."""
        return replace(self.recipe, epochs=self.schedule.warmup_epochs + self.recipe.epochs)

    def _train(self, checkpoint: Path, until: int, what: str) -> list[Progress]:
        self.schedule.require_age(self.recipe.epochs)
        of_weights, of_arch = self._halves()
        per_epoch = steps_of(len(of_weights), self.recipe)
        steps = self._steps(per_epoch)
        facts = restored(checkpoint, steps.parts())
        for group in steps.of_arch.param_groups:
            group["weight_decay"] = 0.0  # states of earlier versions have it; the regulariser is part of the gradient
        steps.multiplier_K.copy_(torch.as_tensor(facts.get("multipliers", [0.0] * len(self.constraints))))
        history = [Progress(**progress) for progress in facts.get("history", ())]
        epochs = range(facts["epoch"], until)
        ticks = iter(self.reporter.track(range(len(epochs) * per_epoch), what))
        for epoch in epochs:
            require = partial(require_number, epoch=epoch + 1, recipe=self.recipe, checkpoint=checkpoint)
            progress = self._epoch(epoch, steps, self._batches(epoch, of_weights, of_arch), ticks, require)
            require(float(self.relaxation.logits.detach().sum()))
            if epoch >= self.schedule.warmup_epochs:
                history.append(progress)
            facts = {"multipliers": progress.multipliers, "history": [asdict(record) for record in history]}
            save_checkpoint(checkpoint, epoch + 1, steps.parts(), **facts)
            self.reporter.note(self._words(progress))
            record(self.reporter, epoch + 1, progress.numbers())
        return history

    def _halves(self) -> tuple[IntArray, IntArray]:
        """Splits the training examples for weights and probabilities; all are for weights where the sampler trains no logits."""
        order = np.random.default_rng((self.seed, len(self.data.train))).permutation(len(self.data.train))
        if not self.relaxation.learns:
            return order, order[:0]
        share = self.schedule.weights_share or self.relaxation.sampler.training.weights_share
        cut = round(share * len(order))
        if not 1 < cut < len(order) - 1:
            raise TrainingError(f"{len(order)} training examples are too few to teach weights and probabilities apart")
        return order[:cut], order[cut:]

    def _steps(self, per_epoch: int) -> Steps:
        """Logits are trained as their sampler's paper does; the regulariser is part of their gradient."""
        logits, training = self.relaxation.logits, self.relaxation.sampler.training
        before, epochs = self.schedule.warmup_epochs, self.recipe.epochs
        learning = sum(not self.schedule.rests(before + epoch, epochs) for epoch in range(epochs))
        rate = self.schedule.arch_rate or max(training.rate, REACH * training.every / max(1, learning * per_epoch))
        return Steps(
            supernet=self.supernet,
            relaxation=self.relaxation,
            task=self.task,
            recipe=self.recipe,
            penalty=self.penalty,
            constraints=self.constraints,
            of_weights=optimizer_of(self.supernet, self.recipe),
            of_arch=torch.optim.Adam([logits], rate, training.betas),
            multiplier_K=torch.zeros(len(self.constraints), device=logits.device),
            divergence=self.schedule.divergence,
            mixed_precision=self.schedule.mixed_precision,
        )

    def _epoch(
        self,
        epoch: int,
        steps: Steps,
        batches: Iterator[Step],
        ticks: Iterator[int],
        require: Callable[[float], None],
    ) -> Progress:
        seed = torch_seed(self.seed, epoch, 1)
        torch.manual_seed(seed)  # dropout
        generator = torch.Generator(self.relaxation.logits.device).manual_seed(seed)
        starts, phase = self.schedule.phase(epoch, self.recipe.epochs)
        temperature = self.relaxation.sampler.temperature(self.schedule.share(epoch, self.recipe.epochs))
        chance = Chance(temperature, generator, phase.partial)
        self.relaxation.drop(phase.kept if starts else 1.0)
        self.supernet.train()
        weights_losses, arch_losses = [], []
        for at, of_weights, of_arch in batches:
            set_rate(steps.of_weights, at, self._whole)
            if of_arch is not None and self.schedule.unrolled:
                arch_losses.append(steps.unrolled_step(of_arch, chance, of_weights))
            elif of_arch is not None:
                arch_losses.append(steps.arch_step(of_arch, chance))
            require(arch_losses[-1] if arch_losses else 0.0)
            weights_losses.append(steps.weights_step(of_weights, chance))
            require(weights_losses[-1])
            next(ticks, None)
        return Progress(
            epoch=epoch + 1,
            weights_loss=float(np.mean(weights_losses)),
            arch_loss=float(np.mean(arch_losses)) if arch_losses else None,
            ratios=tuple(steps.ratios().tolist()),
            multipliers=tuple(steps.multiplier_K.tolist()),
            entropy=self.relaxation.entropy(),
        )

    def _batches(self, epoch: int, of_weights: IntArray, of_arch: IntArray) -> Iterator[Step]:
        """Yields batches for the weights; of them, once in the sampler's number of steps, one comes with a batch for the
        probabilities, unless these rest.
        """
        rng = np.random.default_rng((self.seed, epoch))
        searching = not self.schedule.rests(epoch, self.recipe.epochs) and len(of_arch) > 0
        others = cycle(list(shuffled_batches(of_arch, self.recipe, rng))) if searching else None
        of_epoch = list(shuffled_batches(of_weights, self.recipe, rng))
        every = self.relaxation.sampler.training.every
        due = [(epoch * len(of_epoch) + number + 1) % every == 0 for number in range(len(of_epoch))]
        pairs = [
            (indices, next(others) if others is not None and is_due else None)
            for indices, is_due in zip(of_epoch, due, strict=True)
        ]
        ahead(self.data.train.raw, [indices for pair in pairs for indices in pair if indices is not None])
        for number, (indices, other) in enumerate(pairs):
            batch = self._batch(indices, rng)
            yield epoch + number / len(of_epoch), batch, None if other is None else self._batch(other, rng)

    def _batch(self, indices: IntArray, rng: np.random.Generator) -> Batch:
        return training_batch(self.data, indices, rng, self.relaxation.logits.device)

    def _words(self, progress: Progress) -> str:
        if progress.epoch <= self.schedule.warmup_epochs:
            return f"epoch {progress.epoch}/{self._whole.epochs}: loss {progress.weights_loss:.3f} (weights alone)"
        costs = ", ".join(
            f"{constraint.name} {100 * ratio:.1f} % of its bound (multiplier {multiplier:.3g})"
            for constraint, ratio, multiplier in zip(
                self.constraints, progress.ratios, progress.multipliers, strict=True
            )
        )
        losses = [f"{loss:.3f}" for loss in (progress.weights_loss, progress.arch_loss) if loss is not None]
        return (
            f"epoch {progress.epoch}/{self._whole.epochs}: loss {' and '.join(losses)}, expected {costs or 'costs unbounded'}, "
            f"entropy {progress.entropy:.2f}"
        )
