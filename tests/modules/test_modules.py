"""Laws of plain modules: they have the shapes and costs their operators state."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from hwnas.core.operator import Operator
from hwnas.modules.assemble import module_name, network
from hwnas.modules.build import build
from hwnas.operators import cells
from hwnas.operators import transformer as tokens
from hwnas.operators.conv import ConvBlock, FlattenClassifier, MBConv, PlainConv, PoolClassifier, Resize
from hwnas.operators.dense import PixelClassifier

CHANNELS = st.integers(1, 12)
SHAPES = st.tuples(CHANNELS, st.integers(1, 11), st.integers(1, 11))
STRIDES = st.sampled_from([1, 2, 3])
OPERATORS = st.one_of(
    st.builds(ConvBlock, input_shape=SHAPES, channels=CHANNELS, kernel=st.sampled_from([1, 3, 5, 7]), stride=STRIDES),
    st.builds(
        MBConv,
        input_shape=SHAPES,
        channels=CHANNELS,
        kernel=st.sampled_from([1, 3, 5, 7]),
        expansion=st.integers(1, 4),
        stride=STRIDES,
        squeeze_excite=st.booleans(),
    ),
    st.builds(PoolClassifier, input_shape=SHAPES, features=CHANNELS, classes=st.integers(2, 5)),
    st.builds(
        PixelClassifier, input_shape=SHAPES, features=CHANNELS, classes=st.integers(1, 5), scale=st.integers(1, 4)
    ),
    st.builds(Resize, input_shape=SHAPES, resolution=st.integers(1, 12)),
)


@given(OPERATORS)
@settings(max_examples=60)
def test_an_operators_cost_is_what_its_module_has(measured_cost, operator: Operator) -> None:
    assert measured_cost(build(operator), operator.input_shape) == operator.cost()


SMALL = st.integers(1, 9)
TOKENS = st.tuples(SMALL, SMALL)
EVEN = st.tuples(CHANNELS, st.sampled_from([2, 4, 6]), st.sampled_from([2, 4, 6]))
MORE_OPERATORS = st.one_of(
    st.builds(
        lambda channels, side, **rest: MBConv(
            input_shape=(channels, side, side), channels=channels, kernel=3, shortcut=True, **rest
        ),
        SMALL,
        SMALL,
        expansion=st.integers(1, 4),
        squeeze_excite=st.booleans(),
        always_expand=st.booleans(),
    ),
    st.builds(PlainConv, input_shape=EVEN, channels=CHANNELS, kernel=st.just(3), pool=st.booleans()),
    st.builds(
        FlattenClassifier,
        input_shape=st.tuples(CHANNELS, st.integers(3, 6), st.integers(3, 6)),
        features=CHANNELS,
        hidden=st.lists(st.integers(1, 90), max_size=2).map(tuple),
        classes=SMALL,
    ),
    st.builds(cells.Reduction, input_shape=EVEN),
    st.builds(cells.ReluConv, input_shape=SHAPES, kernel=st.sampled_from([1, 3])),
    st.builds(cells.NormClassifier, input_shape=SHAPES, classes=st.integers(1, 90)),
    st.builds(tokens.Attention, input_shape=TOKENS, heads=st.integers(1, 3), head_size=st.integers(1, 3)),
    st.builds(tokens.FeedForward, input_shape=TOKENS, hidden=st.integers(1, 30)),
    st.builds(tokens.TokenClassifier, input_shape=TOKENS, classes=st.integers(1, 90)),
    st.builds(tokens.TokenEmbedding, input_shape=st.tuples(SMALL), tokens=SMALL, embedding=st.integers(1, 4)),
    st.builds(tokens.LanguageHead, input_shape=TOKENS, tokens=st.integers(1, 30)),
)


@given(OPERATORS | MORE_OPERATORS)
@settings(max_examples=200)
def test_an_operators_peak_is_what_its_module_has_alive_at_once(measured_peak, operator: Operator) -> None:
    assert measured_peak(build(operator), operator.input_shape, operator.vocabulary) == operator.peak_bytes()


@given(OPERATORS, st.booleans())
@settings(max_examples=60)
def test_a_modules_output_has_the_operators_shape_and_its_input_is_left_alone(operator: Operator, training) -> None:
    module = build(operator).train(training)
    x = torch.randn(3, *operator.input_shape) + torch.arange(3).view(3, 1, 1, 1)  # no channel is constant
    before = x.clone()
    assert module(x).shape == (3, *operator.output_shape)
    assert torch.equal(x, before)


@pytest.mark.parametrize("expansion", [1, 3])
@pytest.mark.parametrize("squeeze_excite", [False, True])
def test_a_shortcut_adds_the_input(expansion: int, squeeze_excite: bool) -> None:
    shape = {"input_shape": (4, 6, 6), "channels": 4, "kernel": 3, "expansion": expansion}
    with_shortcut = build(MBConv(**shape, squeeze_excite=squeeze_excite, shortcut=True)).eval()
    without = build(MBConv(**shape, squeeze_excite=squeeze_excite)).eval()
    without.load_state_dict(with_shortcut.state_dict())
    x = torch.randn(2, 4, 6, 6)
    assert not torch.equal(without(x), torch.zeros_like(x))
    assert torch.equal(with_shortcut(x), x + without(x))


def test_squeeze_excite_scales_channels_by_a_gate_of_their_means() -> None:
    operator = MBConv(input_shape=(3, 5, 5), channels=4, kernel=3, expansion=2, squeeze_excite=True)
    gate = build(operator).squeeze_excite
    x = torch.randn(2, 6, 5, 5)
    for layer in (gate.reduce, gate.expand):
        nn.init.normal_(layer.weight)
    reduced = torch.relu(x.mean((2, 3)) @ gate.reduce.weight[:, :, 0, 0].T + gate.reduce.bias)
    scale = ((reduced @ gate.expand.weight[:, :, 0, 0].T + gate.expand.bias) / 6 + 0.5).clamp(0, 1)
    torch.testing.assert_close(gate(x), x * scale[:, :, None, None])


def test_half_the_resolution_is_the_means_of_four_pixels() -> None:
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(build(Resize(input_shape=(3, 8, 8), resolution=4))(x), F.avg_pool2d(x, 2))


def normalised(norm: nn.BatchNorm2d, x: torch.Tensor) -> torch.Tensor:
    return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=1e-5)


@torch.no_grad()
def disturbed(operator: Operator) -> nn.Module:
    """The operator's module with every statistic and every scale its own."""
    module = build(operator).eval()
    for norm in (layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)):
        for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            tensor.copy_(torch.rand_like(tensor) + 0.1)
    return module


