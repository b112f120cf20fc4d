"""Final training: the front's networks are trained further before they are handed out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import final

import torch

from hwnas.core.reporter import Reporter
from hwnas.core.space import SearchSpace
from hwnas.data.dataset import Dataset
from hwnas.errors import DivergedError
from hwnas.evaluate.network_evaluator import NetworkEvaluator
from hwnas.evaluate.networks import StagedNetworks
from hwnas.evaluate.sources import AloneSource, UntrainedSource
from hwnas.evaluate.split import SplitScore
from hwnas.evaluate.stages import Recalibrate, Tune
from hwnas.evaluate.training import NetworkTraining
from hwnas.pipeline.options import FinalRequest
from hwnas.pipeline.trained_on import record_training
from hwnas.runs.database import FINAL, Evaluation, RunDatabase
from hwnas.runs.folder import RunFolder
from hwnas.tasks.task import Task
from hwnas.train.recipes import Recipe
from hwnas.train.teacher import Teacher
from hwnas.train.weights import save_weights


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class FinalTraining:
    """Trains networks further, one by one; each is kept in the run folder and its validation metrics in the database.

    `networks` gives the network of an evaluation with the weights of the search, `teacher` outputs to imitate.
    """

    run: RunFolder
    space: SearchSpace
    data: Dataset
    task: Task
    request: FinalRequest
    recipe: Recipe
    networks: Callable[[Evaluation], StagedNetworks]
    teacher: Teacher | None
    database: RunDatabase
    validation: SplitScore
    recalibrate: Recalibrate
    device: torch.device
    seed: int
    reporter: Reporter

    def finished(self, evaluations: Sequence[Evaluation]) -> list[Evaluation]:
        """Returns the evaluations after final training, also of networks that look worse after it on the validation split.

        Networks were chosen because their loss on this very split is low: the weights of the search look better there than they
        are. A network that diverges keeps them.
        """
        if self.request.final == "none":
            return list(evaluations)
        self.run.final.mkdir(exist_ok=True)
        known = self.database.evaluations(FINAL)
        if any(evaluation.arch.id not in known for evaluation in evaluations):
            record_training(self.run, self.device, self.reporter)
        for number, evaluation in enumerate(evaluations, start=1):
            if evaluation.arch.id not in known:
                after = self._trained(evaluation, f"final training {number} of {len(evaluations)},")
                self.database.add_evaluations(FINAL, [after])
                self.run.final_checkpoint(after.arch.id).unlink(missing_ok=True)
                known[after.arch.id] = after
        return [known[evaluation.arch.id] for evaluation in evaluations]

    def _trained(self, before: Evaluation, words: str) -> Evaluation:
        arch = before.arch
        networks, stages = self._networks(before, words)
        try:
            module, metrics = NetworkEvaluator(networks, self.validation).converged(arch)
        except DivergedError:
            self.reporter.note(f"network {arch.id} diverges in final training, and keeps the weights of the search")
            return before
        facts = {"hwnas.space": self.space.fingerprint, "hwnas.arch": arch.key}
        save_weights(module, self.run.final_weights(arch.id), facts)
        return Evaluation(arch, stages, dict(metrics))

    def _networks(self, before: Evaluation, words: str) -> tuple[StagedNetworks, tuple[str, ...]]:
        """Returns the trained networks, and the stages that make them from nothing."""
        training = NetworkTraining(
            data=self.data,
            task=self.task,
            recipe=replace(self.recipe, distillation=0.0) if self.teacher is None else self.recipe,
            seed=self.seed,
            device=self.device,
            folder=self.run.final,
            epochs=self.request.final_epochs,
            teacher=self.teacher,
            reporter=self.reporter,
            words=words,
        )
        if self.request.final == "scratch":
            alone = AloneSource(UntrainedSource(self.space, self.seed), training, name="scratch")
            networks = StagedNetworks(alone, (self.recalibrate,))
            return networks, networks.stages
        steps = (Tune(training, name="finetune"), self.recalibrate)
        return self.networks(before).then(*steps), (*before.stages, *(step.name for step in steps))
