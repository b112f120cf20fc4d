"""The seam between measuring and the runtimes that run models. A runtime is imported when it is asked for."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from hwnas.core.arrays import FloatArray
from hwnas.core.references import resolve
from hwnas.errors import DeviceError, ExportError, UnknownNameError
from hwnas.profiler.clock import Clock

ArrayF32 = NDArray[np.float32]
InputArray = ArrayF32 | NDArray[np.int64] | NDArray[np.uint8]  # token ids are int64, pixels uint8

RUNTIMES: Final[Mapping[str, str]] = {
    "onnxruntime": "hwnas.profiler.runtime_onnx:RUNTIME",
    "torch": "hwnas.profiler.runtime_torch:RUNTIME",
}
# The runtime that is used unless another one is asked for; boards have no other.
USUAL: Final = "onnxruntime"

# If only several calls can be timed together: the least time of such a sample, and the least number of samples in a burst.
SAMPLE_NS: Final = 1e6
SAMPLES: Final = 8
# The property of a decoder's ONNX model that says how many positions its cache has while it is measured.
PAST: Final = "hwnas.past"
# The number of characters of an error message that a table's row keeps.
REASON: Final = 200

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeOptions:
    """The conditions of a runtime, all of which are part of a table's conditions."""

    device: str = "cpu"
    threads: int = 1
    precision: str = "fp32"
    others: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.threads < 1:
            raise DeviceError(f"threads must be at least 1, not {self.threads}")


class Model(Protocol):
    """A network, loaded for inference on inputs of one shape.

    A model with further inputs is a decoder: these are its cache of `filled` numbers, and its first output is the answer.
    """

    @property
    def facts(self) -> Mapping[str, str]:
        """The facts that a table's row keeps about the run: how it differs from what was asked for."""

    def bind(self, x: InputArray) -> None:
        """Puts an input in its place and makes room for the output, so that `times_ns` times nothing but the model's work.

        May be called again, with another input of the same shape.
        """

    def times_ns(self, calls: int, clock: Clock) -> FloatArray:
        """Returns the nanoseconds of so many inferences on the bound input, one after the other.

        If the device can only be timed over several inferences, each value is the mean of several.
        """

    def repeat(self, calls: int) -> None:
        """Runs so many inferences on the bound input, and waits for the last."""

    def run(self, x: InputArray) -> ArrayF32:
        """Returns the output for an input of the model's shape, which may take the place of the bound one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forms:
    """A network in the two forms that runtimes load.

    `module` makes a torch module on the CPU that nobody else uses, `onnx` an ONNX model in the precision that is asked for.
    """

    module: Callable[[], Any]
    onnx: Callable[[], bytes]


class Runtime(Protocol):
    """Loads models on the devices that it has, and tells their options."""

    def providers(self) -> Mapping[str, str]:
        """Returns the name of the provider that runs models, by device."""

    def options(self, device: str) -> Mapping[str, tuple[str, ...]]:
        """Returns the options of a device, each with the values that it takes, the usual one first."""

    def precisions(self, device: str) -> tuple[str, ...]:
        """Returns the precisions that it computes in on a device."""

    def version(self) -> str:
        """Returns the runtime's version. It is part of a table's conditions, because latency differs between versions."""

    def missing(self, device: str) -> str | None:
        """Returns the reason why a device cannot be used here, or None if it can."""

    def gpu(self, device: str) -> tuple[str, str] | None:
        """Returns the name and the UUID of the GPU that models are loaded on; None if there is none, or it is not known."""

    def load(self, forms: Forms, options: RuntimeOptions) -> tuple[Model, int]:
        """Returns the network, loaded, and its size in bytes. Raises ExportError, DeviceError."""


def runtime(name: str) -> Runtime:
    """Returns a runtime by its name, or the object NAME of `FILE.py:NAME`. Raises UnknownNameError, DeviceError."""
    return resolve("runtime", name, RUNTIMES, DeviceError)  # type: ignore[no-any-return]


def chosen(options: Mapping[str, tuple[str, ...]], request: Mapping[str, str]) -> dict[str, str]:
    """Returns a value for every option: the requested one or the usual one. Raises UnknownNameError, DeviceError."""
    for name, value in request.items():
        if name not in options:
            raise UnknownNameError("runtime option", name, list(options))
        if value not in options[name]:
            raise DeviceError(f"runtime option {name} is {value!r}; it can be {', '.join(options[name])}")
    return {name: request.get(name, values[0]) for name, values in options.items()}


def filled(shape: tuple[int, ...]) -> ArrayF32:
    """Returns the fixed numbers that a decoder's cache holds while it is measured and checked."""
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def require_output(model: Model, x: InputArray, expected: ArrayF32, tolerance: float) -> None:
    """Raises ExportError if the model's output differs from `expected`, torch's output in float32 on the CPU, by too much.

    The largest difference may be `tolerance` times the largest output, or `tolerance` if all outputs are below 1.
    """
    output = model.run(x)
    if output.shape != expected.shape:
        raise ExportError(f"the loaded model's output has shape {output.shape}, torch's {expected.shape}")
    error = float(np.abs(output - expected).max()) / max(1.0, float(np.abs(expected).max()))
    if not error <= tolerance:
        raise ExportError(f"the loaded model's output differs from torch's by {error:.1e} (allowed {tolerance:.0e})")


def several(calls: int, mean_ns: float) -> list[int]:
    """Returns the number of calls in each sample of a burst.

    A sample takes at least `SAMPLE_NS` if a call takes `mean_ns`, and there are at least `SAMPLES` samples. A single call is a
    sample by itself.

    >>> several(1, 3e4), several(10, 5e5), several(4, 2e7)
    ([1], [2, 2, 2, 2, 2, 2, 2, 2], [1, 1, 1, 1, 1, 1, 1, 1])
    """
    if calls == 1:
        return [1]
    per_sample = max(1, math.ceil(SAMPLE_NS / mean_ns))
    return [per_sample] * max(SAMPLES, math.ceil(calls / per_sample))


def with_graph(wanted: bool, make: Callable[[bool], T]) -> tuple[T, Mapping[str, str]]:
    """Returns `make(True)` if a CUDA graph is wanted, and no facts.

    If the graph cannot be made, returns `make(False)`, with the reason as a fact for the table's row. Raises the errors of
    `make(False)`, and an error of memory that ran out, which has nothing to do with graphs.
    """
    if not wanted:
        return make(False), {}
    try:
        return make(True), {}
    except Exception as error:  # runtimes' own classes have no common base
        if type(error).__name__ == "OutOfMemoryError":  # torch's, which is not imported here
            raise
        reason = " ".join(str(error).split())
    return make(False), {"cuda_graph": f"refused: {reason[:REASON]}"}
