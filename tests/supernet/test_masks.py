"""Laws of masks: weights times a mask are the superposition of slices, and a masked layer norm is that of a slice."""

import itertools
from collections.abc import Callable, Mapping
from typing import Final

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from hwnas.core.operator import Operator
from hwnas.operators.cells import ReluConv
from hwnas.operators.conv import ConvBlock, FlattenClassifier, MBConv, PlainConv, PoolClassifier
from hwnas.operators.transformer import (
    Attention,
    FeedForward,
    LanguageHead,
    PatchEmbedding,
    TokenClassifier,
    TokenEmbedding,
)
from hwnas.supernet.elastic import ElasticLayer
from hwnas.supernet.masks import MaskedLayerNorm, Superposition, mask_layer_norms
from hwnas.supernet.nesting import parameter_shapes

# Of two sizes and a kernel; a size may govern several axes, alone or times the other one.
OPERATORS: Final[Mapping[str, Callable[[int, int, int], Operator]]] = {
    "conv": lambda a, b, kernel: ConvBlock(input_shape=(a, 6, 6), channels=b, kernel=kernel),
    "conv on as many channels": lambda a, b, kernel: ConvBlock(input_shape=(a, 6, 6), channels=a, kernel=kernel),
    "plain conv": lambda a, b, kernel: PlainConv(input_shape=(a, 6, 6), channels=b, kernel=kernel),
    "pool classifier": lambda a, b, kernel: PoolClassifier(input_shape=(a, 6, 6), features=b, classes=3),
    "flatten classifier": lambda a, b, kernel: FlattenClassifier(
        input_shape=(a, 6, 6), features=b, hidden=(a * b, 4), classes=2
    ),
    "relu conv": lambda a, b, kernel: ReluConv(input_shape=(a, 6, 6), kernel=kernel),
    "mbconv": lambda a, b, kernel: MBConv(
        input_shape=(a, 6, 6), channels=a, kernel=kernel, expansion=b, shortcut=True, always_expand=True
    ),
    "squeeze-excite": lambda a, b, kernel: MBConv(
        input_shape=(8 * a, 6, 6), channels=b, kernel=kernel, expansion=b, squeeze_excite=True, always_expand=True
    ),
    "grouped": lambda a, b, kernel: MBConv(
        input_shape=(4, 6, 6), channels=6, kernel=kernel, expansion=2, groups=2, always_expand=True
    ),
    "patch embedding": lambda a, b, kernel: PatchEmbedding(input_shape=(b, 8, 8), patch=4, embedding=a),
    "token embedding": lambda a, b, kernel: TokenEmbedding(input_shape=(5,), tokens=7, embedding=a),
    "attention": lambda a, b, kernel: Attention(input_shape=(5, a), heads=b, head_size=2),
    "feed-forward": lambda a, b, kernel: FeedForward(input_shape=(5, a), hidden=a * b),
    "token classifier": lambda a, b, kernel: TokenClassifier(input_shape=(5, a), classes=3),
    "language head": lambda a, b, kernel: LanguageHead(input_shape=(5, a), tokens=7),
}

SIZES = st.sets(st.integers(1, 6), min_size=1, max_size=3).map(sorted)
KERNELS = st.sets(st.sampled_from((1, 3, 5, 7)), min_size=1, max_size=3).map(sorted)


def padded(tensor: Tensor, whole: torch.Size) -> Tensor:
    """Zeros behind the entries of axes 0 and 1, on both sides of those of the others."""
    result = tensor.new_zeros(whole)
    inside = result
    for axis, size in enumerate(tensor.shape):
        inside = inside.narrow(axis, 0 if axis < 2 else (whole[axis] - size) // 2, size)
    inside.copy_(tensor)
    return result


@given(st.sampled_from(list(OPERATORS)), SIZES, SIZES, KERNELS, st.data())
@settings(max_examples=60)
def test_weights_times_their_masks_are_the_superposition_of_padded_slices(kind, a, b, kernels, data) -> None:
    made = [OPERATORS[kind](*sizes) for sizes in itertools.product(a, b, kernels)]
    elastic = ElasticLayer("layer", made).double()
    mixed = data.draw(st.lists(st.sampled_from(made), min_size=1, max_size=6))
    assert len({elastic.group(operator) for operator in made}) == 1
    cover = elastic.slices(elastic.cover(mixed))
    generator = torch.Generator().manual_seed(0)
    weights_M = torch.rand(len(mixed), generator=generator, dtype=torch.double).requires_grad_()
    whole = parameter_shapes(elastic.template(elastic.cover(mixed)))
    shapes = [parameter_shapes(elastic.template(operator)) for operator in mixed]
    superposition = Superposition(shapes, whole, weights_M)
    masked = superposition.masked(cover, weights_M)
    for name, size in whole.items():
        terms = [
            weight * padded(elastic.slices(operator)[name], size)
            for weight, operator in zip(weights_M, mixed, strict=True)
        ]
        expected = sum(terms[1:], terms[0])
        if name not in superposition.names:  # every operator has all of it, and their weights sum to 1
            assert torch.equal(masked[name], cover[name])
            continue
        torch.testing.assert_close(masked[name], expected, rtol=0, atol=1e-12)
        torch.testing.assert_close(cover[name] * superposition.mask(name, weights_M), expected, rtol=0, atol=1e-12)
        upstream = torch.randn(size, generator=generator, dtype=torch.double)
        inputs = [weights_M, *(parameter for parameter in elastic.parameters() if parameter.shape == size)]
        found, wanted = (
            torch.autograd.grad((value * upstream).sum(), inputs, retain_graph=True, materialize_grads=True)
            for value in (masked[name], expected)
        )
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


def test_masks_of_one_operator_are_none() -> None:
    shapes = {"weight": torch.Size((4, 4))}
    assert not Superposition([shapes, shapes], shapes, torch.ones(2)).names


@pytest.mark.parametrize("dim", [1, 2], ids=["vector", "matrix"])
def test_only_matrices_are_made_again_for_gradients_which_stay_the_same(dim: int) -> None:
    whole, part = torch.Size((4,) * dim), torch.Size((2,) * dim)
    weights_M = torch.tensor([0.3, 0.7], dtype=torch.double, requires_grad=True)
    parameter = torch.rand(whole, dtype=torch.double, requires_grad=True)
    superposition = Superposition([{"it": part}, {"it": whole}], {"it": whole}, weights_M)
    masked = superposition.masked({"it": parameter}, weights_M)
    (wanted,) = torch.autograd.grad(masked["it"].square().sum(), [weights_M])
    masked = superposition.masked({"it": parameter}, weights_M)
    with superposition.remade({"it": parameter}, weights_M, masked):
        loss = masked["it"].square().sum()
    storage = masked["it"].untyped_storage().data_ptr()
    saved = loss.grad_fn.next_functions[0][0]._saved_self
    assert (saved.untyped_storage().data_ptr() == storage) == (dim == 1)
    torch.testing.assert_close(saved, masked["it"], rtol=0, atol=0)
    (found,) = torch.autograd.grad(loss, [weights_M])
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-15)


