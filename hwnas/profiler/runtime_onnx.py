"""ONNX Runtime: the only module that imports onnxruntime."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, final

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from hwnas.errors import DeviceError, ExportError, UnknownNameError

ArrayF32 = NDArray[np.float32]
InputArray = ArrayF32 | NDArray[np.int64]  # token ids are int64

# Device name on the command line -> (execution provider, wheel that contains it).
PROVIDERS: Final = {
    "cpu": ("CPUExecutionProvider", "onnxruntime"),
    "cuda": ("CUDAExecutionProvider", "onnxruntime-gpu"),
}

LEVELS: Final[Mapping[str, ort.GraphOptimizationLevel]] = {
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "disabled": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
}
# Options of the runtime and the values they take, the usual one first. ONNX Runtime itself swallows what it does not know.
OPTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "graph_optimization": tuple(LEVELS),
    "allow_spinning": ("1", "0"),
    "denormal_as_zero": ("0", "1"),
    "slow_int8": ("refused", "allowed"),
}
CONFIG_KEYS: Final[Mapping[str, str]] = {
    "allow_spinning": "session.intra_op.allow_spinning",
    "denormal_as_zero": "session.set_denormal_as_zero",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeOptions:
    """Conditions of the runtime; all of them are part of a table's conditions."""

    provider: str = "CPUExecutionProvider"
    threads: int = 1
    others: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.threads < 1:
            raise DeviceError(f"threads must be at least 1, not {self.threads}")
        for name, value in self.others.items():
            if name not in OPTIONS:
                raise UnknownNameError("runtime option", name, list(OPTIONS))
            if value not in OPTIONS[name]:
                raise DeviceError(f"runtime option {name} is {value!r}; it can be {', '.join(OPTIONS[name])}")

    def value(self, name: str) -> str:
        """An option's value, the usual one where it is not given."""
        return self.others.get(name, OPTIONS[name][0])


def version() -> str:
    """The version of ONNX Runtime: latency moves between versions, so it is part of a table's conditions."""
    return ort.__version__  # type: ignore[no-any-return]


def missing_provider(device: str) -> str | None:
    """Why a device cannot be used here, or None where it can."""
    provider, wheel = PROVIDERS[device]
    if provider in ort.get_available_providers():
        return None
    return f"onnxruntime here has no {provider}; install the wheel {wheel} and the device's driver"


@final
class OnnxModel:
    """One ONNX model, loaded for inference."""

    def __init__(self, model: bytes, options: RuntimeOptions) -> None:
        """Raises ExportError if the model cannot be loaded, DeviceError if it would run elsewhere than asked."""
        session_options = ort.SessionOptions()
        session_options.intra_op_num_threads = options.threads
        session_options.inter_op_num_threads = 1
        session_options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        session_options.graph_optimization_level = LEVELS[options.value("graph_optimization")]
        for name, key in CONFIG_KEYS.items():
            session_options.add_session_config_entry(key, options.value(name))
        session_options.log_severity_level = 3
        if options.provider not in ort.get_available_providers():
            raise DeviceError(f"onnxruntime here has no {options.provider}")
        try:
            # No fallback: it would print to stdout, and run on another provider than the one asked for.
            self._session = ort.InferenceSession(
                model, session_options, providers=[options.provider], enable_fallback=False
            )
            self._input = self._session.get_inputs()[0].name
            self._output = self._session.get_outputs()[0].name
        except Exception as error:  # its own classes have no common base, and damaged names are UnicodeDecodeErrors
            raise ExportError(f"ONNX Runtime cannot load the model: {' '.join(str(error).split())}") from error
        if self._session.get_providers()[0] != options.provider:
            raise DeviceError(f"{options.provider} was asked for, ONNX Runtime took {self._session.get_providers()[0]}")
        self._binding = self._session.io_binding()

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The static shape of the input, batch axis included."""
        return tuple(self._session.get_inputs()[0].shape)

    def bind(self, x: InputArray) -> None:
        """Fixes the input and preallocates the output, so that `call` is the model's work and nothing else."""
        self._bound = ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(x))
        self._binding.bind_ortvalue_input(self._input, self._bound)
        self._session.run_with_iobinding(self._binding_with_any_output())
        self._result = self._binding.get_outputs()[0]
        self._binding.bind_ortvalue_output(self._output, self._result)

    def _binding_with_any_output(self) -> ort.IOBinding:
        self._binding.bind_output(self._output)
        return self._binding

    def call(self) -> None:
        """One inference on the bound input."""
        self._session.run_with_iobinding(self._binding)

    def run(self, x: InputArray) -> ArrayF32:
        """The output for an input of the model's shape."""
        return self._session.run([self._output], {self._input: x})[0]  # type: ignore[no-any-return]

    def require_output(self, x: InputArray, expected: ArrayF32, tolerance: float) -> None:
        """Raises ExportError where the output is further from the one that torch gives than `tolerance`, relative to the
        largest output, at least 1.
        """
        got = self.run(x)
        if got.shape != expected.shape:
            raise ExportError(f"the ONNX model's output has shape {got.shape}, torch's {expected.shape}")
        error = float(np.abs(got - expected).max()) / max(1.0, float(np.abs(expected).max()))
        if not error <= tolerance:
            raise ExportError(f"the ONNX model's output differs from torch's by {error:.1e} (allowed {tolerance:.0e})")
