"""Runs models by ONNX Runtime. With `precision`, the only module that imports onnxruntime."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, final

import numpy as np
import onnxruntime as ort

from hwnas.core.arrays import FloatArray
from hwnas.errors import DeviceError, ExportError
from hwnas.profiler.bursts import stamped
from hwnas.profiler.clock import Clock
from hwnas.profiler.runtime import (
    PAST,
    SAMPLE_NS,
    ArrayF32,
    Forms,
    InputArray,
    Model,
    RuntimeOptions,
    chosen,
    filled,
    several,
    with_graph,
)

# By the device's name on the command line: the execution provider, and the wheel that contains it.
PROVIDERS: Final = {
    "cpu": ("CPUExecutionProvider", "onnxruntime"),
    "cuda": ("CUDAExecutionProvider", "onnxruntime-gpu"),
    "tensorrt": ("TensorrtExecutionProvider", "onnxruntime-gpu and TensorRT"),
}

LEVELS: Final[Mapping[str, ort.GraphOptimizationLevel]] = {
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "disabled": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
}
# The options of GPUs. They are checked here, because ONNX Runtime itself ignores options that it does not know.
ON_A_GPU: Final[Mapping[str, tuple[str, ...]]] = {
    "graph_optimization": tuple(LEVELS),
    "cuda_graph": ("1", "0"),
    "cpu_nodes": ("refused", "allowed"),
}
OPTIONS: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "cpu": {
        "graph_optimization": tuple(LEVELS),
        "allow_spinning": ("1", "0"),
        "denormal_as_zero": ("0", "1"),
        "slow_int8": ("refused", "allowed"),
    },
    "cuda": {
        **ON_A_GPU,
        "tf32": ("1", "0"),
        "conv_algo_search": ("EXHAUSTIVE", "HEURISTIC", "DEFAULT"),
        # A synchronised call is what a service sees; a burst only shows the throughput. A burst runs without a graph: versions
        # up to the summer of 2026 wait for every replay, whatever the options say.
        "synchronise": ("call", "burst"),
    },
    "tensorrt": ON_A_GPU,
}
CONFIG_KEYS: Final[Mapping[str, str]] = {
    "allow_spinning": "session.intra_op.allow_spinning",
    "denormal_as_zero": "session.set_denormal_as_zero",
}
# The end of the name of an event that is the computation of a node, in a profile.
KERNEL: Final = "_kernel_time"
PRECISIONS_OF: Final[Mapping[str, tuple[str, ...]]] = {
    "cpu": ("fp32", "int8"),
    "cuda": ("fp32",),
    "tensorrt": ("fp32", "fp16"),
}


@final
class OnnxModel:
    """One ONNX model, loaded for inference."""

    def __init__(self, model: bytes, options: RuntimeOptions) -> None:
        """Loads a model. Raises ExportError if it cannot be loaded, DeviceError if it would run on another device."""
        self._options = options
        self._values = chosen(OPTIONS[options.device], options.others)
        self._graph = self._values.get("cuda_graph") == "1" and self._values.get("synchronise") != "burst"
        self._reload = partial(self._load, model)
        provider, _ = PROVIDERS[options.device]
        if provider not in ort.get_available_providers():
            raise DeviceError(f"onnxruntime here has no {provider}")
        if options.device != "cpu" and hasattr(ort, "preload_dlls"):
            ort.preload_dlls()  # the libraries of CUDA and cuDNN, if they are installed as wheels
        try:
            _, self.facts = with_graph(self._graph, self._reload)
            self._input, *self._cached = self._session.get_inputs()
            self._outputs = self._session.get_outputs()
            past = self._session.get_modelmeta().custom_metadata_map.get(PAST)
            self._sizes = {} if past is None else {"past": int(past), "present": int(past) + 1}
        except Exception as error:  # ONNX Runtime's classes have no common base; damaged names are UnicodeDecodeErrors
            reason = " ".join(str(error).split())
            raise ExportError(f"ONNX Runtime cannot load the model: {reason}{_advice(options, reason)}") from error
        if self._session.get_providers()[0] != provider:
            raise DeviceError(f"{provider} was asked for, but ONNX Runtime uses {self._session.get_providers()[0]}")
        self._mean_ns = SAMPLE_NS
        self._bound: ort.OrtValue | None = None

    def _load(self, model: bytes, graph: bool) -> None:
        self._session = _session(model, self._options, graph)
        self._graph = graph

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The static shape of the input, batch axis included."""
        return tuple(self._input.shape)

    def _shape(self, value: ort.NodeArg) -> tuple[Any, ...]:
        """Returns the shape of an input or output. A decoder's open axes have the sizes that it is measured at."""
        return tuple(self._sizes.get(size, size) for size in value.shape)

    def _cache(self) -> dict[str, ArrayF32]:
        """Returns the inputs behind the first, by name: a decoder's cache."""
        return {value.name: filled(self._shape(value)) for value in self._cached}

    def bind(self, x: InputArray) -> None:
        """Fixes the input and preallocates the output, both on the device: see `Model.bind`."""
        if self._bound is not None and self._options.device != "cpu":  # a captured graph reads this memory
            self._bound.update_inplace(np.ascontiguousarray(x))
            self.call()
            return

        def bound(graph: bool) -> None:
            if graph != self._graph:
                self._reload(graph)
            self._bind(x)

        # The first run is what is captured, so capturing can also fail here.
        self.facts = {**self.facts, **with_graph(self._graph, bound)[1]}

    def _bind(self, x: InputArray) -> None:
        device = "cpu" if self._options.device == "cpu" else "cuda"
        self._binding = self._session.io_binding()
        self._bound = ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(x), device, 0)
        self._binding.bind_ortvalue_input(self._input.name, self._bound)
        cache = self._cache()
        # Kept, because a binding does not own the memory of arrays.
        self._bound_cache = {name: ort.OrtValue.ortvalue_from_numpy(x, device, 0) for name, x in cache.items()}
        for name, value in self._bound_cache.items():
            self._binding.bind_ortvalue_input(name, value)
        shapes = [self._shape(output) for output in self._outputs]
        if device != "cpu" and all(isinstance(size, int) for shape in shapes for size in shape):
            # Allocated before the first run, because a graph keeps the addresses that it was captured with.
            results = [ort.OrtValue.ortvalue_from_shape_and_type(shape, np.float32, device, 0) for shape in shapes]
        else:
            for output in self._outputs:
                self._binding.bind_output(output.name, device)
            self._session.run_with_iobinding(self._binding)
            results = self._binding.get_outputs()
        for output, result in zip(self._outputs, results, strict=True):
            self._binding.bind_ortvalue_output(output.name, result)
        self._result = results[0]
        self._session.run_with_iobinding(self._binding)

    def call(self) -> None:
        """Runs one inference on the bound input."""
        self._session.run_with_iobinding(self._binding)

    def times_ns(self, calls: int, clock: Clock) -> FloatArray:
        """See `Model.times_ns`."""
        if self._values.get("synchronise") != "burst":
            return stamped(self.call)(calls, clock)
        times_ns = []
        for count in several(calls, self._mean_ns):
            start = clock.now_ns()
            self.repeat(count)
            times_ns.append((clock.now_ns() - start) / count)
        self._mean_ns = max(1.0, min(times_ns))
        return np.array(times_ns)

    def repeat(self, calls: int) -> None:
        """See `Model.repeat`. Waits for the last inference only."""
        unsynchronised = ort.RunOptions()
        unsynchronised.add_run_config_entry("disable_synchronize_execution_providers", "1")
        # The usual graph; without this entry, the Python side of 1.31 takes 60 us per call to look for it.
        unsynchronised.add_run_config_entry("gpu_graph_id", "0")
        for _ in range(calls):
            self._session.run_with_iobinding(self._binding, unsynchronised)
        self._binding.synchronize_outputs()

    def run(self, x: InputArray) -> ArrayF32:
        """See `Model.run`."""
        if self._options.device == "cpu":
            outputs = self._session.run([self._outputs[0].name], {self._input.name: x, **self._cache()})
            return outputs[0]  # type: ignore[no-any-return]
        self.bind(x)
        return self._result.numpy()  # type: ignore[no-any-return]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class NodeTime:
    """The time of one node of a graph as the runtime has optimised it: fused operations are one node."""

    name: str
    operation: str
    ms: float