# ---- layer norms


def layer_norms(shape: tuple[int, ...], *, bias: bool = True) -> tuple[nn.LayerNorm, MaskedLayerNorm]:
    """One of torch's and a masked one, with the same random weights."""
    generator = torch.Generator().manual_seed(0)
    plain = nn.LayerNorm(shape, bias=bias).double()
    masked = MaskedLayerNorm(shape, bias=bias).double()
    for parameter, other in zip(plain.parameters(), masked.parameters(), strict=True):
        parameter.data.copy_(torch.randn(shape, generator=generator, dtype=torch.double))
        other.data.copy_(parameter.data)
    return plain, masked


def random(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(shape, generator=generator, dtype=torch.double) + 3


@given(st.integers(1, 9), st.integers(0, 4), st.booleans())
def test_a_layer_norm_masked_by_0_and_1_is_that_of_the_slice(width: int, more: int, bias: bool) -> None:
    plain, _ = layer_norms((width,), bias=bias)
    _, masked = layer_norms((width + more,), bias=bias)
    for parameter, other in zip(plain.parameters(), masked.parameters(), strict=True):
        other.data.zero_()[:width] = parameter.data
    masked.mask = (torch.arange(width + more) < width).double()
    x = random(3, 5, width + more)
    output = masked(x)
    torch.testing.assert_close(output[..., :width], plain(x[..., :width]), rtol=1e-12, atol=1e-12)
    assert not output[..., width:].any()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("transposed", [False, True])
def test_a_layer_norm_masked_by_ones_is_torchs(bias: bool, transposed: bool) -> None:
    norms = layer_norms((7,), bias=bias)
    norms[1].mask = torch.ones(7, dtype=torch.double)
    found = []
    for norm in norms:
        x = random(2, 7, 5).transpose(1, 2) if transposed else random(2, 5, 7)
        output = norm(x.requires_grad_())
        gradients = torch.autograd.grad((output * random(*output.shape)).sum(), [x, *norm.parameters()])
        found.append((output, *gradients))
    torch.testing.assert_close(found[1], found[0], rtol=1e-12, atol=1e-12)


def test_a_layer_norm_over_several_axes_counts_every_entry_of_a_masked_channel() -> None:
    plain, _ = layer_norms((2, 3, 3))
    _, masked = layer_norms((4, 3, 3))
    for parameter, other in zip(plain.parameters(), masked.parameters(), strict=True):
        other.data.zero_()[:2] = parameter.data
    masked.mask = torch.tensor([1.0, 1, 0, 0], dtype=torch.double)[:, None, None]
    x = random(5, 4, 3, 3)
    torch.testing.assert_close(masked(x)[:, :2], plain(x[:, :2]), rtol=1e-12, atol=1e-12)


def test_gradients_of_a_masked_layer_norm_are_its_differences() -> None:
    def normed(x: Tensor, weight: Tensor, bias: Tensor, mask: Tensor) -> Tensor:
        return torch.func.functional_call(norm, {"weight": weight, "bias": bias, "mask": mask}, (x,))

    norm = layer_norms((5,))[1]
    norm.register_buffer("mask", torch.ones(5))
    arguments = [random(2, 3, 5), random(5), random(5), torch.tensor([1, 0.9, 0.9, 0.4, 0.1], dtype=torch.double)]
    assert torch.autograd.gradcheck(normed, [argument.requires_grad_() for argument in arguments])


def test_where_a_mask_is_zero_everywhere_so_is_the_output_and_nothing_is_nan() -> None:
    _, norm = layer_norms((4,), bias=False)
    norm.mask = torch.zeros(4, dtype=torch.double, requires_grad=True)
    norm.weight.data.zero_()
    x = random(2, 4).requires_grad_()
    output = norm(x)
    output.sum().backward()
    assert not output.any()
    assert x.grad.isfinite().all() and norm.mask.grad.isfinite().all()


def test_layer_norms_whose_weights_are_masked_become_masked_ones() -> None:
    module = nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 4), nn.LayerNorm(4))
    assert mask_layer_norms(module, ["0.weight", "1.weight"]) == ["0"]
    assert [type(layer) for layer in module] == [MaskedLayerNorm, nn.Linear, nn.LayerNorm]
