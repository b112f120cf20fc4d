"""Masks of entangled weights: the mean of many nested operators, at the cost of the largest.

The superposition of zero-padded slices, the sum of p_i pad(W[S_i]) (TangleNAS, Sukthanker et al. 2023, section 3), is
the largest parameter times a mask: at each entry the probability that an operator contains it. Entries that the same
operators contain form the blocks of a small grid, so that is a small matrix times the operators' probabilities, spread
over the blocks. Whatever decides the sizes, and whichever choices share an axis, is in those probabilities.

Masks hold for all parameters, those of norms too: a batch-norm in train mode cancels a mask that stands only before it.

Shapes: M operators, B blocks of all grids.
"""

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from operator import le
from typing import Final, final

import numpy as np
import torch
from torch import Tensor, nn

from hwnas.core.cost import BoolArray, IntArray

# Channels come first: of them a smaller operator has the first entries, of the other axes the centre.
KERNEL_AXES_FROM: Final = 2


@dataclass(frozen=True, slots=True)
class _Grid:
    """The blocks of one parameter: where they begin among all, how many along each axis, and the block of each entry of
    those axes that have more than one."""

    start: int
    blocks: tuple[int, ...]
    places: Mapping[int, Tensor]

    def spread(self, values_B: Tensor) -> Tensor:
        """The mask, of size 1 along axes of one block."""
        mask = values_B.narrow(0, self.start, int(np.prod(self.blocks))).view(self.blocks)
        for axis in reversed(range(len(self.blocks))):  # kernels first: they grow least
            if axis in self.places:
                mask = mask.index_select(axis, self.places[axis])
        return mask


@final
class Superposition:
    """The masks of every parameter of the largest of M operators that share weights.

    `shapes` gives each operator's parameters' shapes by name, `cover` those of the one that contains them all. Masks
    are made of the type and on the device of `like`.
    """

    def __init__(
        self, shapes: Sequence[Mapping[str, torch.Size]], cover: Mapping[str, torch.Size], like: Tensor
    ) -> None:
        grids: dict[tuple[tuple[int, ...], ...], _Grid] = {}
        rows: list[BoolArray] = []
        self._grids: dict[str, _Grid] = {}
        for name, whole in cover.items():
            sizes = (tuple(whole), *(tuple(shape[name]) for shape in shapes))
            if len(set(sizes)) == 1:
                continue
            if sizes not in grids:
                grids[sizes], contained_BM = _blocks(sizes[0], sizes[1:], sum(map(len, rows)), like.device)
                rows.append(contained_BM)
            self._grids[name] = grids[sizes]
        self._distinct = list(grids.values())
        self._contained_BM = torch.from_numpy(np.concatenate(rows)).to(like) if rows else None

    @property
    def masked(self) -> tuple[str, ...]:
        """The parameters that differ between the operators."""
        return tuple(self._grids)

    def masks(self, weights_M: Tensor) -> dict[str, Tensor]:
        """By parameter, for those that differ between the operators: the sum of the weights of the operators that
        contain each entry, of a shape that broadcasts to the parameter's."""
        if self._contained_BM is None:
            return {}
        values_B = self._contained_BM @ weights_M
        masks = {grid.start: grid.spread(values_B) for grid in self._distinct}
        return {name: masks[grid.start] for name, grid in self._grids.items()}


def _blocks(
    whole: tuple[int, ...], sizes: Sequence[tuple[int, ...]], start: int, device: torch.device
) -> tuple[_Grid, BoolArray]:
    """The grid of a parameter, and which operators contain which of its blocks, (B, M)."""
    blocks: list[int] = []
    places: dict[int, Tensor] = {}
    contained = np.ones((1, len(sizes)), dtype=bool)
    for axis, size in enumerate(whole):
        of_entry, of_size_M = _along(size, [shape[axis] for shape in sizes], centred=axis >= KERNEL_AXES_FROM)
        count = int(of_entry.max()) + 1
        blocks.append(count)
        if count > 1:
            places[axis] = torch.from_numpy(of_entry).to(device)
        along_BM = of_size_M >= np.arange(count)[:, None]
        contained = (contained[:, None] & along_BM).reshape(-1, len(sizes))
    return _Grid(start, tuple(blocks), places), contained


