"""The evaluator seam: architectures to metrics, in batches. Knows no source of weights by name.

A `Source` gives a network with weights, each `Stage` changes it, and an `Evaluator` scores it. Sources and stages are
functions of the architecture: the same one always gives the same network, whatever was evaluated before.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from hwnas.core.arch import Arch

if TYPE_CHECKING:
    from torch import nn


class Source(Protocol):
    """A source of weights: a supernet, a folder of trained networks, training alone, random initialisation."""

    @property
    def name(self) -> str:
        """The name that evaluations are stored under, such as `supernet`."""
        ...

    def network(self, arch: Arch) -> "nn.Module":
        """Returns the plain network of an architecture with its weights; a copy that the caller may change."""
        ...


class Stage(Protocol):
    """A step between a source and the score: recalibrate, tune, quantise."""

    @property
    def name(self) -> str:
        """The name that evaluations are stored under, such as `recalibrate`."""
        ...

    def __call__(self, module: "nn.Module", arch: Arch) -> "nn.Module":
        """Returns the network after this stage in eval mode; it may be the same object, changed."""
        ...


class Networks(Protocol):
    """The networks of a source after its stages. `hwnas.testing.evaluators.NetworksSuite` tests its laws."""

    @property
    def stages(self) -> tuple[str, ...]:
        """The names of the source and of every stage, in order; evaluations are stored under them."""
        ...

    def network(self, arch: Arch) -> "nn.Module":
        """Returns the plain network in eval mode, through all stages; a copy that the caller may change."""
        ...


class Evaluator(Protocol):
    """Maps architectures to metrics on the validation split. `hwnas.testing.evaluators.EvaluatorSuite` tests its laws."""

    @property
    def stages(self) -> tuple[str, ...]:
        """The names of the source and of every stage, in order; evaluations are stored under them."""
        ...

    def evaluate(self, archs: Sequence[Arch]) -> Iterable[Mapping[str, float]]:
        """Gives the metrics of each architecture by name, in the order of `archs`, each as soon as it is known.

        The metrics of an architecture do not depend on the others, nor on what was evaluated before.
        """
        ...
