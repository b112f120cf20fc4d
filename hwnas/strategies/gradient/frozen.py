"""Gradient search on frozen weights: the run's supernet is trained first, by its own recipe, and from then on only run.

Only the task teaches the probabilities, so all budgets share them, and another budget costs another derivation. Their
batches come from the validation split, by which networks are compared, too: the training examples have taught the weights,
so a loss on them would say how well an option fits them.

Shapes: N architectures, C choices.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2s
from pathlib import Path
from typing import Final, final

import numpy as np
import torch

from hwnas.core.arrays import FloatArray, IntArray
from hwnas.data.streamed import ahead
from hwnas.errors import HwnasError, SpaceError, TrainingError
from hwnas.evaluate.split import SplitScore
from hwnas.strategies.gradient.derivation import require_mixtures
from hwnas.strategies.gradient.relaxation import Relaxation
from hwnas.strategies.gradient.search import REACH
from hwnas.strategies.gradient.selected import selected
from hwnas.strategies.gradient.strategy import AUTO, GradientSearchStrategy
from hwnas.strategies.problem import Problem
from hwnas.strategies.workshop import Training, Workshop
from hwnas.supernet.network import Supernet
from hwnas.train.checkpoint import restored, save_checkpoint
from hwnas.train.devices import placed
from hwnas.train.epochs import torch_seed
from hwnas.train.step import Batch, has_batch_norm, shuffled_batches

# Selectors that compare networks one by one, so that they need no probabilities.
WHOLE: Final = (AUTO, "factors", "evolution")


@final
@dataclass(frozen=True)
class FrozenDerivation:
    """A network within the limits of the problem, derived from probabilities that were learnt on the run's supernet."""

    options: GradientSearchStrategy
    problem: Problem
    workshop: Workshop

    def evaluate(self) -> None:
        """Evaluates the derived network, with the supernet's weights. Raises BudgetError, TrainingError, SpaceError."""
        problem, training, probed = self.problem, self._training, set[bytes]()
        first = next((metric for metric in problem.metrics if metric.name in problem.objectives), problem.metrics[0])

        def judge(rows_NC: IntArray) -> FloatArray:
            probed.update(row_C.tobytes() for row_C in rows_NC)
            metrics = (problem.probe or problem.evaluate)(rows_NC)
            return first.minimised(1.0) * np.asarray(metrics[first.name], dtype=np.float64)

        supernet, relaxation, seed = self._supernet(), self._relaxation(), self.workshop.seed
        learnt = relaxation.learns and self._mixable(relaxation)
        if learnt:
            self._learn(supernet, relaxation)
        validation = SplitScore(training.data, training.task, training.device)
        # Mixtures of a supernet with batch-norms hardly rank its networks, those of one without can (docs/searching.md).
        ranked = learnt and not has_batch_norm(supernet)
        arch = selected(
            self.options, problem, training, validation, supernet, relaxation, seed, judge=judge, ranked=ranked
        )
        row_1C = problem.space.encode([arch])
        if problem.probe is not None or row_1C.tobytes() not in probed:
            problem.evaluate(row_1C)

    @cached_property
    def _training(self) -> Training:
        if self.workshop.training is None or self.workshop.training.supernet is None:
            raise HwnasError(
                "gradient search on frozen weights runs a trained supernet: give its workshop a Training with one"
            )
        return self.workshop.training

    def _supernet(self) -> Supernet:
        """Returns a copy of the run's supernet: mixtures move running statistics, and `perturbation-tuned` moves weights."""
        training = self._training
        assert training.supernet is not None  # `_training` raises
        supernet = Supernet(self.problem.space).to(training.device)
        supernet.load_state_dict(training.supernet().state_dict())
        return supernet

    def _relaxation(self) -> Relaxation:
        sampler, *_ = self.options.parts()
        generator = torch.Generator().manual_seed(self.workshop.seed)
        return Relaxation(self.problem.space, sampler, generator).to(self._training.device)

    def _mixable(self, relaxation: Relaxation) -> bool:
        """Returns True if the sampler can run the space's operators together.

        Where the sampler cannot, returns False if neither sampler nor selector needs probabilities, and raises SpaceError
        otherwise.
        """
        if self._path.exists():
            return True
        try:
            supernet = self._training.new_supernet()
            require_mixtures(self.options, supernet, relaxation.cpu(), self._training.data, self.workshop.seed)
        except SpaceError as error:
            if self.options.sampler != AUTO or self.options.selector not in WHOLE:
                raise
            self.workshop.reporter.note(f"no probabilities are learnt: {error}")
            return False
        return True

    def _learn(self, supernet: Supernet, relaxation: Relaxation) -> None:
        """Takes the probabilities from the workshop's folder where they are there, else learns them and keeps them there."""
        relaxation.to(self._training.device)
        if not restored(self._path, {"relaxation": relaxation})["epoch"]:
            learn(supernet, relaxation, self._training, self.options.steps, self.workshop)
            save_checkpoint(self._path, 1, {"relaxation": relaxation})

    @property
    def _path(self) -> Path:
        """The file of the probabilities: one for each way to learn them."""
        if self.workshop.folder is None:
            raise HwnasError("gradient search keeps what it learnt: give its workshop a folder")
        way = json.dumps((self.options.usual_sampler, self.options.steps))
        return self.workshop.folder / f"frozen-{blake2s(way.encode(), digest_size=6).hexdigest()}.pt"


def learn(supernet: Supernet, relaxation: Relaxation, training: Training, steps: int, workshop: Workshop) -> None:
    """Trains the probabilities, in place, by Adam on the task's loss of the mixture; weights stay as they are.

    As in DARTS-PT, batch-norms are in train mode: running statistics of a supernet belong to no mixture. Without
    batch-norms the supernet is in eval mode, so dropout is off. Raises TrainingError for a loss that is not a number.
    """
    supernet.train(has_batch_norm(supernet))
    seed, draws = torch_seed(workshop.seed, 5), relaxation.sampler
    generator = torch.Generator(training.device).manual_seed(seed)
    torch.manual_seed(seed)  # dropout
    rate, decay = max(draws.training.rate, REACH / steps), draws.training.decay
    optimizer = torch.optim.Adam([relaxation.logits], rate, draws.training.betas, weight_decay=decay)
    batches = _validation_batches(training, workshop.seed)
    for step in workshop.reporter.track(range(steps), "learning probabilities"):
        x, labels = next(batches)
        drawn = relaxation.draw(draws.temperature(step / max(1, steps - 1)), generator)
        loss = training.task.loss(supernet(x, drawn), labels, smoothing=0.0)
        if not torch.isfinite(loss):
            raise TrainingError(f"the supernet's loss is {float(loss)}; train it again with a lower --learning-rate")
        (relaxation.logits.grad,) = torch.autograd.grad(loss, [relaxation.logits])
        optimizer.step()
    workshop.reporter.note(f"learnt probabilities in {steps} steps: entropy {relaxation.entropy():.2f}")


def _validation_batches(training: Training, seed: int) -> Iterator[Batch]:
    """Yields shuffled batches of the validation split, epoch after epoch."""
    data, rng = training.data, np.random.default_rng((seed, 5))
    while True:
        batches = list(shuffled_batches(np.arange(len(data.validation)), training.recipe, rng))
        ahead(data.validation.raw, batches)
        for indices in batches:
            x = placed(data.inputs(data.validation.raw[indices]), training.device)
            yield x, torch.from_numpy(data.validation.labels[indices]).to(training.device)
