"""What runs models: the seam between measuring and any one runtime. Imports none until it is asked for."""

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
InputArray = ArrayF32 | NDArray[np.int64]  # token ids are int64

RUNTIMES: Final[Mapping[str, str]] = {
    "onnxruntime": "hwnas.profiler.runtime_onnx:RUNTIME",
    "torch": "hwnas.profiler.runtime_torch:RUNTIME",
}
# What runs models where nothing else is asked for; boards have no other.
USUAL: Final = "onnxruntime"

# Where only several calls can be timed: so long, and so many of them in a burst.
SAMPLE_NS: Final = 1e6
SAMPLES: Final = 8
# Of an error message, what a table's row keeps.
REASON: Final = 200

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeOptions:
    """Conditions of a runtime; all of them are part of a table's conditions."""

    device: str = "cpu"
    threads: int = 1
    precision: str = "fp32"
    others: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.threads < 1:
            raise DeviceError(f"threads must be at least 1, not {self.threads}")


class Model(Protocol):
    """A network, loaded for inference on inputs of one shape."""

    @property
    def facts(self) -> Mapping[str, str]:
        """What a table's row says of how it runs, where that is not as asked for."""

    def bind(self, x: InputArray) -> None:
        """Puts an input in its place, and makes room for the output: what `times_ns` times is the model's work alone. Bound
        again, to another of the same shape."""

    def times_ns(self, calls: int, clock: Clock) -> FloatArray:
        """Nanoseconds of so many inferences on the bound input, one after the other; where the device can only be timed over
        several, the mean of each several."""

    def repeat(self, calls: int) -> None:
        """So many inferences on the bound input, and waits for the last."""

    def run(self, x: InputArray) -> ArrayF32:
        """The output for an input of the model's shape, which may take the place of the bound one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forms:
    """A network in the forms that runtimes take: a torch module on the CPU that is nobody else's, and an ONNX model at the
    precision that is asked for."""

    module: Callable[[], Any]
    onnx: Callable[[], bytes]


class Runtime(Protocol):
    """How to load models on the devices it has, and what can be asked of them."""

    def providers(self) -> Mapping[str, str]:
        """What runs models, by device."""

    def options(self, device: str) -> Mapping[str, tuple[str, ...]]:
        """The options there are on a device, and the values they take, the usual one first."""

    def precisions(self, device: str) -> tuple[str, ...]:
        """What it computes in on a device."""

    def version(self) -> str:
        """Latency moves between versions, so it is part of a table's conditions."""

    def missing(self, device: str) -> str | None:
        """Why a device cannot be used here, or None where it can."""

    def gpu(self, device: str) -> tuple[str, str] | None:
        """Name and UUID of the GPU that models are loaded on; None where the runtime does not tell, or there is none."""

    def load(self, forms: Forms, options: RuntimeOptions) -> tuple[Model, int]:
        """The network, loaded, and its size in bytes. Raises ExportError, DeviceError."""


def runtime(name: str) -> Runtime:
    """Returns a runtime by its name, or the object NAME of `FILE.py:NAME`. Raises UnknownNameError, DeviceError."""
    return resolve("runtime", name, RUNTIMES, DeviceError)  # type: ignore[no-any-return]


def chosen(options: Mapping[str, tuple[str, ...]], given: Mapping[str, str]) -> dict[str, str]:
    """The value of every option, the usual one where none is given. Raises UnknownNameError, DeviceError."""
    for name, value in given.items():
        if name not in options:
            raise UnknownNameError("runtime option", name, list(options))
        if value not in options[name]:
            raise DeviceError(f"runtime option {name} is {value!r}; it can be {', '.join(options[name])}")
    return {name: given.get(name, values[0]) for name, values in options.items()}


def require_output(model: Model, x: InputArray, expected: ArrayF32, tolerance: float) -> None:
    """Raises ExportError where the output is further from the one that torch gives in float32 on the CPU than `tolerance`,
    relative to the largest output, at least 1.
    """
    got = model.run(x)
    if got.shape != expected.shape:
        raise ExportError(f"the loaded model's output has shape {got.shape}, torch's {expected.shape}")
    error = float(np.abs(got - expected).max()) / max(1.0, float(np.abs(expected).max()))
    if not error <= tolerance:
        raise ExportError(f"the loaded model's output differs from torch's by {error:.1e} (allowed {tolerance:.0e})")


def several(calls: int, mean_ns: float) -> list[int]:
    """How many calls each sample of a burst is the mean of: of at least `SAMPLE_NS` by what one took on average so far, and
    at least `SAMPLES` of them; a single call is a sample by itself.

    >>> several(1, 3e4), several(10, 5e5), several(4, 2e7)
    ([1], [2, 2, 2, 2, 2, 2, 2, 2], [1, 1, 1, 1, 1, 1, 1, 1])
    """
    if calls == 1:
        return [1]
    each = max(1, math.ceil(SAMPLE_NS / mean_ns))
    return [each] * max(SAMPLES, math.ceil(calls / each))


def with_graph(wanted: bool, make: Callable[[bool], T]) -> tuple[T, Mapping[str, str]]:
    """`make(True)` where a CUDA graph is wanted; where that cannot be made, `make(False)` and a row's fact of why not.

    Raises what `make(False)` raises, and where memory ran out: that has nothing to do with graphs.
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
