"""The evaluator of strategies that train every network by itself. Loads torch."""

from dataclasses import dataclass, field
from typing import ClassVar, final

from torch import nn

from hwnas.core.arch import Arch
from hwnas.core.reporter import Reporter
from hwnas.core.space import SearchSpace
from hwnas.errors import HwnasError, TrainingError
from hwnas.evaluate.network_evaluator import NetworkEvaluator
from hwnas.evaluate.networks import StagedNetworks
from hwnas.evaluate.sources import AloneSource, UntrainedSource
from hwnas.evaluate.split import SplitScore
from hwnas.evaluate.stages import Recalibrate
from hwnas.evaluate.training import NetworkTraining
from hwnas.strategies.workshop import Workshop


def alone(space: SearchSpace, workshop: Workshop) -> NetworkEvaluator:
    """Returns the evaluator that trains each network from random weights, by the recipe that its choices name.

    A network whose training diverges is judged untrained, because a recipe that is searched may be one by which networks
    diverge. A network that was stopped goes on from its checkpoint in the workshop's folder. Raises HwnasError for a workshop
    without a folder or without a Training.
    """
    training, folder = workshop.training, workshop.folder
    if training is None or folder is None:
        raise HwnasError("networks are trained one by one: give the workshop a Training and a folder")
    trainer = NetworkTraining(
        data=training.data,
        task=training.task,
        recipe=training.recipe,
        seed=workshop.seed,
        device=training.device,
        folder=folder / "alone",
    )
    source = AloneOrUntrained(AloneSource(UntrainedSource(space, workshop.seed), trainer), workshop.reporter)
    networks = StagedNetworks(source, (Recalibrate(training.data, training.device),))
    return NetworkEvaluator(networks, SplitScore(training.data, training.task, training.device))


@final
@dataclass(frozen=True, slots=True, eq=False)
class AloneOrUntrained:
    """Trains every network by itself; gives the untrained network, and one note, where the loss stops being a number.

    `diverged` are the ids of networks that were noted.
    """

    name: ClassVar[str] = "alone"

    source: AloneSource
    reporter: Reporter
    diverged: set[str] = field(default_factory=set)

    def network(self, arch: Arch) -> nn.Module:
        """Returns the network in eval mode. Raises RunError for a damaged checkpoint."""
        try:
            return self.source.network(arch)
        except TrainingError:
            if arch.id not in self.diverged:
                self.diverged.add(arch.id)
                self.reporter.note(f"network {arch.id} diverges by its recipe, and is judged untrained")
            return self.source.untrained.network(arch)
