"""Laws of nesting: the judgement of modules agrees with what they compute."""

from collections.abc import Mapping
from typing import Any, Final

import pytest
import torch
from torch import nn
from torch.func import functional_call

from hwnas.core.operator import Operator
from hwnas.operators.cells import AveragePool, Skip
from hwnas.operators.conv import ConvBlock, MBConv, PlainConv
from hwnas.operators.transformer import Attention
from hwnas.supernet.elastic import ElasticLayer
from hwnas.supernet.masks import Superposition, mask_layer_norms
from hwnas.supernet.nesting import nests, parameter_shapes


def conv(channels: int, after: int, kernel: int, padding: Any, **others: Any) -> nn.Module:
    return nn.Conv2d(channels, after, kernel, padding=padding, **others)


def depthwise(channels: int, kernel: int) -> nn.Module:
    return nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels)


# A small module, a large one, and channels of the input of each.
NESTING: Final[Mapping[str, tuple[nn.Module, nn.Module, int, int]]] = {
    "itself": (conv(3, 4, 3, 1), conv(3, 4, 3, 1), 3, 3),
    "channels and kernel": (conv(3, 4, 3, 1), conv(5, 6, 7, 3), 3, 5),
    "a kernel without padding": (conv(3, 4, 1, 0), conv(3, 4, 3, 1), 3, 3),
    "stride": (conv(3, 4, 3, 1, stride=2), conv(3, 4, 5, 2, stride=2), 3, 3),
    "dilation": (conv(3, 4, 3, 2, dilation=2), conv(3, 4, 5, 4, dilation=2), 3, 3),
    "same padding": (conv(3, 4, 3, "same"), conv(3, 4, 5, "same"), 3, 3),
    "same padding, even": (conv(3, 4, 2, "same"), conv(3, 4, 4, "same"), 3, 3),
    "valid padding": (conv(3, 4, 3, "valid"), conv(4, 4, 3, "valid"), 3, 4),
    "mirrored padding": (conv(3, 4, 3, 1, padding_mode="reflect"), conv(3, 4, 5, 2, padding_mode="reflect"), 3, 3),
    "depthwise": (depthwise(3, 3), depthwise(5, 7), 3, 5),
    "grouped": (conv(4, 6, 3, 1, groups=2), conv(4, 6, 5, 2, groups=2), 4, 4),
    "transposed": (nn.ConvTranspose2d(3, 4, 4, 2, 1), nn.ConvTranspose2d(5, 6, 6, 2, 2), 3, 5),
    "linear": (nn.Linear(8, 3), nn.Linear(8, 5), 4, 4),
    "batch-norm": (nn.BatchNorm2d(3), nn.BatchNorm2d(5), 3, 5),
    "layer norm": (nn.LayerNorm([3, 8, 8]), nn.LayerNorm([5, 8, 8]), 3, 5),
    "parts": (
        nn.Sequential(conv(3, 4, 3, 1), nn.ReLU(), conv(4, 2, 1, 0), nn.MaxPool2d(2)),
        nn.Sequential(conv(5, 6, 5, 2), nn.ReLU(), conv(6, 4, 3, 1), nn.MaxPool2d(2)),
        3,
        5,
    ),
}
NOT_NESTING: Final[Mapping[str, tuple[nn.Module, nn.Module, int, int]]] = {
    "smaller": (conv(3, 4, 3, 1), conv(3, 4, 1, 0), 3, 3),
    "another stride": (conv(3, 4, 3, 1), conv(3, 4, 3, 1, stride=2), 3, 3),
    "another dilation": (conv(3, 4, 3, 2, dilation=2), conv(3, 4, 5, 2), 3, 3),
    "a kernel that is not centred": (conv(3, 4, 3, 1), conv(3, 4, 5, 1), 3, 3),
    "a kernel half an entry off": (conv(3, 4, 3, 1), conv(3, 4, 4, 2), 3, 3),
    "a kernel that reaches further on one side": (conv(3, 4, 3, 1), conv(3, 4, 4, 1), 3, 3),
    "a kernel half an entry off, dilated": (conv(3, 4, 3, 2, dilation=2), conv(3, 4, 4, 3, dilation=2), 3, 3),
    "same padding, odd in even": (conv(3, 4, 4, "same"), conv(3, 4, 5, "same"), 3, 3),
    "valid padding": (conv(3, 4, 3, "valid"), conv(3, 4, 5, "valid"), 3, 3),
    "another way of padding": (conv(3, 4, 3, 1), conv(3, 4, 3, 1, padding_mode="reflect"), 3, 3),
    "groups of fewer channels": (conv(4, 4, 3, 1, groups=2), conv(8, 8, 3, 1, groups=2), 4, 8),
    "other groups": (conv(4, 4, 3, 1, groups=2), conv(4, 4, 3, 1), 4, 4),
    "group norm": (nn.GroupNorm(2, 4), nn.GroupNorm(2, 8), 4, 8),
    "RMS norm": (nn.RMSNorm([3, 8, 8]), nn.RMSNorm([5, 8, 8]), 3, 5),
    "layer norm without weights": (
        nn.LayerNorm([3, 8, 8], elementwise_affine=False),
        nn.LayerNorm([5, 8, 8], elementwise_affine=False),
        3,
        5,
    ),
    "another pooling": (nn.MaxPool2d(3, 1, 1), nn.MaxPool2d(5, 1, 2), 3, 3),
    "another slope": (nn.LeakyReLU(0.1), nn.LeakyReLU(0.2), 3, 3),
    "another module": (nn.ReLU(), nn.GELU(), 3, 3),
    "a bias more": (conv(3, 4, 3, 1, bias=False), conv(3, 4, 3, 1), 3, 3),
    "a part more": (nn.Sequential(nn.ReLU()), nn.Sequential(nn.ReLU(), nn.GELU()), 3, 3),
}


