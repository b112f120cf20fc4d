"""Laws of export: a file computes what torch computes, or there is no file."""

import copy
import tempfile
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import hwnas
from hwnas.core.operator import Operator
from hwnas.errors import ExportError
from hwnas.modules.assemble import network
from hwnas.modules.build import build
from hwnas.operators.conv import ConvBlock, MBConv, PoolClassifier
from hwnas.profiler.export import annotate, checked, example_input, export_onnx, to_onnx
from hwnas.profiler.profile import like_trained
from hwnas.profiler.runtime import RuntimeOptions
from hwnas.profiler.runtime_onnx import OnnxModel

OPTIONS = RuntimeOptions()
SHAPE = (8, 7, 7)


def lively(module: nn.Module, seed: int = 0) -> nn.Module:
    """All weights and statistics random: a fresh batch-norm is nearly nothing, and would hide what it does wrong."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=generator) * 0.5 + (0.5 if "var" in name else -0.1))
    return module.eval()


def metadata(path: Path) -> dict[str, str]:
    return {item.key: item.value for item in onnx.load(path).metadata_props}


def small() -> nn.Module:
    return lively(build(ConvBlock(input_shape=SHAPE, channels=4)))


@st.composite
def operators(draw: st.DrawFn) -> Operator:
    shape = (draw(st.sampled_from([4, 8])), draw(st.integers(5, 9)), draw(st.integers(5, 9)))
    stride = draw(st.sampled_from([1, 2]))
    shortcut = stride == 1 and draw(st.booleans())
    mbconv = MBConv(
        input_shape=shape,
        channels=shape[0] if shortcut else 12,
        kernel=draw(st.sampled_from([3, 5, 7])),
        expansion=draw(st.sampled_from([1, 3])),
        stride=stride,
        squeeze_excite=draw(st.booleans()),
        shortcut=shortcut,
    )
    conv = ConvBlock(input_shape=shape, channels=6, kernel=draw(st.sampled_from([1, 3, 5])), stride=stride)
    return draw(st.sampled_from([mbconv, conv, PoolClassifier(input_shape=shape, features=16, classes=5)]))


# ---- the same numbers


@given(operator=operators(), batch=st.sampled_from([1, 4]), seed=st.integers(0, 2**16))
@settings(max_examples=15, deadline=None)
def test_every_operator_computes_in_onnx_what_it_computes_in_torch(operator: Operator, batch: int, seed: int) -> None:
    module = lively(build(operator), seed)
    content = to_onnx(module, operator.input_shape, batch=batch)
    model = checked(content, module, example_input(operator.input_shape, batch), OPTIONS)
    x = torch.randn((batch, *operator.input_shape), generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        expected = module(x).numpy()
    assert expected.shape == (batch, *operator.output_shape) and model.input_shape == tuple(x.shape)
    np.testing.assert_allclose(model.run(x.numpy()), expected, atol=1e-4 * max(1.0, np.abs(expected).max()))


def test_a_checked_model_is_ready_to_be_called() -> None:
    module = small()
    model = checked(to_onnx(module, SHAPE, batch=4), module, example_input(SHAPE, 4), OPTIONS)
    model.call()
    with torch.no_grad():
        np.testing.assert_allclose(model._result.numpy(), module(example_input(SHAPE, 4)).numpy(), atol=1e-4)


def test_a_module_in_training_mode_is_exported_as_it_infers() -> None:
    module = nn.Sequential(small(), nn.Dropout(0.9)).train()
    model = OnnxModel(to_onnx(module, SHAPE), OPTIONS)
    x = example_input(SHAPE, 1)
    with torch.no_grad():
        np.testing.assert_allclose(model.run(x.numpy()), module.eval()(x).numpy(), atol=1e-4)


def test_the_example_input_is_the_same_every_time_and_leaves_the_generator_of_torch_alone() -> None:
    before = torch.random.get_rng_state()
    assert torch.equal(example_input(SHAPE, 2), example_input(SHAPE, 2))
    assert torch.equal(torch.random.get_rng_state(), before)


class NextToken(nn.Sequential):
    """Ids below 11 to logits of as many."""

    def __init__(self) -> None:
        super().__init__(nn.Embedding(11, 6), nn.Linear(6, 11))


@pytest.mark.parametrize("batch", [1, 3])
def test_token_ids_give_in_onnx_what_they_give_in_torch(tmp_path: Path, batch: int) -> None:
    module = lively(NextToken())
    export_onnx(module, (8,), tmp_path / "a.onnx", batch=batch, vocabulary=11)
    model = OnnxModel((tmp_path / "a.onnx").read_bytes(), OPTIONS)
    (given_input,) = onnx.load(tmp_path / "a.onnx").graph.input
    assert given_input.type.tensor_type.elem_type == onnx.TensorProto.INT64
    ids = torch.randint(11, (batch, 8), generator=torch.Generator().manual_seed(1))
    model.bind(ids.numpy())
    model.call()
    with torch.no_grad():
        expected = module(ids).numpy()
    np.testing.assert_allclose(model.run(ids.numpy()), expected, atol=1e-5)
    np.testing.assert_allclose(model._result.numpy(), expected, atol=1e-5)


@given(st.integers(1, 1000), st.integers(1, 4))
@settings(deadline=None)
def test_example_ids_are_in_the_vocabulary_and_always_the_same(vocabulary: int, batch: int) -> None:
    ids = example_input((16,), batch, vocabulary)
    assert (ids.dtype, ids.shape) == (torch.int64, (batch, 16))
    assert ids.min() >= 0 and ids.max() < vocabulary
    assert torch.equal(ids, example_input((16,), batch, vocabulary))


# ---- other numbers


def changed(change: Callable[[nn.Module], None]) -> nn.Module:
    module = copy.deepcopy(small())
    with torch.no_grad():
        change(module)
    return module


def one_weight(module: nn.Module) -> None:
    module.conv.weight[0, 0, 0, 0] += 0.1


def no_number(module: nn.Module) -> None:
    module.norm.bias[0] = float("nan")


def statistics(module: nn.Module) -> None:
    module.norm.running_mean += 0.5


@pytest.mark.parametrize("change", [one_weight, no_number, statistics])
def test_the_model_of_another_module_is_refused(change: Callable[[nn.Module], None]) -> None:
    with pytest.raises(ExportError, match=r"output differs from torch's by .* \(allowed 1e-04\)"):
        checked(to_onnx(small(), SHAPE), changed(change), example_input(SHAPE, 1), OPTIONS)


def test_the_model_of_a_module_with_another_output_shape_is_refused() -> None:
    wider = build(ConvBlock(input_shape=SHAPE, channels=5))
    with pytest.raises(ExportError, match=r"has shape \(1, 4, 7, 7\), torch's \(1, 5, 7, 7\)"):
        checked(to_onnx(small(), SHAPE), wider, example_input(SHAPE, 1), OPTIONS)


class Countdown(nn.Module):
    """Computes something else at every call, so that no export of it can be right."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x * self.calls


