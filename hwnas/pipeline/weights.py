"""The weights of a run: its supernet, networks that a strategy trained, and networks after final training."""

from functools import cached_property
from typing import Final, final

import torch

from hwnas.core.reporter import Reporter
from hwnas.errors import RunError
from hwnas.evaluate.evaluator import Evaluator
from hwnas.evaluate.network_evaluator import NetworkEvaluator
from hwnas.evaluate.networks import StagedNetworks
from hwnas.evaluate.sources import FolderSource, SupernetSource
from hwnas.evaluate.split import SplitScore
from hwnas.evaluate.stages import Recalibrate
from hwnas.pipeline.checked import CheckedRequest
from hwnas.pipeline.supernet import trained_supernet
from hwnas.runs.database import Evaluation
from hwnas.runs.folder import RunFolder
from hwnas.supernet.network import Supernet
from hwnas.train.devices import training_device

# The stages of final training: what follows is in the run's folder.
FINALS: Final = frozenset({"finetune", "scratch"})


@final
class RunWeights:
    """Gives the networks of an evaluation by the stages that made it; loads only what is asked for.

    Only where it `trains` is a supernet that is missing trained.
    """

    def __init__(self, run: RunFolder, checked: CheckedRequest, reporter: Reporter, *, trains: bool = False) -> None:
        self._trains = trains
        self._run = run
        self._checked = checked
        self._reporter = reporter

    @cached_property
    def device(self) -> torch.device:
        """The device that networks are trained and evaluated on."""
        return training_device(self._checked.request.training.train_on)

    @cached_property
    def supernet(self) -> Supernet:
        """The run's supernet. Raises RunError where it is missing and not to be trained."""
        checked = self._checked
        if not self._trains and not self._run.supernet.exists():
            raise RunError(f"{self._run.supernet}: is missing; restore it, or search again under another --out")
        request = checked.request
        return trained_supernet(
            self._run, checked.space, request.training, checked.data, checked.task, request.seed, self._reporter
        )

    @cached_property
    def recalibrate(self) -> Recalibrate:
        return Recalibrate(self._checked.data, self.device)

    @cached_property
    def validation(self) -> SplitScore:
        return SplitScore(self._checked.data, self._checked.task, self.device)

    @cached_property
    def evaluator(self) -> Evaluator:
        """Judges networks of the supernet."""
        return NetworkEvaluator(self.networks_of("supernet"), self.validation)

    def networks(self, evaluation: Evaluation) -> StagedNetworks:
        """Returns where the network of an evaluation comes from."""
        if FINALS & set(evaluation.stages):
            return self.networks_of("final")
        return self.networks_of("own" if self._run.weights(evaluation.arch.id).exists() else "supernet")

    def networks_of(self, source: str) -> StagedNetworks:
        """Returns the networks of the `supernet`, of a strategy's `own` weights, or after `final` training."""
        if source == "supernet":
            return StagedNetworks(SupernetSource(self.supernet), (self.recalibrate,))
        path_of = self._run.final_weights if source == "final" else self._run.weights
        folder = FolderSource(self._checked.space, lambda arch: path_of(arch.id))
        return StagedNetworks(folder, (self.recalibrate,))
