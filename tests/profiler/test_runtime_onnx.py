"""Laws of running a model: a bound call computes what a run computes, and what cannot be run is said to be so."""

from functools import cache
from importlib.metadata import packages_distributions
from importlib.metadata import version as installed

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from hwnas.errors import DeviceError, ExportError
from hwnas.profiler.clock import Clock
from hwnas.profiler.export import to_onnx
from hwnas.profiler.runtime import RuntimeOptions
from hwnas.profiler.runtime_onnx import PROVIDERS, RUNTIME, OnnxModel, provider_options

SHAPE = (3, 6, 6)
OUTPUT = (2, 4, 4, 4)


@cache
def model_bytes() -> bytes:
    """Two samples in, a convolution, a ReLU."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return to_onnx(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), SHAPE, batch=2)


def loaded(threads: int = 1) -> OnnxModel:
    return OnnxModel(model_bytes(), RuntimeOptions(threads=threads))


def batch(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((2, *SHAPE), dtype=np.float32)


def bound_output(model: OnnxModel) -> np.ndarray:
    """Returns the output of the last call. Timing never reads the output, so the model has no public way to."""
    return model._result.numpy()


@given(st.integers(0, 2**32), st.integers(0, 2**32))
@settings(max_examples=20, deadline=None)
def test_a_bound_call_computes_what_a_run_computes(first: int, second: int) -> None:
    model = loaded()
    for seed in (first, second):  # binding again replaces the input
        model.bind(batch(seed))
        model.call()
        np.testing.assert_array_equal(bound_output(model), model.run(batch(seed)))
    assert model.run(batch(first)).shape == OUTPUT


def test_a_call_does_the_work_anew_each_time() -> None:
    model = loaded()
    model.bind(batch(0))
    written = torch.from_dlpack(model._result)
    expected = written.clone()
    written.zero_()
    model.call()
    assert expected.any() and torch.equal(torch.from_dlpack(model._result), expected)


def test_an_input_that_is_not_contiguous_is_bound_as_what_it_holds() -> None:
    x = np.ascontiguousarray(batch(0).transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    assert not x.flags.c_contiguous
    model = loaded()
    model.bind(x)
    model.call()
    np.testing.assert_array_equal(bound_output(model), model.run(batch(0)))


def test_the_input_shape_includes_the_batch_axis() -> None:
    assert loaded().input_shape == (2, *SHAPE)


def test_more_threads_compute_the_same() -> None:
    np.testing.assert_allclose(loaded(threads=2).run(batch(0)), loaded().run(batch(0)), rtol=1e-5, atol=1e-6)


@given(st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_a_model_cut_short_anywhere_cannot_be_loaded(end: int) -> None:
    with pytest.raises(ExportError, match="ONNX Runtime cannot load the model: "):
        OnnxModel(model_bytes()[: end % len(model_bytes())], RuntimeOptions())


@given(position=st.integers(0, 2**32), flip=st.integers(1, 255))
@settings(max_examples=150, deadline=None, derandomize=True)  # always the same damage to a foreign parser
def test_a_model_with_one_wrong_byte_is_refused_or_runs(position: int, flip: int) -> None:
    damaged = bytearray(model_bytes())
    damaged[position % len(damaged)] ^= flip
    try:
        model = OnnxModel(bytes(damaged), RuntimeOptions())
    except ExportError as error:
        assert "\n" not in str(error)
    else:
        assert model.input_shape


@given(st.binary(max_size=200))
@settings(max_examples=60, deadline=None)
def test_what_is_no_model_is_refused(content: bytes) -> None:
    with pytest.raises(ExportError, match="cannot load the model"):
        OnnxModel(content, RuntimeOptions())


def test_a_refused_model_leaves_stdout_to_the_answer(capfd: pytest.CaptureFixture[str]) -> None:
    # A message that is not UTF-8 makes onnxruntime's Python layer print and try again, unless told not to.
    before, name, after = model_bytes().rpartition(b"/0/Conv_output_0")
    damaged = before + b"\xff" * len(name) + after
    with pytest.raises(ExportError, match="utf-8"):
        OnnxModel(damaged, RuntimeOptions())
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("threads", [0, -1])
def test_fewer_threads_than_one_are_refused(threads: int) -> None:
    with pytest.raises(DeviceError, match=f"threads must be at least 1, not {threads}"):
        RuntimeOptions(threads=threads)


@pytest.mark.skipif(RUNTIME.missing("cuda") is None, reason="onnxruntime here has CUDA")
def test_a_provider_that_is_not_here_is_an_error_before_anything_runs_elsewhere() -> None:
    with pytest.raises(DeviceError, match="no CUDAExecutionProvider"):
        OnnxModel(model_bytes(), RuntimeOptions(device="cuda"))


def test_a_provider_is_told_all_that_defaults_could_change() -> None:
    asked = RuntimeOptions(device="cuda", others={"tf32": "0"})
    told = provider_options(asked, graph=True)
    assert (told["use_tf32"], told["enable_cuda_graph"], told["cudnn_conv_algo_search"]) == ("0", "1", "EXHAUSTIVE")
    assert provider_options(asked, graph=False) == told | {"enable_cuda_graph": "0"}
    half = RuntimeOptions(device="tensorrt", precision="fp16")
    assert provider_options(half, graph=False)["trt_fp16_enable"] == "1"
    assert provider_options(RuntimeOptions(), graph=False) == {}


def test_every_device_is_usable_or_says_which_wheel_has_it() -> None:
    assert RUNTIME.missing("cpu") is None
    for device, (provider, wheel) in PROVIDERS.items():
        reason = RUNTIME.missing(device)
        assert reason is None or (provider in reason and f"install {wheel} " in reason)


def test_the_version_is_the_installed_one() -> None:
    assert RUNTIME.version() == installed(packages_distributions()["onnxruntime"][0])


@pytest.mark.gpu
@pytest.mark.skipif(
    RUNTIME.missing("cuda") is not None or not torch.cuda.is_available(),
    reason="needs onnxruntime-gpu and a CUDA device",
)
@pytest.mark.parametrize("changed", [{}, {"cuda_graph": "0"}, {"synchronise": "burst"}, {"tf32": "0"}])
def test_on_cuda_outputs_are_those_of_the_cpu_under_every_option(changed: dict[str, str]) -> None:
    model = OnnxModel(model_bytes(), RuntimeOptions(device="cuda", others=changed))
    for seed in (0, 1):
        model.bind(batch(seed))
        np.testing.assert_allclose(model.run(batch(seed)), loaded().run(batch(seed)), atol=5e-3)
    assert (model.times_ns(20, Clock()) > 0).all() and model.facts == {}


def test_repeating_computes_what_a_call_does() -> None:
    model = loaded()
    model.bind(batch(0))
    written = torch.from_dlpack(model._result)
    written.zero_()
    model.repeat(2)
    np.testing.assert_array_equal(bound_output(model), model.run(batch(0)))
