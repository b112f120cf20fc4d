"""Laws of the dense head that are its own; costs, peaks and shapes of all operators are in tests/modules."""

import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import hwnas
from hwnas.modules.build import build
from hwnas.operators.dense import PixelClassifier
from hwnas.profiler.export import to_onnx
from hwnas.supernet.check import require_mixable
from hwnas.supernet.elastic import ElasticLayer
from hwnas.supernet.network import Supernet

HEAD = PixelClassifier(input_shape=(6, 3, 5), features=8, classes=4, scale=2)


def head(channels: int, scale: int = 2) -> PixelClassifier:
    return PixelClassifier(input_shape=(channels, 3, 5), features=8, classes=4, scale=scale)


@given(st.integers(1, 4), st.integers(0, 2), st.integers(0, 4))
@settings(max_examples=20)
def test_a_position_decides_the_pixels_of_its_square_alone(scale: int, row: int, column: int) -> None:
    module = build(head(6, scale)).eval()
    x = torch.randn(1, 6, 3, 5)
    changed = x.clone()
    changed[:, :, row, column] += 1
    with torch.no_grad():
        differs_HW = (module(x) != module(changed)).any(dim=1)[0]
    square = torch.zeros_like(differs_HW)
    square[row * scale : (row + 1) * scale, column * scale : (column + 1) * scale] = True
    assert differs_HW[square].any()
    assert not differs_HW[~square].any()


def test_a_pixel_has_the_logits_of_its_place_in_the_square() -> None:
    module = build(HEAD).eval()
    x = torch.randn(2, 6, 3, 5)
    with torch.no_grad():
        coarse = module.classify(torch.relu(module.norm(module.conv(x)))).view(2, 4, 2, 2, 3, 5)
        output = module(x)
    for row, column in ((0, 0), (3, 7), (5, 9)):
        expected = coarse[:, :, row % 2, column % 2, row // 2, column // 2]
        assert torch.equal(output[:, :, row, column], expected)


def test_heads_of_narrower_inputs_run_on_the_first_channels_of_the_widest() -> None:
    layer = ElasticLayer("head", [head(3), head(6)]).eval()
    narrow, wide = head(3), head(6)
    assert layer.group(narrow) == layer.group(wide)
    x = torch.randn(2, 3, 3, 5)
    padded = torch.cat([x, torch.zeros(2, 3, 3, 5)], dim=1)
    torch.testing.assert_close(layer(x, narrow), layer(padded, wide))


def test_a_space_with_a_dense_head_can_be_mixed_layer_by_layer() -> None:
    space = hwnas.space("mobilenet", resolution=16, width=0.25, classes=3, head="dense")
    x = torch.randn(2, *space.input_shape)
    supernet = Supernet(space)
    require_mixable(supernet, x, [space.smallest(), space.largest()])
    uniform = {choice.name: torch.full((len(choice.options),), 1 / len(choice.options)) for choice in space.choices}
    assert supernet(x, uniform).shape == (2, *space.output_shape)


def test_heads_of_different_scales_share_no_weights() -> None:
    layer = ElasticLayer("head", [head(6, 1), head(6, 2)])
    assert layer.group(head(6, 1)) != layer.group(head(6, 2))


@pytest.mark.parametrize("scale", [1, 2])
def test_an_exported_head_has_static_shapes(scale: int) -> None:
    operator = head(6, scale)
    model = onnx.load_model_from_string(to_onnx(build(operator), operator.input_shape, batch=3))
    (output,) = model.graph.output
    assert [axis.dim_value for axis in output.type.tensor_type.shape.dim] == [3, *operator.output_shape]
    assert {node.op_type for node in model.graph.node} <= {"Conv", "BatchNormalization", "Relu", "DepthToSpace"}
