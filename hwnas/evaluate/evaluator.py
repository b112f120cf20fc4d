"""The evaluator seam: architectures to metrics, in batches. Knows no source of weights by name."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from hwnas.core.arch import Arch

if TYPE_CHECKING:
    from torch import nn


class Source(Protocol):
    """A source of weights: a supernet, a folder of trained networks, training alone, nothing (untrained)."""

    @property
    def name(self) -> str:
        """The name that evaluations are stored under, such as `supernet`."""
        ...

    def network(self, arch: Arch) -> "nn.Module":
        """Returns the plain network of an architecture with its weights; the caller may change it."""
        ...


class Stage(Protocol):
    """A step between a source and the score: recalibrate, tune, quantise."""

    @property
    def name(self) -> str: ...

    def __call__(self, module: "nn.Module", arch: Arch) -> "nn.Module":
        """Returns the network after this stage; it may be the same object, changed."""
        ...


class Networks(Protocol):
    """Where finished networks come from: a source followed by its stages."""

    @property
    def stages(self) -> tuple[str, ...]:
        """The names of the source and of every stage, in order; evaluations are stored under them."""
        ...

    def network(self, arch: Arch) -> "nn.Module":
        """Returns the plain network in eval mode, through all stages; a copy that the caller may keep."""
        ...


class Evaluator(Protocol):
    """Architectures to the metrics of a task on the validation split."""

    @property
    def stages(self) -> tuple[str, ...]: ...

    def evaluate(self, archs: Sequence[Arch]) -> list[Mapping[str, float]]:
        """Returns the metrics of each architecture, by name, in the order given."""
        ...
