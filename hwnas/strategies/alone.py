"""The evaluator of strategies that train every network by itself. Loads torch."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

from torch import nn

from hwnas.core.arch import Arch
from hwnas.core.reporter import Reporter
from hwnas.core.space import SearchSpace
from hwnas.errors import DivergedError, HwnasError
from hwnas.evaluate.network_evaluator import NetworkEvaluator
from hwnas.evaluate.networks import StagedNetworks
from hwnas.evaluate.sources import AloneSource, UntrainedSource
from hwnas.evaluate.split import SplitScore
from hwnas.evaluate.stages import Recalibrate
from hwnas.evaluate.training import NetworkTraining
from hwnas.strategies.workshop import Workshop


def alone(space: SearchSpace, workshop: Workshop) -> "AloneEvaluator":
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
    stages = (Recalibrate(training.data, training.device),)
    score = SplitScore(training.data, training.task, training.device)
    untrained = UntrainedSource(space, workshop.seed)
    return AloneEvaluator(
        trained=NetworkEvaluator(StagedNetworks(AloneSource(untrained, trainer), stages), score),
        untrained=NetworkEvaluator(StagedNetworks(untrained, stages), score),
        reporter=workshop.reporter,
    )


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AloneEvaluator:
    """Scores networks that are trained one by one, and the untrained network, with a note, where training diverges.

    `diverged` are the ids of the networks that were noted.
    """

    trained: NetworkEvaluator
    untrained: NetworkEvaluator
    reporter: Reporter
    diverged: set[str] = field(default_factory=set)

    @property
    def stages(self) -> tuple[str, ...]:
        """The names of the trained networks' source and stages."""
        return self.trained.stages

    @property
    def networks(self) -> "AloneEvaluator":
        """The networks that were scored."""
        return self

    def network(self, arch: Arch) -> nn.Module:
        """Returns the network that was scored, in eval mode. Raises RunError for a damaged checkpoint."""
        evaluator = self.untrained if arch.id in self.diverged else self.trained
        return evaluator.networks.network(arch)

    def evaluate(self, archs: Sequence[Arch]) -> Iterator[Mapping[str, float]]:
        """Yields the metrics of each architecture by name, in the order of `archs`, each as soon as it is known."""
        return map(self._metrics, archs)

    def _metrics(self, arch: Arch) -> Mapping[str, float]:
        try:
            _, metrics = self.trained.converged(arch)
        except DivergedError:
            self.diverged.add(arch.id)
            self.reporter.note(f"network {arch.id} diverges by its recipe, and is judged untrained")
            (metrics,) = self.untrained.evaluate([arch])
        return metrics
