"""The operator of a part of a traced network."""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar, final

from hwnas.core.operator import Operator, OperatorCost, Shape
from hwnas.elastic.program import Kernels, Program, Units
from hwnas.elastic.rules import argument, sizes_of
from hwnas.modules.build import build
from hwnas.modules.counting import Counts, counts


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Traced(Operator):
    """A part of a traced network at chosen sizes. A module of this operator has the weights that the network was traced with.

    `units` are the sizes of the program's elastic atoms, and `kernels` those of its elastic kernels, in the program's order.
    """

    kind: ClassVar[str] = "traced"
    module: ClassVar[str] = "hwnas.elastic.modules:TracedModule"

    program: Program
    units: tuple[int, ...] = ()
    kernels: tuple[int, ...] = ()

    @property
    def sizes(self) -> Units:
        """The size of each elastic atom."""
        return dict(zip(self.program.atoms, self.units, strict=True))

    @property
    def smaller_kernels(self) -> Kernels:
        """The sizes of kernels that are smaller than the traced ones."""
        chosen = zip(self.program.kernels, self.kernels, strict=True)
        return {node: size for node, size in chosen if size != sizes_of(argument(node, "weight"))[-1]}

    @property
    def output_shape(self) -> Shape:
        return self.program.output_shape(self.sizes)

    def cost(self) -> OperatorCost:
        cost = self.program.cost(self.sizes, self.smaller_kernels)
        return cost if self.program.knows_flops else replace(cost, flops=_counted(self).cost.flops)

    def peak_bytes(self) -> int:
        """Returns the most bytes alive at once, from a run of the module."""
        return _counted(self).peak_bytes

    @property
    def vocabulary(self) -> int | None:
        return self.program.vocabulary

    @property
    def is_quantisable(self) -> bool:
        return self.program.is_quantisable

    @property
    def is_trained(self) -> bool:
        return True

    @property
    def is_nested(self) -> bool:
        return not self.program.normed

    @property
    def family(self) -> str:
        return self.program.name


@lru_cache(maxsize=10_000)
def _counted(operator: Traced) -> Counts:
    """Returns what the operator's module does in one run."""
    return counts(build(operator), operator.input_shape, operator.vocabulary)
