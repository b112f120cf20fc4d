"""Laws of PyTorch as a runtime: what is timed is what is computed, torch is left as it was, and events add up."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import hwnas
from hwnas.errors import DeviceError, HwnasError
from hwnas.profiler.clock import Clock
from hwnas.profiler.device import TOLERANCES, conditions_here
from hwnas.profiler.profile import network_subject
from hwnas.profiler.runtime import Forms, RuntimeOptions, require_output
from hwnas.profiler.runtime_torch import (
    DTYPES,
    MEMORY_FORMATS,
    RUNTIME,
    TorchModel,
    _set_while,
    event_times_ns,
    tf32_settings,
)

SHAPE = (2, 3, 6, 6)
NEEDS_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def module() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5)).eval()


def batch(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(SHAPE, dtype=np.float32)


@torch.no_grad()
def answer(x: np.ndarray) -> np.ndarray:
    return module()(torch.from_numpy(x)).numpy()


@pytest.mark.parametrize("memory_format", MEMORY_FORMATS)
@pytest.mark.parametrize("precision", DTYPES)
def test_in_every_precision_and_format_outputs_are_those_of_torch(precision: str, memory_format: str) -> None:
    model = TorchModel(module(), RuntimeOptions(precision=precision, others={"memory_format": memory_format}))
    model.bind(batch(0))
    for seed in (0, 1):
        require_output(model, batch(seed), answer(batch(seed)), TOLERANCES[precision])
    assert model._output.dtype == DTYPES[precision]
    assert model._input.is_contiguous(memory_format=MEMORY_FORMATS[memory_format])


@pytest.mark.gpu
@NEEDS_CUDA
@pytest.mark.parametrize("launch", ["graph", "eager"])
@pytest.mark.parametrize("precision", DTYPES)
def test_on_cuda_too(precision: str, launch: str) -> None:
    conditions = conditions_here(
        "cuda", runtime="torch", precision=precision, batch=2, runtime_options={"launch": launch}
    )
    model, _ = conditions.load(Forms(module=module, onnx=lambda: b""))
    model.bind(batch(0))
    assert model.facts == {}
    for seed in (0, 1):  # bound once: the second is another input of the graph
        require_output(model, batch(seed), answer(batch(seed)), conditions.tolerance)
    times_ns = model.times_ns(20, Clock())
    assert (times_ns > 0).all() and times_ns.max() < 1e8


class Reading(nn.Module):
    """Waits for the GPU, which a graph cannot."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * float(x.sum().item() > 0)


@pytest.mark.gpu
@NEEDS_CUDA
def test_a_network_that_cannot_be_captured_runs_without_a_graph_and_the_next_has_one() -> None:
    stream = torch.cuda.current_stream()
    refused = TorchModel(Reading(), RuntimeOptions(device="cuda"))
    refused.bind(batch(0))
    assert refused.facts["cuda_graph"].startswith("refused: ")
    assert torch.cuda.current_stream() == stream
    for plain in (module(), nn.Identity()):
        model = TorchModel(plain, RuntimeOptions(device="cuda"))
        model.bind(batch(0))
        assert model.facts == {} and (model.times_ns(20, Clock()) > 0).all()


def test_torch_is_told_of_tf32_for_a_while_alone() -> None:
    before = [getattr(place, name) for place, name, _ in tf32_settings(True)]
    for allowed in (True, False):
        settings = tf32_settings(allowed)
        with _set_while(settings):
            assert [getattr(place, name) for place, name, _ in settings] == [value for *_, value in settings]
        assert [getattr(place, name) for place, name, _ in settings] == before
    assert torch.backends.cuda.matmul.allow_tf32 in (True, False)  # the older interface can still be read


def test_a_call_computes_the_bound_input_anew() -> None:
    model = TorchModel(module(), RuntimeOptions())
    model.bind(batch(0))
    with torch.inference_mode():
        model._output.zero_()
    assert len(model.times_ns(3, Clock())) == 3
    np.testing.assert_allclose(model._output.numpy(), answer(batch(0)), rtol=1e-4, atol=1e-5)


def test_torch_is_left_as_it_was() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        seen: list[int] = []
        model = TorchModel(module(), RuntimeOptions(threads=1))
        model.bind(batch(0))
        model._call = lambda: seen.append(torch.get_num_threads())
        model.times_ns(2, Clock())
        assert seen == [1, 1] and torch.get_num_threads() == 2 and torch.is_grad_enabled()
    finally:
        torch.set_num_threads(before)


def test_a_network_of_a_space_is_loaded_without_onnx_and_timed() -> None:
    space = hwnas.space("conv_macro", resolution=16)
    conditions = conditions_here("cpu", runtime="torch", batch=2)
    assert conditions.runtime == f"torch {torch.__version__}"
    model, size = network_subject(space, space.smallest(), conditions).load()
    assert size == space.cost("bytes", space.smallest())
    assert (model.times_ns(4, Clock()) > 0).all()


def test_tokens_stay_whole_numbers_in_half_precision() -> None:
    space = hwnas.space("gpt", embeddings=(32,), heads=(1,), ratios=(2,), layers=(1, 2), vocabulary=11, length=8)
    conditions = conditions_here("cpu", runtime="torch", precision="bf16")
    model, _ = network_subject(space, space.smallest(), conditions).load()
    assert (model.times_ns(2, Clock()) > 0).all()


# ---- events, on a device that is an arithmetic


class Stream:
    """Work that takes its time on a device, one after the other; the host does not wait for it."""

    def __init__(self) -> None:
        self.ms = 0.0
        self.synchronised = 0

    def work(self, ms: float) -> Callable[[], None]:
        def launch() -> None:
            self.ms += ms

        return launch

    def event(self) -> "Event":
        return Event(self)


class Event:
    def __init__(self, stream: Stream) -> None:
        self.stream = stream

    def record(self) -> None:
        self.at_ms = self.stream.ms

    def synchronize(self) -> None:
        self.stream.synchronised += 1

    def elapsed_time(self, later: "Event") -> float:
        return later.at_ms - self.at_ms


@given(st.lists(st.integers(1, 50), min_size=1, max_size=20), st.floats(1e-3, 10), st.booleans())
@settings(deadline=None)
def test_each_sample_is_the_mean_of_its_calls_and_flushing_counts_for_none(
    counts: list[int], ms: float, flushed: bool
) -> None:
    stream = Stream()
    flush = stream.work(7.0) if flushed else None
    times_ns = event_times_ns(stream.work(ms), counts, stream.event, flush)
    np.testing.assert_allclose(times_ns, np.full(len(counts), 1e6 * ms), rtol=1e-6)
    assert stream.synchronised == 1  # the host waits once, at the end
    assert stream.ms == pytest.approx(sum(counts) * ms + (7.0 * len(counts) if flushed else 0.0))


# ---- what is refused


def test_a_gpu_that_torch_does_not_find_is_named_with_what_is_missing() -> None:
    reason = RUNTIME.missing("cuda")
    if torch.cuda.is_available():
        assert reason is None
        return
    with pytest.raises(DeviceError, match=r"device cuda: PyTorch .*(is built without CUDA|finds no GPU)"):
        conditions_here("cuda", runtime="torch")


def test_int8_and_options_of_other_devices_are_refused() -> None:
    with pytest.raises(DeviceError, match="runtime torch on cpu does not compute in int8; --runtime onnxruntime does"):
        conditions_here("cpu", runtime="torch", precision="int8")
    with pytest.raises(HwnasError, match="unknown runtime option 'launch'; known: memory_format"):
        conditions_here("cpu", runtime="torch", runtime_options={"launch": "eager"})
