"""Runs networks by PyTorch: on the CPU, and on CUDA by graph replay or eagerly, timed by events."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache, partial
from typing import Any, Final, final

import numpy as np
import torch
from torch import Tensor, nn

from hwnas.core.arrays import FloatArray
from hwnas.profiler.bursts import stamped
from hwnas.profiler.clock import Clock
from hwnas.profiler.runtime import (
    SAMPLE_NS,
    ArrayF32,
    Forms,
    InputArray,
    Model,
    RuntimeOptions,
    chosen,
    several,
    with_graph,
)

DTYPES: Final[Mapping[str, torch.dtype]] = {
    "fp32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
}
MEMORY_FORMATS: Final[Mapping[str, torch.memory_format]] = {
    "contiguous": torch.contiguous_format,
    "channels_last": torch.channels_last,
}
OPTIONS: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "cpu": {"memory_format": tuple(MEMORY_FORMATS)},
    "cuda": {
        "memory_format": tuple(MEMORY_FORMATS),
        # In a replayed graph the kernels follow each other; run eagerly, a network also takes the time of launching them.
        "launch": ("graph", "eager"),
        "tf32": ("1", "0"),
        "cudnn_benchmark": ("1", "0"),
        # A deployed network finds its weights in the cache, so the cache is emptied only on request.
        "flush_l2": ("0", "1"),
    },
}
# The calls before a graph is captured: libraries choose their algorithms, and allocate, on first use.
WARMUP_CALLS: Final = 3


@final
class TorchModel:
    """One module, loaded for inference."""

    facts: Mapping[str, str]

    def __init__(self, module: nn.Module, options: RuntimeOptions) -> None:
        values = chosen(OPTIONS[options.device], options.others)
        self._options, self._values = options, values
        self._device, self._dtype = torch.device(options.device), DTYPES[options.precision]
        self._format = MEMORY_FORMATS[values["memory_format"]]
        with torch.no_grad():
            self._module = module.eval().to(self._device, self._dtype)
            if any(parameter.dim() == 4 for parameter in module.parameters()):
                self._module = self._module.to(memory_format=self._format)  # type: ignore[call-overload]
        self._mean_ns = SAMPLE_NS
        self._input: Tensor | None = None
        self.facts = {}

    def bind(self, x: InputArray) -> None:
        """See `Model.bind`. A network whose graph cannot be captured runs eagerly, and the reason is a fact."""
        placed = self._placed(x)
        with self._running():
            if self._input is not None and self._input.shape == placed.shape:
                self._input.copy_(placed)
            elif self._device.type == "cuda":
                self._input = placed
                self._call, self.facts = with_graph(self._values["launch"] == "graph", self._launched)
            else:
                self._input, self._call = placed, self._eager
            self._call()

    def _placed(self, x: InputArray) -> Tensor:
        placed = torch.from_numpy(np.ascontiguousarray(x)).to(self._device)
        if placed.is_floating_point():
            placed = placed.to(self._dtype)
        if placed.dim() == 4:
            placed = placed.contiguous(memory_format=self._format)
        return placed.clone() if placed.device.type == "cpu" else placed  # the caller keeps its memory

    def _eager(self) -> None:
        assert self._input is not None
        output = self._module(self._input)
        # A network that does nothing returns its input: copied, because a graph must not be empty.
        self._output = output.clone() if output is self._input else output

    def _launched(self, graph: bool) -> Callable[[], Any]:
        """Warms the network up, and returns the function that launches it on the GPU."""
        before = torch.cuda.current_stream()
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(before)
        with torch.cuda.stream(side):
            for _ in range(WARMUP_CALLS):
                self._eager()
        before.wait_stream(side)
        if not graph:
            return self._eager
        captured = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(captured, pool=_pool()):
                self._eager()
        finally:
            torch.cuda.set_stream(before)  # after a failure torch would stay on the stream of the capture
        return captured.replay

    def times_ns(self, calls: int, clock: Clock) -> FloatArray:
        """See `Model.times_ns`. CUDA is timed between events, so that the GPU never waits for the clock to be read."""
        with self._running():
            if self._device.type == "cpu":
                return stamped(self._call)(calls, clock)
            flush = self._flushing()
            counts = several(calls, self._mean_ns) if flush is None else [1] * calls
            times_ns = event_times_ns(self._call, counts, partial(torch.cuda.Event, enable_timing=True), flush)
            self._mean_ns = max(1.0, float(times_ns.min()))
            return times_ns

    def repeat(self, calls: int) -> None:
        """See `Model.repeat`."""
        with self._running():
            for _ in range(calls):
                self._call()
            if self._device.type == "cuda":
                torch.cuda.synchronize()

    def _flushing(self) -> Callable[[], object] | None:
        """Returns the function that empties the L2 cache before a call, or None if that was not asked for."""
        if self._values["flush_l2"] == "0":
            return None
        size = torch.cuda.get_device_properties(self._device).L2_cache_size
        return torch.empty(2 * size, dtype=torch.int8, device=self._device).zero_

    def run(self, x: InputArray) -> ArrayF32:
        """See `Model.run`. The output is float32, whatever precision it was computed in."""
        self.bind(x)
        return self._output.float().cpu().numpy()

    @contextmanager
    def _running(self) -> Iterator[None]:
        """Sets torch as the options say, and restores its settings afterwards."""
        threads = torch.get_num_threads()
        with torch.inference_mode(), self._arithmetic():
            if self._device.type == "cpu":
                torch.set_num_threads(self._options.threads)
            try:
                yield
            finally:
                torch.set_num_threads(threads)

    def _arithmetic(self) -> AbstractContextManager[None]:
        """Sets TF32 and cuDNN's choice of algorithms, and restores them afterwards."""
        if self._device.type == "cpu":
            return nullcontext()
        benchmark = (torch.backends.cudnn, "benchmark", self._values["cudnn_benchmark"] == "1")
        return _set_while([benchmark, *tf32_settings(self._values["tf32"] == "1")])