def node_times(model: bytes, options: RuntimeOptions, x: InputArray, calls: int) -> list[NodeTime]:
    """Returns the time of every node, in the order of execution, by ONNX Runtime's own profiler.

    The time of a node is the mean of the faster half of its calls; one inside a loop takes that as often as it is called. The
    profiler counts whole microseconds, and on a GPU it sees
    launches alone. Raises ExportError.
    """
    with TemporaryDirectory() as folder:
        try:
            session = _session(model, options, False, Path(folder) / "profile")
            for _ in range(calls):
                session.run(None, {session.get_inputs()[0].name: x})
            events = json.loads(Path(session.end_profiling()).read_text())
        except Exception as error:  # ONNX Runtime's classes have no common base
            raise ExportError(f"ONNX Runtime cannot profile the model: {' '.join(str(error).split())}") from error
    times_us: dict[tuple[str, str, str], list[float]] = {}
    for event in events:
        if event["cat"] == "Node" and event["name"].endswith(KERNEL):
            facts = event["args"]
            node = event["name"].removesuffix(KERNEL), facts["op_name"], facts["node_index"]
            times_us.setdefault(node, []).append(event["dur"])
    return [
        NodeTime(name=name, operation=operation, ms=_usual(each) * len(each) / calls / 1e3)
        for (name, operation, _), each in times_us.items()
    ]