def _along(whole: int, sizes: Sequence[int], *, centred: bool) -> tuple[IntArray, IntArray]:
    """The block of each entry of an axis, and the last block that each size contains."""
    distinct = sorted({*sizes, whole})
    entries = np.arange(whole)
    of_entry = np.zeros(whole, dtype=np.int64)
    for size in distinct[:-1]:
        first = (whole - size) // 2 if centred else 0
        of_entry += (entries < first) | (entries >= first + size)
    return of_entry, np.array([distinct.index(size) for size in sizes])


@final
class MaskedLayerNorm(nn.LayerNorm):
    """A layer norm whose mean and variance weigh each entry by `mask`: where that is 0 or 1, the statistics of a slice.

    Means over all entries would count those that smaller widths have not.
    """

    mask: Tensor

    def forward(self, input: Tensor) -> Tensor:  # torch's name
        axes = tuple(range(-len(self.normalized_shape), 0))
        share = self.mask / self.mask.sum().clamp_min(self.eps)  # where nothing is left, so is the output
        centred = input - (input * share).sum(axes, keepdim=True)
        variance = (centred.square() * share).sum(axes, keepdim=True)
        return torch.addcmul(self.bias, centred * torch.rsqrt(variance + self.eps), self.weight)


def mask_layer_norms(template: nn.Module, masked: Collection[str]) -> list[str]:
    """Makes those layer norms of a template mask-weighted whose weights are masked; the names of the masks to give."""
    names = []
    for name, module in list(template.named_modules()):
        if type(module) is nn.LayerNorm and f"{name}.weight" in masked:
            with torch.device("meta"):
                norm = MaskedLayerNorm(module.normalized_shape, module.eps)
                norm.register_buffer("mask", torch.empty(module.normalized_shape))
            template.set_submodule(name, norm)
            names.append(name)
    return names


def parameter_shapes(module: nn.Module) -> dict[str, torch.Size]:
    """The shape of each parameter by name."""
    return {name: parameter.shape for name, parameter in module.named_parameters()}


def covers(large: Mapping[str, torch.Size], small: Mapping[str, torch.Size]) -> bool:
    """Whether the same parameters are in both, each at least as large along every axis."""
    return large.keys() == small.keys() and all(
        len(shape) == len(large[name]) and all(map(le, shape, large[name])) for name, shape in small.items()
    )


def nests(small: nn.Module, large: nn.Module) -> bool:
    """Whether the small module, zero-padded, computes what it computes, inside the large one.

    Judged by their convolutions: equal strides and dilations, kernels centred in each other, and groups that keep their
    channels. (Of a grouped convolution with fewer channels, channels belong to other groups.)
    """
    if not covers(parameter_shapes(large), parameter_shapes(small)):
        return False
    modules, others = dict(small.named_modules()), dict(large.named_modules())
    if [(name, type(module)) for name, module in modules.items()] != [
        (name, type(other)) for name, other in others.items()
    ]:
        return False
    return all(_conv_nests(module, others[name]) for name, module in modules.items())


def _conv_nests(small: nn.Module, large: nn.Module) -> bool:
    if not isinstance(small, nn.modules.conv._ConvNd) or not isinstance(large, nn.modules.conv._ConvNd):
        return True
    if (small.stride, small.dilation) != (large.stride, large.dilation):
        return False
    depthwise = all(conv.groups == conv.in_channels == conv.out_channels for conv in (small, large))
    channels = [(conv.groups, conv.in_channels, conv.out_channels) for conv in (small, large)]
    if not depthwise and max(small.groups, large.groups) > 1 and channels[0] != channels[1]:
        return False
    if isinstance(small.padding, str) or isinstance(large.padding, str):
        return small.padding == large.padding
    axes = itertools.zip_longest(small.kernel_size, large.kernel_size, small.padding, large.padding, small.dilation)
    return all(2 * (most - pad) == (larger - kernel) * dilation for kernel, larger, pad, most, dilation in axes)