def test_no_file_is_left_where_the_check_fails(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="differs"):
        export_onnx(Countdown(), SHAPE, tmp_path / "models" / "a.onnx")
    assert list(tmp_path.rglob("*")) == []


def test_a_failed_export_leaves_the_file_that_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    export_onnx(small(), SHAPE, path)
    content = path.read_bytes()
    with pytest.raises(ExportError, match="differs"):
        export_onnx(Countdown(), SHAPE, path)
    assert path.read_bytes() == content and list(tmp_path.iterdir()) == [path]


# ---- the file


@cache
def linear_bytes() -> bytes:
    return to_onnx(lively(nn.Linear(2, 3)), (2,))


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(st.dictionaries(TEXT, TEXT, max_size=4), st.dictionaries(TEXT, TEXT, max_size=4))
@settings(max_examples=25, deadline=None)
def test_annotations_add_to_the_metadata_and_lose_nothing(first: dict[str, str], second: dict[str, str]) -> None:
    model = linear_bytes()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.onnx"
        path.write_bytes(model)
        annotate(path, first)
        assert metadata(path) == first
        annotate(path, second)
        assert metadata(path) == first | second
        x = example_input((2,), 1).numpy()
        np.testing.assert_array_equal(OnnxModel(path.read_bytes(), OPTIONS).run(x), OnnxModel(model, OPTIONS).run(x))


