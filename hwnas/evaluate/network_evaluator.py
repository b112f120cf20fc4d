"""The evaluator of networks: every architecture's network is made, run on a split, and scored."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from torch import nn

from hwnas.core.arch import Arch
from hwnas.errors import DivergedError
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
        return (self._scored(arch)[1] for arch in archs)

    def converged(self, arch: Arch) -> tuple[nn.Module, Mapping[str, float]]:
        """Returns the network, on the split's device, and its metrics by name.

        Raises DivergedError where the network's training diverges: a loss of the training, or the first metric after it, is not
        a finite number.
        """
        module, metrics = self._scored(arch)
        first = self.split_score.task.metrics[0].name
        if not np.isfinite(metrics[first]):
            raise DivergedError(f"network {arch.id} has {first} {metrics[first]}; give a lower --learning-rate")
        return module, metrics

    def _scored(self, arch: Arch) -> tuple[nn.Module, Mapping[str, float]]:
        module = self.networks.network(arch).to(self.split_score.device)
        return module, self.split_score.score(module)
