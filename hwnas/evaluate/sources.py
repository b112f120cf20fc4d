"""Sources of weights: a supernet, a folder of networks, random initialisation, training alone."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, final

import torch
from torch import nn

from hwnas.core.arch import Arch
from hwnas.core.space import SearchSpace
from hwnas.evaluate.training import NetworkTraining
from hwnas.modules.assemble import network
from hwnas.supernet.network import Supernet
from hwnas.train.weights import load_weights


@final
@dataclass(frozen=True, slots=True, eq=False)
class SupernetSource:
    """Extracts networks from a supernet, on its device."""

    name: ClassVar[str] = "supernet"

    supernet: Supernet

    def network(self, arch: Arch) -> nn.Module:
        """Returns the plain network with a copy of the supernet's weights, in eval mode."""
        return self.supernet.uncalibrated(arch).eval()


@final
@dataclass(frozen=True, slots=True, eq=False)
class FolderSource:
    """Loads networks that were trained before, each from its own safetensors file.

    `advice` ends the message about a file that cannot be read with what to do.
    """

    name: ClassVar[str] = "networks"

    space: SearchSpace
    path_of: Callable[[Arch], Path]
    advice: str = "search again under another --out"

    def network(self, arch: Arch) -> nn.Module:
        """Returns the plain network on the CPU, in eval mode. Raises RunError for a file that is missing or damaged."""
        module = network(self.space, arch)
        load_weights(module, self.path_of(arch), self.advice)
        return module.eval()


@final
@dataclass(frozen=True, slots=True, eq=False)
class UntrainedSource:
    """Initialises networks at random; the seed and the architecture decide the weights."""

    name: ClassVar[str] = "untrained"

    space: SearchSpace
    seed: int

    def network(self, arch: Arch) -> nn.Module:
        """Returns the plain network on the CPU, in eval mode; torch's random state stays unchanged."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.seed)  # of the CPU alone
            return network(self.space, arch).eval()


@final
@dataclass(frozen=True, slots=True, eq=False)
class AloneSource:
    """Trains every network by itself from random initialisation, as it will be trained before it is deployed."""

    untrained: UntrainedSource
    training: NetworkTraining
    name: str = "alone"

    def network(self, arch: Arch) -> nn.Module:
        """Returns the trained network, in eval mode. Raises TrainingError, RunError."""
        return self.training.trained(self.untrained.network(arch), arch)
