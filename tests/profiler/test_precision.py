"""Laws of precisions: a quantised model answers nearly as the network it came from, and is smaller."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import pytest
import torch

import hwnas
from hwnas.core.arch import Arch
from hwnas.core.space import SearchSpace
from hwnas.errors import ExportError, UnknownNameError
from hwnas.modules.assemble import network
from hwnas.profiler.device import conditions_here
from hwnas.profiler.export import example_input, export_onnx, to_onnx
from hwnas.profiler.precision import PRECISIONS
from hwnas.profiler.profile import like_trained, network_subject
from hwnas.profiler.runtime import RuntimeOptions, require_output
from hwnas.profiler.runtime_onnx import OnnxModel


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
    quantised = OnnxModel(PRECISIONS["int8"](plain, [x.numpy()]), RuntimeOptions())
    require_output(quantised, x.numpy(), module(x).detach().numpy(), tolerance=0.1)


def test_a_model_stays_as_it_is_in_fp32() -> None:
    model = to_onnx(torch.nn.Linear(2, 2), (2,))
    assert PRECISIONS["fp32"](model, []) is model


def test_what_is_profiled_in_int8_is_the_quantised_model() -> None:
    conditions = conditions_here("cpu", precision="int8", runtime_options={"slow_int8": "allowed"})
    _, size = network_subject(small(), small().largest(), conditions).load()
    _, full = network_subject(small(), small().largest(), conditions_here("cpu")).load()
    assert size < 0.5 * full
    assert json.loads(json.dumps(conditions.describe()))["precision"] == "int8"