def test_a_conv_block_is_convolution_norm_relu() -> None:
    module = disturbed(ConvBlock(input_shape=(3, 8, 7), channels=6, kernel=5, stride=2))
    x = torch.randn(2, 3, 8, 7)
    expected = F.relu(normalised(module.norm, F.conv2d(x, module.conv.weight, stride=2, padding=2)))
    torch.testing.assert_close(module(x), expected)


def test_mbconv_is_expansion_depthwise_projection_without_an_activation_at_its_end() -> None:
    module = disturbed(MBConv(input_shape=(3, 8, 7), channels=6, kernel=5, expansion=4, stride=2))
    x = torch.randn(2, 3, 8, 7)
    hidden = F.relu(normalised(module.expand_norm, F.conv2d(x, module.expand.weight)))
    hidden = F.conv2d(hidden, module.depthwise.weight, stride=2, padding=2, groups=12)
    hidden = F.relu(normalised(module.depthwise_norm, hidden))
    expected = normalised(module.project_norm, F.conv2d(hidden, module.project.weight))
    torch.testing.assert_close(module(x), expected)


def test_a_classifier_is_convolution_norm_relu_mean_linear() -> None:
    module = disturbed(PoolClassifier(input_shape=(3, 4, 5), features=8, classes=2))
    x = torch.randn(2, 3, 4, 5)
    features = F.relu(normalised(module.norm, F.conv2d(x, module.conv.weight))).mean((2, 3))
    torch.testing.assert_close(module(x), F.linear(features, module.linear.weight, module.linear.bias))


def test_a_networks_modules_are_the_layers_where_something_stands(tiny_space) -> None:
    for arch in (tiny_space.smallest(), tiny_space.largest()):
        standing = [layer.name for layer in tiny_space.layers if layer.operator(arch)]
        assert [name for name, _ in network(tiny_space, arch).named_children()] == [module_name(n) for n in standing]
    assert module_name("stage1.block2") == "stage1_block2"


def test_a_new_network_is_initialised_afresh(tiny_space) -> None:
    one, other = (network(tiny_space, tiny_space.smallest()) for _ in range(2))
    assert not torch.equal(one.stem.conv.weight, other.stem.conv.weight)
