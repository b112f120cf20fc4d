"""Masks of entangled weights: the mean of many nested operators, at the cost of the largest operator.

The superposition of zero-padded slices, sum_i p_i pad(W[S_i]) (TangleNAS, Sukthanker et al. 2023, section 3), equals the
largest parameter W times a mask. The mask is, at every entry, the sum of the p_i of the operators that contain the entry.
Entries that the same operators contain form the blocks of a small grid, so the mask is a small 0/1 matrix times p, repeated
over the blocks. Only p depends on which choices decide the sizes, and on which choices share an axis.

All parameters are masked, norms included, because a batch-norm in train mode cancels a mask before it.

Shapes: M operators; B blocks of a grid; R rows (all axes before the features) and F features of a layer norm.
"""

import itertools
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.autograd.graph import saved_tensors_hooks

from hwnas.core.arrays import BoolArray, IntArray

# Axes before this one are channels, of which a slice has the first entries; of later axes it has the centre.
KERNEL_AXES_FROM: Final = 2


@dataclass(frozen=True, slots=True, eq=False)
class _Grid:
    """The blocks of all parameters of one shape.

    `blocks` is the number of blocks along every axis. `places` maps an axis with several blocks to the block of each of
    its entries. `contained_BM` is 1 where an operator contains a block, else 0.
    """

    blocks: tuple[int, ...]
    places: Mapping[int, Tensor]
    contained_BM: Tensor

    def spread(self, weights_M: Tensor) -> Tensor:
        """Returns the mask, of size 1 along axes of one block.

        An entry is the sum of the weights of the operators that contain it.
        """
        # Not a matrix product, because mixed precision would round it.
        mask = (self.contained_BM * weights_M).sum(1).view(self.blocks)
        for axis in reversed(range(len(self.blocks))):  # kernels first, because they are smallest
            if axis in self.places:
                mask = mask.index_select(axis, self.places[axis])
        return mask

    def gathered(self, of_mask: Tensor) -> Tensor:
        """Returns the gradient of the weights (M,) from the gradient of the mask, of the parameters' shape."""
        for axis, count in enumerate(self.blocks):
            if count == 1:
                of_mask = of_mask.sum(axis, keepdim=True)
        for axis, place in self.places.items():
            shape = [self.blocks[axis] if number == axis else size for number, size in enumerate(of_mask.shape)]
            of_mask = of_mask.new_zeros(shape).index_add_(axis, place, of_mask)
        return of_mask.view(-1) @ self.contained_BM


