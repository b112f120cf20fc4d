"""Runtimes that are each wrong in one way: PyTorch's, with a fault."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hwnas.profiler.clock import Clock
from hwnas.profiler.runtime import ArrayF32, Forms, InputArray, RuntimeOptions
from hwnas.profiler.runtime_torch import RUNTIME, TorchModel


@dataclass
class Wrapped:
    """A model of PyTorch's runtime with a fault."""

    model: TorchModel
    fault: str
    first: InputArray | None = None

    @property
    def facts(self) -> Mapping[str, Any]:
        return {"threads": 1} if self.fault == "facts" else self.model.facts

    def bind(self, x: InputArray) -> None:
        self.first = x if self.first is None else self.first
        self.model.bind(x)

    def times_ns(self, calls: int, clock: Clock) -> np.ndarray:
        times_ns = self.model.times_ns(calls, clock)
        return {"frozen": 0 * times_ns, "milliseconds": times_ns / 1e6}.get(self.fault, times_ns)

    def repeat(self, calls: int) -> None:
        self.model.repeat(1 if self.fault == "lazy" else calls)

    def run(self, x: InputArray) -> ArrayF32:
        output = self.model.run(self.first if self.fault == "stuck" and self.first is not None else x)
        return output + 0.5 if self.fault == "shifted" else output


@dataclass(frozen=True)
class WrongRuntime:
    """PyTorch's runtime on the CPU in float32, with a fault."""

    fault: str

    def providers(self) -> Mapping[str, str]:
        return {"cpu": "" if self.fault == "provider" else "torch"}

    def options(self, device: str) -> Mapping[str, tuple[str, ...]]:
        return {"memory_format": ("contiguous",)} if self.fault == "options" else RUNTIME.options(device)

    def precisions(self, device: str) -> tuple[str, ...]:
        return ("bf16",) if self.fault == "precisions" else ("fp32",)

    def version(self) -> str:
        return "" if self.fault == "version" else RUNTIME.version()

    def missing(self, device: str) -> str | None:
        return "it is never here" if self.fault == "absent" else None

    def gpu(self, device: str) -> tuple[str, str] | None:
        return None

    def load(self, forms: Forms, options: RuntimeOptions) -> tuple[Wrapped, int]:
        if self.fault == "lenient":
            options = replace(options, others={})
        model, size = RUNTIME.load(forms, options)
        return Wrapped(model, self.fault), 0 if self.fault == "size" else size


RIGHT = WrongRuntime("none")
SHIFTED, STUCK, FROZEN, LAZY = (WrongRuntime(fault) for fault in ("shifted", "stuck", "frozen", "lazy"))
MILLISECONDS, LENIENT, SIZE, FACTS = (WrongRuntime(fault) for fault in ("milliseconds", "lenient", "size", "facts"))
PROVIDER, OPTIONS, PRECISIONS = (WrongRuntime(fault) for fault in ("provider", "options", "precisions"))
VERSION, ABSENT = (WrongRuntime(fault) for fault in ("version", "absent"))
