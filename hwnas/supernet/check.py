"""Checks that the operators of a space can be mixed, or run on a part of their channels, by comparing outputs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

import torch
from torch import Tensor

from hwnas.core.arch import Arch
from hwnas.core.layer import Layer
from hwnas.core.space import SearchSpace
from hwnas.core.wiring import Flow, Graph, units
from hwnas.errors import SpaceError
from hwnas.modules.assemble import sum_of
from hwnas.supernet.mixture import fitted, partly
from hwnas.supernet.network import Supernet

# Largest difference of outputs relative to the largest output; sums in another order differ by less.
TOLERANCE: Final = 1e-3


@torch.no_grad()
def require_mixable(supernet: Supernet, x: Tensor, archs: Sequence[Arch]) -> None:
    """Compares architectures with mixtures of probability 1, layer by layer. Input (N, *space.input_shape).

    Raises SpaceError where the operators of a layer cannot be mixed, or share a family but do not nest.
    """
    training = supernet.training
    supernet.eval()
    for arch in archs:
        supernet.space.wiring.run(x, _Compared(supernet, arch))
    supernet.train(training)


def require_partial(space: SearchSpace, partial: int) -> None:
    """Raises SpaceError where no edge of a cell can run on 1 / `partial` of its channels."""
    graphs = [unit for unit in units(space.wiring.parts) if isinstance(unit, Graph)]
    cells = [layer.cells(space.by_name) for graph in graphs for layer in graph.layers()]
    if not any(partly((operator for _, operator in table), partial) for table in cells):
        raise SpaceError(
            f"{space.name} has no cell whose operators can run on 1/{partial} of their channels: operators must keep the "
            f"shape of images or series, with a multiple of {partial} channels; leave --partial-channels out"
        )


@final
@dataclass(frozen=True, slots=True)
class _Compared(Flow[Tensor]):
    """The flow of tensors through one architecture; every layer is compared with the mixture that has only its operator."""

    supernet: Supernet
    arch: Arch

    def layer(self, layer: Layer, value: Tensor) -> Tensor | None:
        operator = layer.operator(self.arch)
        space = self.supernet.space
        (row_C,) = space.encode([self.arch])
        certain = {
            choice.name: torch.eye(len(choice.options), device=value.device)[int(row_C[space.columns[choice.name]])]
            for choice in space.choices
        }
        mixture, weights_K = self.supernet.mixture(layer, self.supernet.drawn(certain))
        if operator is None:
            return None
        output: Tensor = self.supernet.elastic(layer)(value, operator)
        mixed = mixture(value, weights_K, passing=False)
        assert mixed is not None
        difference = float((fitted(mixed, operator.output_shape) - output).abs().max())
        if difference > TOLERANCE * float(output.abs().max()) + 1e-6:
            raise SpaceError(
                f"layer {layer.name!r}: {operator.key} is no slice of the larger operators of its family "
                f"{operator.family!r}; give it a family of its own, or make the place entangled=False"
            )
        return output

    def total(self, graph: str, source: Tensor, terms: Sequence[Tensor]) -> Tensor:
        return sum_of(source, terms)
