"""Whether a space's operators can be mixed, or run on a part of their channels: what shapes cannot tell, two runs do."""

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

# Of outputs, relative to the largest: sums in another order differ by less.
TOLERANCE: Final = 1e-3


@torch.no_grad()
def require_mixable(supernet: Supernet, x: Tensor, archs: Sequence[Arch]) -> None:
    """Compares, layer by layer, architectures with mixtures that are as good as them. Input (N, *space.input_shape).

    Raises SpaceError where a layer's operators cannot be mixed, or do not nest though their family says so.
    """
    training = supernet.training
    supernet.eval()
    for arch in archs:
        supernet.space.wiring.run(x, _Compared(supernet, arch))
    supernet.train(training)


def require_partial(space: SearchSpace, partial: int) -> None:
    """Raises SpaceError where no edge of a cell can run on one in `partial` of its channels."""
    graphs = [unit for unit in units(space.wiring.parts) if isinstance(unit, Graph)]
    cells = [layer.cells(space.by_name) for graph in graphs for layer in graph.layers()]
    if not any(partly((operator for _, operator in each), partial) for each in cells):
        raise SpaceError(
            f"{space.name} has no cell whose operators could be given one in {partial} channels: they must keep the shape of "
            f"images whose channels are a multiple of {partial}; leave --partial-channels out"
        )


@final
@dataclass(frozen=True, slots=True)
class _Compared(Flow[Tensor]):
    """The flow of tensors through one architecture, each layer compared with the mixture of it alone."""

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