def test_an_exported_file_is_a_valid_static_float_model_with_its_metadata(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.onnx"
    export_onnx(small(), SHAPE, path, batch=4, metadata={"hwnas.arch": '{"kernel":3}'})
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert metadata(path) == {"hwnas.arch": '{"kernel":3}'}
    (given_input,), (output,) = model.graph.input, model.graph.output
    assert (given_input.name, output.name) == ("input", "output")
    assert given_input.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert [axis.dim_value for axis in given_input.type.tensor_type.shape.dim] == [4, *SHAPE]


def test_exporting_warns_of_nothing() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        to_onnx(small(), SHAPE)
    assert [str(warning.message) for warning in caught] == []


# ---- batch sizes

SPACES: dict[str, dict[str, Any]] = {
    "mobilenet": {"resolution": 16, "width": 0.25},
    "fbnet": {"resolution": 32, "width": 0.25},
    "nasbench201": {"cells": 1},
    "conv_macro": {"resolution": 16, "features": 16},
    "vit": {"preset": "small_images"},
    "gpt": {"length": 16, "embeddings": [32], "heads": [2]},
}


@pytest.mark.parametrize("name", SPACES)
def test_a_file_with_an_open_batch_axis_computes_what_torch_computes_at_every_batch_size(
    name: str, tmp_path: Path
) -> None:
    space = hwnas.space(name, **SPACES[name])
    module = like_trained(network(space, space.smallest())).eval()
    path = tmp_path / "open.onnx"
    export_onnx(module, space.input_shape, path, batch="dynamic", vocabulary=space.vocabulary)
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [session.get_inputs()[0].shape[0], session.get_outputs()[0].shape[0]] == ["batch", "batch"]
    for batch in (1, 2, 5):
        x = example_input(space.input_shape, batch, space.vocabulary)
        with torch.no_grad():
            expected = module(x).numpy()
        (output,) = session.run(None, {"input": x.numpy()})
        np.testing.assert_allclose(output, expected, atol=1e-4 * max(1.0, np.abs(expected).max()))


def test_an_int8_file_may_have_an_open_batch_axis(tmp_path: Path) -> None:
    path, inputs = tmp_path / "open.onnx", [example_input(SHAPE, 1).numpy() for _ in range(2)]
    export_onnx(small(), SHAPE, path, batch="dynamic", precision="int8", calibration=inputs)
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [len(session.run(None, {"input": example_input(SHAPE, n).numpy()})[0]) for n in (1, 4)] == [1, 4]


class Fixed(nn.Module):
    """Writes the batch size that it first sees into its graph."""

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        return x_NCHW + torch.ones(len(x_NCHW.tolist()), 1, 1, 1)


def test_a_module_that_knows_one_batch_size_only_has_no_open_axis(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"open.onnx: .*batch size 3.*; give a fixed batch size|output"):
        export_onnx(Fixed(), SHAPE, tmp_path / "open.onnx", batch="dynamic")
    assert not (tmp_path / "open.onnx").exists()


class Exported(nn.Module):
    """Works only while it is exported."""

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        if not torch.onnx.is_in_onnx_export():
            raise ValueError("out of paint")
        return x_NCHW


def test_a_fixed_batch_size_is_advised_only_where_the_axis_is_open(tmp_path: Path) -> None:
    for batch, advice in ((2, ""), ("dynamic", "; give a fixed batch size")):
        with pytest.raises(ExportError, match=rf"a.onnx: the model fails at batch size \d: out of paint{advice}$"):
            export_onnx(Exported(), SHAPE, tmp_path / "a.onnx", batch=batch)
