"""The evaluator of networks: every architecture's network is made, run on a split, and scored."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import final

from hwnas.core.arch import Arch
from hwnas.evaluate.evaluator import Networks
from hwnas.evaluate.split import SplitScore


@final
@dataclass(frozen=True, slots=True, eq=False)
class NetworkEvaluator:
    """Scores the networks of architectures on a split."""

    networks: Networks
    split_score: SplitScore

    @property
    def stages(self) -> tuple[str, ...]:
        """The names of the networks' source and stages."""
        return self.networks.stages

    def evaluate(self, archs: Sequence[Arch]) -> Iterator[Mapping[str, float]]:
        """Yields the metrics of each architecture by name, in the order of `archs`, each as soon as it is known."""
        return map(self._metrics, archs)

    def _metrics(self, arch: Arch) -> Mapping[str, float]:
        return self.split_score.score(self.networks.network(arch).to(self.split_score.device))
