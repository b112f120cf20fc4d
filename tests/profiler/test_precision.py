"""Laws of precisions: a quantised model answers nearly as the network it came from, and is smaller; blocks may have their own."""

import json
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import hwnas
from hwnas.core.arch import Arch
from hwnas.core.operations import precision_choices
from hwnas.core.precise import PRECISIONS
from hwnas.core.space import SearchSpace
from hwnas.errors import ExportError, UnknownNameError
from hwnas.modules.assemble import network
from hwnas.profiler.device import conditions_here
from hwnas.profiler.export import deployed_onnx, example_input, export_onnx, to_onnx
from hwnas.profiler.precision import converted
from hwnas.profiler.profile import like_trained, network_subject
from hwnas.profiler.runtime import RuntimeOptions, require_output
from hwnas.profiler.runtime_onnx import OnnxModel
from hwnas.spaces import with_precisions


def small() -> SearchSpace:
    return hwnas.space("mobilenet", resolution=16, width=0.5)


def built(space: SearchSpace, arch: Arch) -> torch.nn.Module:
    torch.manual_seed(0)
    return like_trained(network(space, arch)).eval()


QUANTISABLE: Final[Mapping[str, Mapping[str, Any]]] = {
    "mobilenet": {"resolution": 16, "width": 0.5},
    "fbnet": {"resolution": 32, "width": 0.25},
    "proxyless": {"resolution": 32, "width": 0.25},
    "ofa": {"resolutions": (24, 32), "width": 0.25},
    "nasbench201": {"width": 4, "cells": 1},
    "conv_macro": {},
    "vit": {"resolution": 16, "embeddings": (32,), "depths": (2,), "heads": (2,), "head_size": 16},
    "gpt": {"embeddings": (32,), "heads": (2,), "layers": (2,), "length": 16},
}


def test_a_quantised_file_has_quantised_nodes_and_is_smaller_and_answers_alike(tmp_path: Path) -> None:
    module, shape = built(small(), small().largest()), small().input_shape
    inputs = [example_input(shape, 2).numpy() + 0.1 * number for number in range(4)]
    for precision in PRECISIONS:
        export_onnx(module, shape, tmp_path / precision, batch=2, precision=precision, calibration=inputs)
    assert (tmp_path / "int8").stat().st_size < 0.5 * (tmp_path / "fp32").stat().st_size
    kinds = {node.op_type for node in onnx.load(tmp_path / "int8").graph.node}
    assert {"QuantizeLinear", "DequantizeLinear", "Conv"} <= kinds
    answers = [OnnxModel((tmp_path / name).read_bytes(), RuntimeOptions()).run(inputs[1]) for name in PRECISIONS]
    assert 0 < np.abs(answers[0] - answers[1]).max() < 0.2 * max(1, np.abs(answers[0]).max())


def test_a_precision_that_cannot_be_is_refused(tmp_path: Path) -> None:
    module = torch.nn.Linear(4, 4)
    with pytest.raises(ExportError, match="precision int8 needs inputs to calibrate on"):
        export_onnx(module, (4,), tmp_path / "a.onnx", precision="int8")
    with pytest.raises(UnknownNameError, match="unknown precision 'int4'; known: fp32, int8"):
        export_onnx(module, (4,), tmp_path / "a.onnx", precision="int4")


@pytest.mark.parametrize(("name", "options"), QUANTISABLE.items())
def test_networks_of_every_space_answer_alike_in_int8(name: str, options: dict[str, Any]) -> None:
    space = hwnas.space(name, **options)
    module = built(space, space.largest())
    x = example_input(space.input_shape, 1, space.vocabulary)
    plain = to_onnx(module, space.input_shape, vocabulary=space.vocabulary)
    quantised = OnnxModel(converted(plain, [x.numpy()], {"": "int8"}), RuntimeOptions())
    require_output(quantised, x.numpy(), module(x).detach().numpy(), tolerance=0.1)


def test_a_model_stays_as_it_is_in_fp32() -> None:
    model = to_onnx(torch.nn.Linear(2, 2), (2,))
    assert converted(model, [], {"": "fp32"}) is model


def test_what_is_profiled_in_int8_is_the_quantised_model() -> None:
    conditions = conditions_here("cpu", precision="int8", runtime_options={"slow_int8": "allowed"})
    _, size = network_subject(small(), small().largest(), conditions).load()
    _, full = network_subject(small(), small().largest(), conditions_here("cpu")).load()
    assert size < 0.5 * full
    assert json.loads(json.dumps(conditions.describe()))["precision"] == "int8"


# ---- blocks of their own precision


def in_int8(space: SearchSpace, layers: Collection[str]) -> Arch:
    """The largest network with these layers in int8."""
    chosen = {name: "int8" for layer, name in precision_choices(space).items() if layer in layers}
    return space.arch({**space.largest(), **chosen})


def exported(space: SearchSpace, arch: Arch, precision: str = "fp32") -> bytes:
    x = example_input(space.input_shape, 2, space.vocabulary).numpy()
    module = built(space, arch)
    return deployed_onnx(module, space.input_shape, [x], precision=precision, batch=2, vocabulary=space.vocabulary)


