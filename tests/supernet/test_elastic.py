"""Laws of entangled weights: a smaller operator is a slice, and touches nothing else."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hwnas.core.operator import Operator
from hwnas.errors import SpaceError
from hwnas.operators.conv import ConvBlock, MBConv
from hwnas.supernet.elastic import ElasticLayer

KERNELS, EXPANSIONS, WIDTHS = (3, 5, 7), (1, 2, 4), (4, 8)


def mbconv(kernel=7, expansion=4, width=8, gate=False, shortcut=False) -> MBConv:
    """By default the largest without a gate. The input is as wide as the output."""
    return MBConv(
        input_shape=(width, 6, 6),
        channels=width,
        kernel=kernel,
        expansion=expansion,
        squeeze_excite=gate,
        shortcut=shortcut,
    )


def every_mbconv() -> list[Operator]:
    return [
        mbconv(kernel, expansion, width, gate, shortcut)
        for kernel in KERNELS
        for expansion in EXPANSIONS
        for width in WIDTHS
        for gate in (False, True)
        for shortcut in (False, True)
    ]


OPERATORS = st.builds(
    mbconv,
    st.sampled_from(KERNELS),
    st.sampled_from(EXPANSIONS),
    st.sampled_from(WIDTHS),
    st.booleans(),
    st.booleans(),
)


@pytest.fixture(scope="module")
def layer() -> ElasticLayer:
    """Weights and statistics random, so that no part of them can be missed."""
    torch.manual_seed(0)
    layer = ElasticLayer("block", every_mbconv()).double()
    for name, tensor in layer.state_dict().items():
        # Small in the gates, which are flat away from zero.
        tensor.copy_(torch.rand_like(tensor) * 0.02 if "squeeze" in name else torch.rand_like(tensor) + 0.5)
    return layer


def input_of(operator: Operator, samples: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(samples, *operator.input_shape, generator=generator, dtype=torch.float64)


def touched(layer: ElasticLayer, operator: Operator) -> dict[str, Tensor]:
    """Masks over the shared tensors: true on the slices that make up the operator."""
    masks = {name: torch.zeros_like(tensor) for name, tensor in layer.state_dict().items()}
    hidden, squeezed, width, kernel = operator.hidden, operator.squeezed, operator.channels, operator.kernel
    lead = (max(KERNELS) - kernel) // 2
    centre = slice(lead, lead + kernel)
    prefix = f"{operator.family}/"

    def mark(name: str, *index: slice) -> None:
        masks[prefix + name][index] = 1

    def mark_norm(name: str, channels: int) -> None:
        for part in ("weight", "bias", "running_mean", "running_var"):
            mark(f"{name}/{part}", slice(channels))

    if operator.expansion > 1:
        mark("expand/weight", slice(hidden), slice(width))
        mark_norm("expand_norm", hidden)
    mark("depthwise/weight", slice(hidden), slice(None), centre, centre)
    mark_norm("depthwise_norm", hidden)
    if operator.squeeze_excite:
        mark("squeeze_excite/reduce/weight", slice(squeezed), slice(hidden))
        mark("squeeze_excite/reduce/bias", slice(squeezed))
        mark("squeeze_excite/expand/weight", slice(hidden), slice(squeezed))
        mark("squeeze_excite/expand/bias", slice(hidden))
    mark("project/weight", slice(width), slice(hidden))
    mark_norm("project_norm", width)
    return {name: mask.bool() for name, mask in masks.items()}


@given(OPERATORS)
@settings(max_examples=40)
def test_an_operators_weights_are_first_channels_and_centres_of_kernels(layer: ElasticLayer, operator) -> None:
    masks = touched(layer, operator)
    shared = layer.state_dict()
    slices = layer.slices(operator)
    assert {f"{operator.family}/{name}".replace(".", "/") for name in slices} == {
        name for name, mask in masks.items() if mask.any()
    }
    for name, tensor in slices.items():
        stored = f"{operator.family}/{name}".replace(".", "/")
        assert torch.equal(tensor.reshape(-1), shared[stored][masks[stored]])


@given(OPERATORS)
@settings(max_examples=40)
def test_gradients_outside_the_slice_are_exactly_zero(layer: ElasticLayer, operator) -> None:
    masks = touched(layer, operator)
    layer.zero_grad()
    output = layer.train()(input_of(operator), operator)
    (output * torch.randn_like(output)).sum().backward()
    for name, parameter in layer.named_parameters():
        if not masks[name].any():
            assert parameter.grad is None
            continue
        assert torch.count_nonzero(parameter.grad[~masks[name]]) == 0
        assert torch.count_nonzero(parameter.grad[masks[name]]) > 0


@given(OPERATORS)
@settings(max_examples=40)
def test_training_updates_statistics_of_the_slice_and_only_those(layer: ElasticLayer, operator) -> None:
    masks = touched(layer, operator)
    before = {name: buffer.clone() for name, buffer in layer.named_buffers()}
    layer.train()(input_of(operator), operator)
    for name, buffer in layer.named_buffers():
        changed = buffer != before[name]
        assert torch.equal(changed, masks[name]), name


@given(OPERATORS)
@settings(max_examples=20)
def test_judging_changes_no_statistics(layer: ElasticLayer, operator) -> None:
    before = {name: buffer.clone() for name, buffer in layer.named_buffers()}
    layer.eval()(input_of(operator), operator)
    assert all(torch.equal(buffer, before[name]) for name, buffer in layer.named_buffers())


def test_a_step_on_a_small_operator_changes_the_large_ones_slice_and_only_that(layer: ElasticLayer) -> None:
    small, large = mbconv(kernel=3, expansion=2, width=4), mbconv()
    layer.zero_grad()
    before = {name: tensor.clone() for name, tensor in layer.slices(large).items()}
    masks = touched(layer, small)
    layer.eval()(input_of(small), small).square().sum().backward()
    torch.optim.SGD([p for p in layer.parameters() if p.grad is not None], lr=1e-3).step()
    for name, tensor in layer.slices(large).items():
        if name.endswith(("running_mean", "running_var")):
            assert torch.equal(tensor, before[name])
        else:
            changed = (tensor != before[name]).detach()
            assert changed.any()
            assert not changed[~masks[f"{large.family}/{name}".replace(".", "/")]].any()


def test_operators_of_different_families_share_nothing(layer: ElasticLayer) -> None:
    straight, residual = mbconv(), mbconv(shortcut=True)
    stored = [{tensor.data_ptr() for tensor in layer.slices(operator).values()} for operator in (straight, residual)]
    assert straight.family != residual.family
    assert not stored[0] & stored[1]


def test_operators_of_one_family_share_everything_they_have_in_common(layer: ElasticLayer) -> None:
    gated = {name: tensor.data_ptr() for name, tensor in layer.slices(mbconv(gate=True)).items()}
    plain = {name: tensor.data_ptr() for name, tensor in layer.slices(mbconv()).items()}
    assert plain.items() <= gated.items()
    assert {name for name in gated if name not in plain} == {
        f"squeeze_excite.{side}.{part}" for side in ("reduce", "expand") for part in ("weight", "bias")
    }


@pytest.mark.parametrize("order", [list, lambda operators: operators[::-1]], ids=["as listed", "reversed"])
def test_every_shared_tensor_is_as_large_as_the_largest_operator_whatever_the_order(order: Callable) -> None:
    layer = ElasticLayer("block", order(every_mbconv()))
    for shortcut in (False, True):
        largest = mbconv(gate=True, shortcut=shortcut)
        shapes = {name: tensor.shape for name, tensor in layer.slices(largest).items()}
        stored = {name: tensor.shape for name, tensor in layer.state_dict().items() if f"{largest.family}/" in name}
        assert stored == {f"{largest.family}/{name}".replace(".", "/"): shape for name, shape in shapes.items()}


def test_a_family_without_a_largest_operator_is_refused() -> None:
    operators = [mbconv(kernel=3, expansion=4), mbconv(kernel=7, expansion=2)]
    message = (
        r"layer 'block', family 'mbconv-s1-g1': no operator has 'depthwise.weight' of the largest size along every axis"
    )
    with pytest.raises(SpaceError, match=message):
        ElasticLayer("block", operators)


def test_equal_operators_are_one() -> None:
    stem = ConvBlock(input_shape=(3, 8, 8), channels=4)
    assert ElasticLayer("stem", [stem, stem]).state_dict().keys() == ElasticLayer("stem", [stem]).state_dict().keys()