@torch.no_grad()
def computes_the_same(small: nn.Module, large: nn.Module, few: int, many: int) -> bool:
    """Whether the large module at masks of the small one, on inputs (N, many, 8, 8) with zeros behind the `few` channels of
    the small one, gives the small one's output, with anything behind it."""
    small, large = nn.Sequential(small).double().eval(), nn.Sequential(large).double().eval()
    for module in (small, large):
        for number, parameter in enumerate(module.parameters()):
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)))
    if parameter_shapes(small).keys() != parameter_shapes(large).keys():
        return False
    for name, parameter in small.named_parameters():
        whole = large.get_parameter(name)
        for axis, size in enumerate(parameter.shape):
            if size > whole.shape[axis]:
                return False
            whole = whole.narrow(axis, (whole.shape[axis] - size) // 2 if axis > 1 else 0, size)
        parameter.copy_(whole)
    tensors = {name: tensor.clone() for name, tensor in large.state_dict().items()}
    weights_M = torch.tensor([1.0, 0.0], dtype=torch.double)
    superposition = Superposition(
        [parameter_shapes(small), parameter_shapes(large)], parameter_shapes(large), weights_M
    )
    tensors |= superposition.masked(tensors, weights_M)
    norms = mask_layer_norms(large, superposition.names)
    tensors |= {f"{norm}.mask": superposition.mask(f"{norm}.weight", weights_M) for norm in norms}
    x = torch.randn(2, few, 8, 8, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    behind = torch.zeros(2, many - few, 8, 8, dtype=torch.double)
    expected, found = small(x), functional_call(large, tensors, (torch.cat([x, behind], 1),))
    inner = found[tuple(slice(size) for size in expected.shape)]
    return inner.shape == expected.shape and torch.allclose(inner, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("case", NESTING.values(), ids=NESTING)
def test_what_nests_computes_the_same_at_masks_of_the_smaller(case: tuple[nn.Module, nn.Module, int, int]) -> None:
    small, large, few, many = case
    assert nests(small, large)
    assert computes_the_same(small, large, few, many)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("case", NOT_NESTING.values(), ids=NOT_NESTING)
def test_what_does_not_compute_the_same_does_not_nest(case: tuple[nn.Module, nn.Module, int, int]) -> None:
    small, large, few, many = case
    assert not nests(small, large)
    assert not computes_the_same(small, large, few, many)


def groups(*operators: Operator) -> int:
    layer = ElasticLayer("layer", operators)
    return len({layer.group(operator) for operator in operators})


def test_operators_of_one_family_that_differ_in_sizes_run_as_one() -> None:
    assert groups(*(ConvBlock(input_shape=(3, 8, 8), channels=c, kernel=k) for c in (4, 6) for k in (1, 3, 5))) == 1
    assert groups(*(Attention(input_shape=(4, e), heads=h, head_size=4) for e in (6, 8) for h in (1, 2))) == 1


def test_operators_that_differ_in_more_than_sizes_do_not_run_as_one() -> None:
    shape = {"input_shape": (4, 8, 8), "channels": 4}
    assert groups(ConvBlock(**shape), ConvBlock(**shape, relu=False)) == 2
    assert groups(PlainConv(**shape, kernel=3), PlainConv(**shape, kernel=3, pool=True)) == 2
    assert groups(Skip(input_shape=(4, 8, 8)), AveragePool(input_shape=(4, 8, 8))) == 2
    block = {**shape, "kernel": 3, "expansion": 2}
    assert groups(MBConv(**block), MBConv(**block, squeeze_excite=True)) == 2
    assert groups(ConvBlock(**shape), ConvBlock(input_shape=(4, 6, 6), channels=4)) == 2


def test_the_cover_is_the_smallest_operator_that_contains_those_that_are_mixed() -> None:
    made = {(c, k): ConvBlock(input_shape=(3, 8, 8), channels=c, kernel=k) for c in (2, 4, 6) for k in (1, 3, 5)}
    layer = ElasticLayer("layer", made.values())
    assert layer.cover([made[2, 3]]) == made[2, 3]
    assert layer.cover([made[2, 3], made[4, 1]]) == made[4, 3]
    assert layer.cover(list(made.values())) == made[6, 5]
