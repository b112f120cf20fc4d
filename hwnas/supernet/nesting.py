"""Nesting: a larger operator computes the same as a smaller one when it has the smaller one's weights, zero-padded."""

from collections.abc import Mapping
from dataclasses import fields
from operator import le

import torch
from torch import nn

from hwnas.core.operator import Operator


def parameter_shapes(module: nn.Module) -> dict[str, torch.Size]:
    """Returns the shape of each parameter by name."""
    return {name: parameter.shape for name, parameter in module.named_parameters()}


def covers(large: Mapping[str, torch.Size], small: Mapping[str, torch.Size]) -> bool:
    """Returns True if `large` has the same parameters as `small`, each at least as large along every axis."""
    return large.keys() == small.keys() and all(
        len(shape) == len(large[name]) and all(map(le, shape, large[name])) for name, shape in small.items()
    )


def alike(one: Operator, other: Operator) -> bool:
    """Returns True if two operators are nested, differ only in numbers, and have equal positions of input and output.

    Flags and strings must be equal, because a block with a final ReLU cannot nest in one without. Precisions may differ.
    """
    one, other = one.in_float32, other.in_float32
    return (
        type(one) is type(other)
        and one.is_nested
        and one.positions == other.positions
        and all(
            getattr(one, field.name) == getattr(other, field.name)
            for field in fields(one)
            if isinstance(getattr(one, field.name), (bool, str))
        )
    )


def nests(small: nn.Module, large: nn.Module) -> bool:
    """Returns True if the large module computes the same as the small one with the small one's zero-padded weights.

    Both modules must consist of submodules of the same names and types. Convolutions nest with equal strides and dilations,
    kernels centred in each other, and equal channels if grouped (with fewer channels, a channel would be in another group).
    Linear layers, embeddings, batch-norms and layer norms always nest. All other torch modules must be equal, because their
    output may depend on their size.
    """
    modules, others = dict(small.named_modules()), dict(large.named_modules())
    return (
        covers(parameter_shapes(large), parameter_shapes(small))
        and modules.keys() == others.keys()
        and all(_module_nests(module, others[name]) for name, module in modules.items())
    )


def _module_nests(small: nn.Module, large: nn.Module) -> bool:
    if type(small) is not type(large):
        return False
    if isinstance(small, nn.modules.conv._ConvNd) and isinstance(large, nn.modules.conv._ConvNd):
        return _conv_nests(small, large)
    if isinstance(small, (nn.Linear, nn.Embedding, nn.modules.batchnorm._BatchNorm)):
        return True
    if isinstance(small, nn.LayerNorm) and small.elementwise_affine:  # mask-weighted, because its weight is masked
        return True
    return small.extra_repr() == large.extra_repr()


def _conv_nests(small: nn.modules.conv._ConvNd, large: nn.modules.conv._ConvNd) -> bool:
    same = ("stride", "dilation", "padding_mode", "output_padding", "transposed")
    if any(getattr(small, name) != getattr(large, name) for name in same):
        return False
    depthwise = all(conv.groups == conv.in_channels == conv.out_channels for conv in (small, large))
    channels = [(conv.groups, conv.in_channels, conv.out_channels) for conv in (small, large)]
    if not depthwise and max(small.groups, large.groups) > 1 and channels[0] != channels[1]:
        return False
    axes = zip(small.kernel_size, large.kernel_size, _padding(small), _padding(large), small.dilation, strict=True)
    return all(
        (larger - kernel) % 2 == 0 and most - pad == (larger - kernel) // 2 * dilation
        for kernel, larger, pad, most, dilation in axes
    )


def _padding(conv: nn.modules.conv._ConvNd) -> tuple[int, ...]:
    """Returns the padding before the first entry, along each axis of the kernel."""
    if isinstance(conv.padding, str):
        share = 1 if conv.padding == "same" else 0
        return tuple(
            share * dilation * (size - 1) // 2 for size, dilation in zip(conv.kernel_size, conv.dilation, strict=True)
        )
    return conv.padding