def _usual(values: list[float]) -> float:
    """Returns the mean of the smaller half."""
    return float(np.mean(sorted(values)[: (len(values) + 1) // 2]))


def _session(model: bytes, options: RuntimeOptions, graph: bool, profile: Path | None = None) -> ort.InferenceSession:
    """Returns the session of a model, on the provider that was asked for and no other.

    `profile` begins the name of the file that the session's profile is written to.
    """
    values = chosen(OPTIONS[options.device], options.others)
    session_options = ort.SessionOptions()
    session_options.intra_op_num_threads = options.threads
    session_options.inter_op_num_threads = 1
    session_options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    session_options.graph_optimization_level = LEVELS[values["graph_optimization"]]
    for name, key in CONFIG_KEYS.items():
        if name in values:
            session_options.add_session_config_entry(key, values[name])
    if values.get("cpu_nodes") == "refused":  # then there are no copies to and from the CPU either
        session_options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    session_options.log_severity_level = 3
    if profile is not None:
        session_options.enable_profiling = True
        session_options.profile_file_prefix = str(profile)
    provider = (PROVIDERS[options.device][0], provider_options(options, graph))
    # A fallback would print to stdout, and run on another provider.
    return ort.InferenceSession(model, session_options, providers=[provider], enable_fallback=False)


def provider_options(options: RuntimeOptions, graph: bool) -> dict[str, str]:
    """Returns the options of the execution provider that change its speed, so that a version's defaults do not decide them."""
    values, capture = chosen(OPTIONS[options.device], options.others), "1" if graph else "0"
    if options.device == "cuda":
        return {
            "device_id": "0",
            "enable_cuda_graph": capture,
            "cudnn_conv_algo_search": values["conv_algo_search"],
            "cudnn_conv_use_max_workspace": "1",
            "use_tf32": values["tf32"],
            "prefer_nhwc": "0",
            "fuse_conv_bias": "0",
            "tunable_op_enable": "0",
            "arena_extend_strategy": "kNextPowerOfTwo",
        }
    if options.device == "tensorrt":
        half = "1" if options.precision == "fp16" else "0"
        # The cache keeps the tactics that were chosen: without it every process chooses anew.
        cache = Path.home() / ".cache" / "hwnas" / "tensorrt"
        cache.mkdir(parents=True, exist_ok=True)
        return {
            "device_id": "0",
            "trt_cuda_graph_enable": capture,
            "trt_fp16_enable": half,
            "trt_builder_optimization_level": "3",
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": str(cache),
        }
    return {}


def _advice(options: RuntimeOptions, reason: str) -> str:
    """Returns what to do about a session that was refused because of nodes on the CPU; empty for any other reason."""
    if options.device == "cpu" or "CPU EP" not in reason:
        return ""
    return (
        "; if the provider's libraries cannot be loaded, pip install 'onnxruntime-gpu[cuda,cudnn]'; if the provider leaves "
        "nodes to the CPU, give --runtime-option cpu_nodes=allowed"
    )


@final
class OnnxRuntime:
    """See `hwnas.profiler.runtime.Runtime`."""

    def providers(self) -> Mapping[str, str]:
        return {device: provider for device, (provider, _) in PROVIDERS.items()}

    def options(self, device: str) -> Mapping[str, tuple[str, ...]]:
        return OPTIONS[device]

    def precisions(self, device: str) -> tuple[str, ...]:
        return PRECISIONS_OF[device]

    def version(self) -> str:
        return ort.__version__  # type: ignore[no-any-return]

    def missing(self, device: str) -> str | None:
        provider, wheel = PROVIDERS[device]
        if provider in ort.get_available_providers():
            return None
        return (
            f"onnxruntime here has no {provider}; install {wheel} in the place of onnxruntime, and the device's driver"
        )

    def gpu(self, device: str) -> tuple[str, str] | None:
        return None

    def load(self, forms: Forms, options: RuntimeOptions) -> tuple[Model, int]:
        model = forms.onnx()
        return OnnxModel(model, options), len(model)


RUNTIME: Final = OnnxRuntime()
