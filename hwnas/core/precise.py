"""Precisions of single operators: an operator whose model file computes in 8 bits, with weights trained in float32."""

from dataclasses import dataclass
from typing import ClassVar, Final, final

from hwnas.core.operator import Operator, OperatorCost, Shape
from hwnas.core.references import imported

# The precisions of a part of a model file; what each means there is `profiler/precision.py`'s.
FLOAT32: Final = "fp32"
PRECISIONS: Final = (FLOAT32, "int8")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Precise(Operator):
    """An operator whose convolutions and matrix products are computed in another precision than float32, once exported.

    Shapes, costs and weights are those of `inner`: a supernet has one set of weights for all precisions. Its module is that
    of `inner` with a mark that exporting reads (`modules/precise.py`).
    """

    kind: ClassVar[str] = "precise"
    module: ClassVar[str] = "hwnas.modules.precise:marked"

    inner: Operator
    precision: str

    @property
    def output_shape(self) -> Shape:
        return self.inner.output_shape

    @property
    def positions(self) -> tuple[Shape, Shape]:
        return self.inner.positions

    def cost(self) -> OperatorCost:
        return self.inner.cost()

    @property
    def weight_bytes(self) -> int:
        """The bytes in a model file: a weight of a convolution or a matrix product takes one, any other number four."""
        count: int = imported("hwnas.modules.declared:weight_bytes")(self.inner, self.precision)
        return count

    def peak_bytes(self) -> int:
        return self.inner.peak_bytes()

    @property
    def vocabulary(self) -> int | None:
        return self.inner.vocabulary

    @property
    def is_trained(self) -> bool:
        return self.inner.is_trained

    @property
    def in_float32(self) -> Operator:
        return self.inner

    @property
    def is_nested(self) -> bool:
        return self.inner.is_nested

    @property
    def key(self) -> str:
        return f"{self.precision}({self.inner.key})"

    @property
    def family(self) -> str:
        return self.inner.family
