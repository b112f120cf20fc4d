"""A source of weights and its stages, joined."""

from dataclasses import dataclass
from typing import final

from torch import nn

from hwnas.core.arch import Arch
from hwnas.evaluate.evaluator import Source, Stage


@final
@dataclass(frozen=True, slots=True, eq=False)
class StagedNetworks:
    """The networks of a source, each passed through every step in order."""

    source: Source
    steps: tuple[Stage, ...] = ()

    @property
    def stages(self) -> tuple[str, ...]:
        """The names of the source and of every step, in order."""
        return (self.source.name, *(step.name for step in self.steps))

    def then(self, *steps: Stage) -> "StagedNetworks":
        """Returns the same networks, passed through further steps."""
        return StagedNetworks(self.source, (*self.steps, *steps))

    def network(self, arch: Arch) -> nn.Module:
        """Returns the plain network in eval mode, a copy that the caller may change."""
        module = self.source.network(arch)
        for step in self.steps:
            module = step(module, arch)
        return module.eval()
