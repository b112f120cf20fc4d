"""One layer as a mixture of its operators: one pass on mean weights where operators nest, else a mean of outputs.

Shapes: K cells of the layer's scope, each an operator or None; M operators of one group; N batch, C channels, H and W.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from hwnas.core.layer import Layer
from hwnas.core.operator import Operator, Shape
from hwnas.errors import SpaceError
from hwnas.modules.build import build
from hwnas.modules.declared import naming
from hwnas.supernet.elastic import ElasticLayer
from hwnas.supernet.masks import Superposition, mask_layer_norms
from hwnas.supernet.nesting import parameter_shapes
from hwnas.supernet.template import Template


@final
@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """Some options of a choice, by index, and their weights (options,).

    The other options are left out: their operators do not run and get no gradient.
    """

    options: tuple[int, ...]
    weights: Tensor


@final
class Mixture:
    """The mean of a layer's operators; the identity stands in for an empty layer.

    Operators that nest run in one pass of the largest operator on the mean of their weights (`masks.Superposition`).
    Outputs of operators that do not nest are added up, each times its probability. With `partial` above 1 the operators,
    which must satisfy `partly`, run on the first 1 / `partial` of their channels. Raises SpaceError where the outputs of
    the operators differ in more than their channels.
    """

    def __init__(
        self,
        layer: Layer,
        elastic: ElasticLayer,
        operators: Sequence[Operator | None],
        like: Tensor,
        partial: int = 1,
    ) -> None:
        standing = [(cell, operator) for cell, operator in enumerate(operators) if operator is not None]
        _require_one_size(layer, [operator for _, operator in standing])
        none = [cell for cell, operator in enumerate(operators) if operator is None]
        groups: dict[str, list[tuple[int, Operator]]] = {}
        for cell, operator in standing:
            groups.setdefault(elastic.group(operator), []).append((cell, operator))
        self._parts = [
            (torch.tensor(cells, device=like.device), _Nested(elastic, nested, like, partial))
            for cells, nested in (zip(*group, strict=True) for group in groups.values())
        ]
        self.partial = partial
        self._none = torch.tensor(none, device=like.device) if none else None
        self._alone = len(groups) == 1 and not none

    def __call__(self, x: Tensor, weights_K: Tensor, *, passing: bool) -> Tensor | None:
        """Returns the output for an input (N, ...), None without an operator and without `passing`.

        With `passing` an empty layer returns its input, otherwise it adds nothing.
        """
        if self._alone:
            cells, nested = self._parts[0]
            # Several weights sum to 1 and need no factor; a single weight is 1, too, but has a gradient.
            if len(cells) > 1:
                return nested(x, weights_K.index_select(0, cells))
            output = nested(x, weights_K)
            return output * weights_K if weights_K.requires_grad else output
        terms = []
        for cells, nested in self._parts:
            of_group = weights_K.index_select(0, cells)
            terms.append(of_group.sum() * nested(x, shares(of_group)))
        if passing and self._none is not None:
            terms.append(x * weights_K.index_select(0, self._none).sum())
        return added(terms) if terms else None


@final
class _Nested:
    """Operators that nest, in one pass of the largest."""

    def __init__(self, elastic: ElasticLayer, operators: Sequence[Operator], like: Tensor, partial: int) -> None:
        self._elastic = elastic
        self._cover = elastic.cover(operators)
        self._runs = part_of(self._cover, partial)
        with torch.device("meta"):
            template = build(self._runs)
            sliced, *nested = [
                elastic.template(operator) if partial == 1 else build(part_of(operator, partial))
                for operator in (self._cover, *operators)
            ]
        shapes = [parameter_shapes(module) for module in nested]
        self._superposition = Superposition(shapes, parameter_shapes(template), like)
        self._norms = mask_layer_norms(template, self._superposition.names)
        self._template, self._sliced = Template(template), Template(sliced)

    def __call__(self, x: Tensor, weights_M: Tensor) -> Tensor:
        tensors = self._elastic.slices(self._cover, self._sliced)
        masked = self._superposition.masked(tensors, weights_M)
        remade = self._superposition.remade(tensors, weights_M, masked)
        masked |= {f"{norm}.mask": self._superposition.mask(f"{norm}.weight", weights_M) for norm in self._norms}
        with remade, naming(self._elastic.name, self._runs):
            return self._template(masked, fitted(x, self._runs.input_shape), training=self._elastic.training)


def part_of(operator: Operator, partial: int) -> Operator:
    """Returns the operator of the same family for the first 1 / `partial` of the channels; its weights are a slice."""
    channels, *sizes = operator.input_shape
    return operator if partial == 1 else replace(operator.in_float32, input_shape=(channels // partial, *sizes))


def partly(operators: Iterable[Operator | None], partial: int) -> bool:
    """Returns True if all operators can run on 1 / `partial` of their channels: they keep the shape of images or series."""
    present = [operator for operator in operators if operator is not None]
    series = any(operator.in_float32.channels_first for operator in present)
    return all(
        (series or len(operator.input_shape) == 3)
        and operator.input_shape[0] % partial == 0
        and all(size.output_shape == size.input_shape for size in (operator, part_of(operator, partial)))
        for operator in present
    )


def shares(weights: Tensor) -> Tensor:
    """Returns weights scaled to sum to 1, and equal weights where all are 0.

    So a group whose gate is 0 still runs, and the gate gets the gradient of the group's output.
    """
    total = weights.sum()
    scaled = weights / total.clamp_min(torch.finfo(weights.dtype).tiny)
    return torch.where(total > 0, scaled, torch.full_like(weights, 1 / len(weights)).detach())


def fitted(x: Tensor, shape: Shape) -> Tensor:
    """Crops or zero-pads inputs (N, ...) at the end of every axis to a shape."""
    for axis, size in enumerate(shape, start=1):
        if x.shape[axis] > size:
            x = x.narrow(axis, 0, size)
        elif x.shape[axis] < size:
            zeros = x.new_zeros([size - length if number == axis else length for number, length in enumerate(x.shape)])
            x = torch.cat([x, zeros], axis)
    return x


def added(terms: Sequence[Tensor]) -> Tensor:
    """Returns the sum of terms (N, ...) that differ at most in channels, zero-padded to the widest."""
    widest = tuple(max(sizes) for sizes in zip(*(term.shape[1:] for term in terms), strict=True))
    result = fitted(terms[0], widest)
    for term in terms[1:]:
        result = result + fitted(term, widest)
    return result


def _require_one_size(layer: Layer, operators: Sequence[Operator]) -> None:
    # An operator that takes any shape, such as a skip, does not know if its two axes are (channels, length).
    series = any(operator.channels_first for operator in operators)
    sizes = {
        (operator.input_shape[1:], operator.output_shape[1:]) if series else operator.positions
        for operator in operators
    }
    if len(sizes) > 1:
        pairs = ", and ".join(f"{before} to {after}" for before, after in sorted(sizes))
        raise SpaceError(
            f"layer {layer.name!r}: its operators map positions {pairs}, which cannot be mixed; keep one option of the "
            f"choice that decides the size, or use a sampler that draws one option"
        )