class _Masked(torch.autograd.Function):
    """Multiplies parameters, grid by grid, by their masks. The backward pass computes the masks again instead of keeping them."""

    @staticmethod
    def forward(
        ctx: Any, grids: Sequence[tuple[_Grid, int]], weights_M: Tensor, *parameters: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.grids = grids
        ctx.save_for_backward(weights_M, *parameters)
        rest = iter(parameters)
        masks = ((grid.spread(weights_M), count) for grid, count in grids)
        return tuple(parameter * mask for mask, count in masks for parameter in itertools.islice(rest, count))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        weights_M, *parameters = ctx.saved_tensors
        _, weights_wanted, *wanted = ctx.needs_input_grad
        rest = zip(gradients, parameters, wanted, strict=True)
        of_weights_M = torch.zeros_like(weights_M)
        of_parameters: list[Tensor | None] = []
        for grid, count in ctx.grids:
            of_grid = list(itertools.islice(rest, count))
            mask = grid.spread(weights_M)
            of_parameters += [
                gradient * mask if parameter_wanted else None for gradient, _, parameter_wanted in of_grid
            ]
            if weights_wanted:
                of_mask = of_grid[0][0] * of_grid[0][1]
                for gradient, parameter, _ in of_grid[1:]:
                    of_mask.addcmul_(gradient, parameter)
                of_weights_M += grid.gathered(of_mask)
        return (None, of_weights_M if weights_wanted else None, *of_parameters)


@final
class Superposition:
    """The masks of all parameters of the largest of M operators that share weights.

    `shapes` has the shapes of every operator's parameters by name, `cover` those of the operator that contains them all.
    Masks have the type and the device of `like`.
    """

    def __init__(
        self, shapes: Sequence[Mapping[str, torch.Size]], cover: Mapping[str, torch.Size], like: Tensor
    ) -> None:
        names: dict[tuple[tuple[int, ...], ...], list[str]] = {}
        for name, whole in cover.items():
            sizes = (tuple(whole), *(tuple(shape[name]) for shape in shapes))
            if len(set(sizes)) > 1:
                names.setdefault(sizes, []).append(name)
        self._names = {name: number for number, of_grid in enumerate(names.values()) for name in of_grid}
        self._grids = [(_grid(sizes[0], sizes[1:], like), len(of_grid)) for sizes, of_grid in names.items()]

    @property
    def names(self) -> Collection[str]:
        """The names of parameters whose shapes differ between the operators."""
        return self._names.keys()

    def mask(self, name: str, weights_M: Tensor) -> Tensor:
        """Returns the mask of a parameter, in a shape that broadcasts to the parameter's.

        An entry is the sum of the weights of the operators that contain it.
        """
        return self._grids[self._names[name]][0].spread(weights_M)

    def masked(self, tensors: Mapping[str, Tensor], weights_M: Tensor) -> dict[str, Tensor]:
        """Returns the tensors of the largest operator by name, those in `names` times their masks."""
        if not self._grids:
            return dict(tensors)
        products = _Masked.apply(self._grids, weights_M, *(tensors[name] for name in self._names))  # type: ignore[no-untyped-call]
        return dict(tensors) | dict(zip(self._names, products, strict=True))

    def remade(
        self, tensors: Mapping[str, Tensor], weights_M: Tensor, masked: Mapping[str, Tensor]
    ) -> AbstractContextManager[None]:
        """Returns a context in which autograd computes masked matrices again instead of keeping them.

        The masked matrices are as large as the weights.
        """
        names = {masked[name].untyped_storage().data_ptr(): name for name in self._names if masked[name].dim() > 1}
        if not names:
            return nullcontext()

        def pack(saved: Tensor) -> Tensor | tuple[str, Any]:
            name = names.get(saved.untyped_storage().data_ptr())
            # Detached, because an output that is saved as itself would keep its own graph alive.
            return (name, (saved.shape, saved.stride(), saved.storage_offset())) if name else saved.detach()

        def unpack(packed: Tensor | tuple[str, Any]) -> Tensor:
            if isinstance(packed, Tensor):
                return packed
            name, layout = packed
            return (tensors[name].detach() * self.mask(name, weights_M.detach())).as_strided(*layout)

        return saved_tensors_hooks(pack, unpack)


def _grid(whole: tuple[int, ...], sizes: Sequence[tuple[int, ...]], like: Tensor) -> _Grid:
    """Returns the grid of a parameter of shape `whole`, of which every operator has a slice of one of `sizes`."""
    blocks: list[int] = []
    places: dict[int, Tensor] = {}
    contained_BM: BoolArray = np.ones((1, len(sizes)), dtype=bool)
    for axis, size in enumerate(whole):
        of_entry, of_size_M = _along(size, [shape[axis] for shape in sizes], centred=axis >= KERNEL_AXES_FROM)
        count = int(of_entry.max()) + 1
        blocks.append(count)
        if count > 1:
            places[axis] = torch.from_numpy(of_entry).to(like.device)
        along_BM = of_size_M >= np.arange(count)[:, None]
        contained_BM = (contained_BM[:, None] & along_BM).reshape(-1, len(sizes))
    return _Grid(tuple(blocks), places, torch.from_numpy(contained_BM).to(like))


def _along(whole: int, sizes: Sequence[int], *, centred: bool) -> tuple[IntArray, IntArray]:
    """Returns the block of each entry of an axis (whole,), and the last block that each size contains (M,)."""
    distinct = sorted({*sizes, whole})
    entries = np.arange(whole)
    of_entry = np.zeros(whole, dtype=np.int64)
    for size in distinct[:-1]:
        first = (whole - size) // 2 if centred else 0
        of_entry += (entries < first) | (entries >= first + size)
    return of_entry, np.array([distinct.index(size) for size in sizes])


@final
class MaskedLayerNorm(nn.LayerNorm):
    """A layer norm whose mean and variance weigh every entry by `mask`; a mask of 0s and 1s gives the statistics of a slice.

    Unweighted statistics would count entries that smaller widths lack.
    """

    mask: Tensor

    def forward(self, input: Tensor) -> Tensor:  # torch's name
        mask_F = self.mask.expand(self.normalized_shape).flatten()
        share_F = mask_F / mask_F.sum().clamp_min(self.eps)  # a mask of zeros gives zeros
        bias = torch.zeros_like(self.weight) if self.bias is None else self.bias
        return _WeightedNorm.apply(input, self.weight.flatten(), bias.flatten(), share_F, self.eps)  # type: ignore[no-untyped-call, no-any-return]


class _WeightedNorm(torch.autograd.Function):
    """Layer norm with statistics weighted by shares that sum to 1. Like torch's, it saves only its input for backward.

    The gradient of the shares lacks the term that is equal for all shares: normalising shares to sum to 1 cancels the term.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_F: Tensor, bias_F: Tensor, share_F: Tensor, eps: float) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):  # like torch's layer norm, not in half precision
            x_RF = x.reshape(-1, len(share_F)).to(weight_F.dtype)
            mean_R1 = x_RF.mv(share_F)[:, None]
            centred_RF = x_RF - mean_R1
            scale_R1 = torch.rsqrt(centred_RF.square().mv(share_F)[:, None] + eps)
            ctx.save_for_backward(x, weight_F, share_F, mean_R1, scale_R1)
            return torch.addcmul(bias_F, centred_RF.mul_(scale_R1), weight_F).view(x.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight_F, share_F, mean_R1, scale_R1 = ctx.saved_tensors
        gradient_RF = gradient.reshape(-1, len(share_F))
        normed_RF = x.reshape(gradient_RF.shape).sub(mean_R1).mul_(scale_R1)
        product_RF = gradient_RF * normed_RF
        of_weight_F, of_bias_F = product_RF.sum(0), gradient_RF.sum(0)
        of_mean_R, of_scale_R = gradient_RF.mv(weight_F), product_RF.mv(weight_F)
        squares_RF = torch.mul(normed_RF, normed_RF, out=product_RF)
        of_share_F = normed_RF.T.mv(of_mean_R).add_(squares_RF.T.mv(of_scale_R), alpha=0.5).neg_()
        of_statistics_RF = normed_RF.mul_(of_scale_R[:, None]).add_(of_mean_R[:, None]).mul_(share_F)
        of_x_RF = torch.mul(gradient_RF, weight_F, out=product_RF).sub_(of_statistics_RF).mul_(scale_R1)
        return of_x_RF.view(x.shape).to(x.dtype), of_weight_F, of_bias_F, of_share_F, None


def mask_layer_norms(template: nn.Module, masked: Collection[str]) -> list[str]:
    """Replaces the layer norms of a template whose weights are in `masked` by mask-weighted ones, and returns their names."""
    names = []
    for name, module in list(template.named_modules()):
        if type(module) is nn.LayerNorm and f"{name}.weight" in masked:
            with torch.device("meta"):
                norm = MaskedLayerNorm(module.normalized_shape, module.eps, bias=module.bias is not None)
                norm.register_buffer("mask", torch.empty(module.normalized_shape))
            template.set_submodule(name, norm)
            names.append(name)
    return names
