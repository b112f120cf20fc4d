"""One search of weights and probabilities for the limits of a problem: warm-up, search, and the network derived within them.

What is trained is kept in the workshop's folder, by epoch, so a search that is run again goes on from there; a search that
was finished is derived from again, under other limits.
"""

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from hashlib import blake2s
from pathlib import Path
from typing import Final, final

import numpy as np
import torch

from hwnas.core.files import replace_file
from hwnas.data.dataset import Dataset
from hwnas.errors import HwnasError
from hwnas.evaluate.network_evaluator import NetworkEvaluator
from hwnas.evaluate.networks import StagedNetworks
from hwnas.evaluate.sources import FolderSource
from hwnas.evaluate.split import SplitScore
from hwnas.evaluate.stages import Recalibrate
from hwnas.strategies.gradient.constraint import Constraint
from hwnas.strategies.gradient.relaxation import Relaxation
from hwnas.strategies.gradient.schedule import Schedule
from hwnas.strategies.gradient.search import GradientSearch
from hwnas.strategies.gradient.selected import MIXING, selected
from hwnas.strategies.gradient.strategy import GradientSearchStrategy
from hwnas.strategies.problem import Problem
from hwnas.strategies.workshop import Training, Workshop
from hwnas.supernet.check import require_mixable, require_partial
from hwnas.supernet.network import Supernet
from hwnas.train.weights import save_weights

# Architectures, besides the smallest, that a mixture is compared with before it is trained.
CHECKED: Final = 3
WARMED: Final = "warmup.pt"


def require_mixtures(
    options: GradientSearchStrategy, supernet: Supernet, relaxation: Relaxation, data: Dataset, seed: int
) -> None:
    """Raises SpaceError before anything is trained, unless neither sampler nor selector runs two options at once.

    On the CPU: a GPU by default rounds what it convolves to ten bits, about as much as is tolerated here.
    """
    space = supernet.space
    if options.partial_channels > 1:
        require_partial(space, options.partial_channels)
    drawn = relaxation.draw(1.0, torch.Generator().manual_seed(seed))
    if max(len(draw.options) for draw in drawn.values()) > 1 or options.selector in MIXING:
        rng = np.random.default_rng(seed)
        archs = [space.smallest(), *(space.sample(rng) for _ in range(CHECKED))]
        require_mixable(supernet, data.inputs(data.train.raw[:2]), archs)


@final
@dataclass(frozen=True)
class Derivation:
    """A gradient search under the limits that were asked for, and a network within the limits of the problem."""

    options: GradientSearchStrategy
    problem: Problem
    workshop: Workshop

    def evaluate(self) -> None:
        """Evaluates the derived network, with its weights of the search. Raises BudgetError, TrainingError, SpaceError."""
        if not (self._folder / WARMED).exists():
            require_mixtures(self.options, *self._untrained(), self._training.data, self.workshop.seed)
        search = self._search()
        search.warm_up(self._folder / WARMED)
        search = self._searched(self._search())
        arch = selected(
            self.options,
            self.problem,
            self._training,
            self._validation,
            search.supernet,
            search.relaxation,
            self.workshop.seed,
        )
        path = self.workshop.weights(arch.id)
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            facts = {"hwnas.space": self.problem.space.fingerprint, "hwnas.arch": arch.key}
            save_weights(search.supernet.uncalibrated(arch), path, facts)
        self.problem.evaluate(self.problem.space.encode([arch]), self._evaluator)

    @cached_property
    def _training(self) -> Training:
        if self.workshop.training is None:
            raise HwnasError("gradient search trains weights: give its workshop a Training")
        return self.workshop.training

    @cached_property
    def _folder(self) -> Path:
        if self.workshop.folder is None:
            raise HwnasError("gradient search keeps checkpoints: give its workshop a folder")
        return self.workshop.folder

    @cached_property
    def _validation(self) -> SplitScore:
        return SplitScore(self._training.data, self._training.task, self._training.device)

    @cached_property
    def _evaluator(self) -> NetworkEvaluator:
        source = FolderSource(self.problem.space, lambda arch: self.workshop.weights(arch.id))
        recalibrate = Recalibrate(self._training.data, self._training.device)
        return NetworkEvaluator(StagedNetworks(source, (recalibrate,)), self._validation)

    @cached_property
    def _constraints(self) -> list[Constraint]:
        """The limits that are sums, as they were asked for; the others only limit what is derived."""
        return [constraint for limit in self.problem.asked if (constraint := Constraint.of(limit, self.problem.space))]

    def _untrained(self) -> tuple[Supernet, Relaxation]:
        """The same whatever they are trained on, therefore made on the CPU."""
        sampler, *_ = self.options.parts()
        generator = torch.Generator().manual_seed(self.workshop.seed)
        return self._training.new_supernet(), Relaxation(self.problem.space, sampler, generator)

    def _search(self) -> GradientSearch:
        options, training, (supernet, relaxation) = self.options, self._training, self._untrained()
        _, penalty, _ = options.parts()
        if options.partial_channels > 1 and training.recipe.epochs < 2:
            raise HwnasError("--partial-channels needs 2 --epochs or more: in the second half all channels are trained")
        schedule = Schedule(
            warmup_epochs=options.warmup_epochs,
            phases=options.phases(),
            unrolled=options.unrolled,
            divergence=options.regulariser == "kl",
            mixed_precision=options.mixed_precision,
        )
        return GradientSearch(
            supernet=supernet.to(training.device),
            relaxation=relaxation.to(training.device),
            data=training.data,
            task=training.task,
            recipe=training.recipe,
            schedule=schedule,
            penalty=penalty,
            constraints=self._constraints,
            seed=self.workshop.seed,
            reporter=self.workshop.reporter,
        )

    def _searched(self, search: GradientSearch) -> GradientSearch:
        checkpoint, warmed = self._folder / f"{self._name}.pt", self._folder / WARMED
        if not checkpoint.exists() and warmed.exists():
            replace_file(checkpoint, warmed.read_bytes())
        self.workshop.reporter.note(f"searching for {self._words}")
        history = search.run(checkpoint)
        facts = {
            "label": self._words,
            "constraints": [constraint.name for constraint in search.constraints],
            "epochs": [asdict(epoch) for epoch in history],
        }
        replace_file(self._folder / f"{self._name}.json", json.dumps(facts))
        return search

    @property
    def _words(self) -> str:
        """The limits that were asked for, in words."""
        words = [f"{limit.cost.name} <= {limit.bound:.4g} {limit.cost.unit}".rstrip() for limit in self.problem.asked]
        return ", ".join(words) or "no limit"

    @property
    def _name(self) -> str:
        """The name of the files of this search: one for each set of limits."""
        limits = [(limit.cost.name, limit.bound) for limit in self.problem.asked]
        return blake2s(json.dumps(limits).encode(), digest_size=6).hexdigest()
