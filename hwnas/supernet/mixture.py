"""One layer as a mixture of its operators: entangled where they nest, else a mean of outputs.

Shapes: K cells of the layer's scope, each an operator or None; M operators of one group; N batch, C channels, H and W.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor, nn
from torch.func import functional_call

from hwnas.core.layer import Layer
from hwnas.core.operator import Operator, Shape
from hwnas.errors import SpaceError
from hwnas.modules.assemble import build
from hwnas.supernet.elastic import ElasticLayer
from hwnas.supernet.masks import Superposition, mask_layer_norms
from hwnas.supernet.nesting import parameter_shapes, positions


@final
@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """Some of a choice's options, by index, and what they count, (options,). The others are left out: nothing runs for
    them, and no gradient reaches them."""

    options: tuple[int, ...]
    weights: Tensor


@final
class Mixture:
    """The mean of a layer's operators, and of the input itself where nothing stands.

    Operators that nest run as one, the largest of them, with the mean of their weights (`entangle.Superposition`); of
    those that do not, outputs are added up, each times its probability. With `partial` above 1 the operators, of which all
    must be `partly`, are given the first of so many equal parts of their channels. Raises SpaceError where the
    operators' outputs differ in more than their channels.
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
        """The output for an input (N, ...); None where nothing can stand. `passing`: where nothing stands, the input
        passes; else nothing is added."""
        if self._alone:
            cells, nested = self._parts[0]
            # Weights of several sum to 1, and so do those of slices; that of one is 1, but has a gradient.
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
    """Operators that nest, as one pass of the largest."""

    def __init__(self, elastic: ElasticLayer, operators: Sequence[Operator], like: Tensor, partial: int) -> None:
        self._elastic = elastic
        self._cover = elastic.cover(operators)
        self._runs = part_of(self._cover, partial)
        with torch.device("meta"):
            self._template: nn.Module = build(self._runs)
            self._sliced, *nested = [
                elastic.template(each) if partial == 1 else build(part_of(each, partial))
                for each in (self._cover, *operators)
            ]
        shapes = [parameter_shapes(template) for template in nested]
        self._superposition = Superposition(shapes, parameter_shapes(self._template), like)
        self._norms = mask_layer_norms(self._template, self._superposition.names)

    def __call__(self, x: Tensor, weights_M: Tensor) -> Tensor:
        tensors = self._elastic.slices(self._cover, self._sliced)
        masked = self._superposition.masked(tensors, weights_M)
        remade = self._superposition.remade(tensors, weights_M, masked)
        masked |= {f"{norm}.mask": self._superposition.mask(f"{norm}.weight", weights_M) for norm in self._norms}
        template = self._template.train(self._elastic.training)
        with remade:
            return functional_call(template, masked, (fitted(x, self._runs.input_shape),))  # type: ignore[no-any-return]


def part_of(operator: Operator, partial: int) -> Operator:
    """The operator for the first of `partial` equal parts of its channels: one of its family, on a slice of its weights."""
    channels, *sizes = operator.input_shape
    return operator if partial == 1 else replace(operator, input_shape=(channels // partial, *sizes))


def partly(operators: Iterable[Operator | None], partial: int) -> bool:
    """Whether all these can be given a part of their channels: operators of images that give as many as they take."""
    return all(
        len(operator.input_shape) == 3
        and operator.input_shape[0] % partial == 0
        and all(each.output_shape == each.input_shape for each in (operator, part_of(operator, partial)))
        for operator in operators
        if operator is not None
    )


def shares(weights: Tensor) -> Tensor:
    """Weights scaled to sum to 1; equal ones where all are 0: what is left out of a sum by a gate still has a gradient, that of
    what it would add."""
    total = weights.sum()
    scaled = weights / total.clamp_min(torch.finfo(weights.dtype).tiny)
    return torch.where(total > 0, scaled, torch.full_like(weights, 1 / len(weights)).detach())


def fitted(x: Tensor, shape: Shape) -> Tensor:
    """The first entries along every axis of inputs (N, ...), zeros where there are no more."""
    for axis, size in enumerate(shape, start=1):
        if x.shape[axis] > size:
            x = x.narrow(axis, 0, size)
        elif x.shape[axis] < size:
            zeros = x.new_zeros([size - has if number == axis else has for number, has in enumerate(x.shape)])
            x = torch.cat([x, zeros], axis)
    return x


def added(terms: Sequence[Tensor]) -> Tensor:
    """The sum of terms (N, ...) that differ in channels at most, as if all had those of the widest."""
    widest = tuple(max(sizes) for sizes in zip(*(term.shape[1:] for term in terms), strict=True))
    result = fitted(terms[0], widest)
    for term in terms[1:]:
        result = result + fitted(term, widest)
    return result


def _require_one_size(layer: Layer, operators: Sequence[Operator]) -> None:
    sizes = {(positions(operator.input_shape), positions(operator.output_shape)) for operator in operators}
    if len(sizes) > 1:
        made = ", and ".join(f"{after} of {before}" for before, after in sorted(sizes))
        raise SpaceError(
            f"layer {layer.name!r}: its operators make {made} positions, which cannot be mixed; leave one option to the "
            f"choice that decides it, or use a sampler that draws one option"
        )