def quantised_nodes(model: bytes) -> set[str]:
    """The nodes that read a dequantised weight, by name."""
    graph = onnx.load_model_from_string(model).graph
    quantised = {weight.name for weight in graph.initializer if weight.data_type == onnx.TensorProto.INT8}
    dequantised = {node.output[0] for node in graph.node if node.input and node.input[0] in quantised}
    return {node.name for node in graph.node if not dequantised.isdisjoint(node.input)}


def weights_of(model: bytes, data_type: int) -> int:
    """The number of weights of a type in matrices and convolutions."""
    tensors = onnx.load_model_from_string(model).graph.initializer
    return sum(math.prod(tensor.dims) for tensor in tensors if tensor.data_type == data_type and len(tensor.dims) > 1)


@pytest.mark.parametrize(("name", "options"), QUANTISABLE.items())
def test_networks_of_one_precision_are_those_without_the_choices(name: str, options: dict[str, Any]) -> None:
    plain = hwnas.space(name, **options)
    space = with_precisions(plain, ("fp32", "int8"))
    assert exported(space, space.largest()) == exported(plain, plain.largest())
    everything = exported(space, in_int8(space, precision_choices(space)))
    whole = exported(plain, plain.largest(), "int8")
    assert quantised_nodes(everything) == quantised_nodes(whole) != set()


@given(st.sets(st.sampled_from(["stem", "stage1.block1", "stage2.block3", "stage4.block2", "head"])))
@settings(max_examples=6, deadline=None)
def test_only_the_chosen_blocks_are_quantised_and_the_bytes_are_those_of_the_file(layers: set[str]) -> None:
    space = with_precisions(small(), ("fp32", "int8"))
    arch = in_int8(space, layers)
    model, largest = exported(space, arch), exported(space, space.largest())
    paths = tuple(f"/{layer.replace('.', '_')}/" for layer in layers)
    nodes = [node for node in onnx.load_model_from_string(largest).graph.node if node.op_type in ("Conv", "Gemm")]
    assert quantised_nodes(model) == {node.name for node in nodes if node.name.startswith(paths)}
    small_weights, large_weights = weights_of(model, onnx.TensorProto.INT8), weights_of(model, onnx.TensorProto.FLOAT)
    assert small_weights + large_weights == weights_of(largest, onnx.TensorProto.FLOAT)
    assert space.cost("bytes", space.largest()) - space.cost("bytes", arch) == 3 * small_weights
    for cost in ("params", "flops", "peak"):
        assert space.cost(cost, arch) == space.cost(cost, space.largest())


TRAINED: Final = """
from torch import nn
import torch

class Block(nn.Module):
    def __init__(self, narrow):
        super().__init__()
        self.wide, self.norm, self.narrow = nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), narrow(16, 8, 1)

    def forward(self, x):
        return x + self.narrow(torch.relu(self.norm(self.wide(x))))

class Attention(nn.Module):  # whose joint projection is stored in parts
    def __init__(self):
        super().__init__()
        self.qkv, self.out = nn.Linear(8, 24), nn.Linear(8, 8)

    def forward(self, x):
        q, k, v = (y.unflatten(-1, (2, 4)).transpose(1, 2) for y in self.qkv(x).chunk(3, -1))
        return x + self.out(nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

def make():
    torch.manual_seed(0)
    body = [Block(nn.Conv2d), nn.ConvTranspose2d(8, 8, 1), Block(nn.ConvTranspose2d), nn.Flatten(2), nn.Linear(36, 8)]
    body += [Attention(), Attention()]
    return nn.Sequential(nn.Conv2d(1, 8, 3), *body, nn.Flatten(), nn.Linear(64, 4)), torch.zeros(1, 1, 8, 8)
"""


def test_blocks_of_a_trained_network_have_precisions_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(TRAINED)
    space = with_precisions(hwnas.space("elastic", model=f"{tmp_path / 'mine.py'}:make"), ("fp32", "int8"))
    assert space.is_trained and "stage1.depth" in space.by_name
    # The quantiser leaves transposed convolutions as they are.
    assert {layer.name for layer in space.layers} - precision_choices(space).keys() == {"2"}
    for layer in precision_choices(space):
        arch = in_int8(space, {layer})
        file = exported(space, arch)
        assert quantised_nodes(file) and all(node.startswith(f"/{layer}/") for node in quantised_nodes(file))
        weights = weights_of(file, onnx.TensorProto.INT8)
        assert space.cost("bytes", space.largest()) - space.cost("bytes", arch) == 3 * weights


def test_a_mixed_file_is_checked_and_needs_inputs_to_calibrate_on(tmp_path: Path) -> None:
    space = with_precisions(small(), ("fp32", "int8"))
    module = built(space, in_int8(space, {"stem"}))
    with pytest.raises(ExportError, match="precision int8 needs inputs to calibrate on"):
        export_onnx(module, space.input_shape, tmp_path / "a.onnx")
    inputs = [example_input(space.input_shape, 1).numpy()]
    export_onnx(module, space.input_shape, tmp_path / "a.onnx", calibration=inputs)
    assert quantised_nodes((tmp_path / "a.onnx").read_bytes()) == {"/stem/conv/Conv"}