def tf32_settings(allowed: bool) -> list[tuple[Any, str, Any]]:
    """Returns the settings of TF32: the object, the attribute and the value of each.

    Since 2.9 torch has another interface, and the two do not mix.
    """
    matmul: Any = torch.backends.cuda.matmul
    cudnn: Any = torch.backends.cudnn
    if hasattr(matmul, "fp32_precision"):
        precision = "tf32" if allowed else "ieee"
        return [(matmul, "fp32_precision", precision), (cudnn.conv, "fp32_precision", precision)]
    return [(matmul, "allow_tf32", allowed), (cudnn, "allow_tf32", allowed)]


@contextmanager
def _set_while(settings: Sequence[tuple[Any, str, Any]]) -> Iterator[None]:
    before = [getattr(place, name) for place, name, _ in settings]
    for place, name, value in settings:
        setattr(place, name, value)
    try:
        yield
    finally:
        for (place, name, _), value in zip(settings, before, strict=True):
            setattr(place, name, value)


@cache
def _pool() -> Any:
    """Returns memory that all graphs share.

    Sharing is safe, because no two graphs are replayed at once and their intermediate results need not last.
    """
    return torch.cuda.graph_pool_handle()


def event_times_ns(
    call: Callable[[], object],
    counts: list[int],
    new_event: Callable[[], Any],
    flush: Callable[[], object] | None = None,
) -> FloatArray:
    """Returns the nanoseconds of a call in each sample, the mean of as many calls as `counts` says; shape of `counts`.

    Samples follow each other without a pause, with an event before and after each; without a flush, neighbours share one. The
    host waits only for the last. `new_event()` makes an event such as `torch.cuda.Event`, which tells milliseconds.
    """
    pairs = []
    after = None
    for count in counts:
        if flush is not None:
            flush()
            after = None
        before = after
        if before is None:
            before = new_event()
            before.record()
        for _ in range(count):
            call()
        after = new_event()
        after.record()
        pairs.append((before, after))
    if after is not None:
        after.synchronize()
    elapsed_ms = np.array([before.elapsed_time(after) for before, after in pairs])
    times_ns: FloatArray = 1e6 * elapsed_ms / np.array(counts)
    return times_ns


def missing_cuda() -> str | None:
    """Returns what torch lacks to use CUDA here, and what to do about it; None if it lacks nothing."""
    if not torch.backends.cuda.is_built():  # type: ignore[no-untyped-call]
        return f"PyTorch {torch.__version__} is built without CUDA; install one that has it (pytorch.org/get-started)"
    if not torch.cuda.is_available():
        return f"PyTorch {torch.__version__} finds no GPU, or no driver for it; check `nvidia-smi` and CUDA_VISIBLE_DEVICES"
    return None


@final
class TorchRuntime:
    """See `hwnas.profiler.runtime.Runtime`."""

    def providers(self) -> Mapping[str, str]:
        return {"cpu": "torch", "cuda": "torch with CUDA"}

    def options(self, device: str) -> Mapping[str, tuple[str, ...]]:
        return OPTIONS[device]

    def precisions(self, device: str) -> tuple[str, ...]:
        return tuple(DTYPES)

    def version(self) -> str:
        return torch.__version__

    def missing(self, device: str) -> str | None:
        return None if device == "cpu" else missing_cuda()

    def gpu(self, device: str) -> tuple[str, str] | None:
        if device == "cpu":
            return None
        properties = torch.cuda.get_device_properties(0)
        return properties.name, str(properties.uuid)

    def load(self, forms: Forms, options: RuntimeOptions) -> tuple[Model, int]:
        module = forms.module()
        size = sum(tensor.numel() * tensor.element_size() for tensor in module.state_dict().values())
        return TorchModel(module, options), size


RUNTIME: Final = TorchRuntime()
