"""The device: what identifies it, and the conditions under which something is measured on it."""

import os
import platform
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from hwnas.errors import DeviceError, UnknownNameError
from hwnas.profiler.clock import Clock
from hwnas.profiler.nvml import Gpu, energy_counter
from hwnas.profiler.runtime import RUNTIMES, USUAL, Forms, Model, RuntimeOptions, chosen
from hwnas.profiler.runtime import runtime as runtime_named

CPUINFO: Final = Path("/proc/cpuinfo")
DEVICES: Final = ("cpu", "cuda", "tensorrt")
# An option of the runtime that permits something, and is no condition.
PERMISSION: Final = "slow_int8"
# What models are computed in, and how far from torch's outputs in float32 those may then be (`runtime.require_output`).
TOLERANCES: Final[Mapping[str, float]] = {
    # Sums of float32 products in another order.
    "fp32": 1e-4,
    "fp16": 0.05,
    "bf16": 0.3,
    # Untrained networks amplify rounding; a larger difference is another network.
    "int8": 0.5,
}
# Tensor cores multiply numbers of 10 bits, unless told not to.
TF32: Final = 0.05
# Without them, sums of other kernels than the CPU's.
OTHER_KERNELS: Final = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """Everything a latency depends on besides the model. Measurements under other conditions are never mixed."""

    device: str
    hardware: str
    runtime: str
    provider: str
    threads: int
    precision: str
    batch: int
    runtime_options: Mapping[str, str] = field(default_factory=dict)

    def describe(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def options(self) -> RuntimeOptions:
        return RuntimeOptions(
            device=self.device, threads=self.threads, precision=self.precision, others=self.runtime_options
        )

    @property
    def onnx_precision(self) -> str:
        """That of an ONNX file under these conditions."""
        return onnx_precision(self.precision)

    @property
    def tolerance(self) -> float:
        """How far outputs may be from torch's in float32 on the CPU; see `runtime.require_output`."""
        return tolerance(self.device, self.precision, self.runtime_options)

    def load(self, forms: Forms) -> tuple[Model, int]:
        """A network, loaded, and its size in bytes. Raises ExportError, DeviceError."""
        return runtime_named(self.runtime_name).load(forms, self.options)

    @property
    def runtime_name(self) -> str:
        """The runtime's name or `FILE.py:NAME`, without its version."""
        return self.runtime.rpartition(" ")[0]

    def clock(self) -> Clock:
        """What a measurement on the device reads: of a GPU its state, too, where it tells."""
        if self.device == "cpu":
            return Clock()
        with suppress(DeviceError):
            return Clock(state=_gpu(self.runtime_name, self.device).state)
        return Clock()

    def counter_mj(self) -> Callable[[], int]:
        """What reads the energy counter of the device, in millijoules. Raises DeviceError where it has none."""
        return energy_counter(self.device, uuid=_uuid(self.runtime_name, self.device))


def conditions_here(
    device: str,
    *,
    threads: int = 1,
    batch: int = 1,
    precision: str = "fp32",
    runtime: str = USUAL,
    runtime_options: Mapping[str, str] | None = None,
) -> Conditions:
    """The conditions of a measurement on this machine. Raises UnknownNameError, DeviceError."""
    values = known_options(device, batch=batch, precision=precision, runtime=runtime, runtime_options=runtime_options)
    runs = runtime_named(runtime)
    reason = runs.missing(device)
    if reason is not None:
        others = [name for name in RUNTIMES if precisions(name, device) and runtime_named(name).missing(device) is None]
        hint = f"; --runtime {others[0]} can use it here" if others else ""
        raise DeviceError(f"device {device}: {reason}{hint}")
    if precision == "int8" and not multiplies_int8() and values[PERMISSION] == "refused":
        raise DeviceError(
            "precision int8 is slower than fp32 on a CPU without instructions for it (VNNI, dot product); use fp32, or "
            "give --runtime-option slow_int8=allowed"
        )
    cores = os.cpu_count() or 1
    if not 1 <= threads <= cores:
        raise DeviceError(f"{threads} threads on {cores} cores; give --threads between 1 and {cores}")
    usual = chosen(runs.options(device), {})
    return Conditions(
        device=device,
        hardware=hardware(device, runtime),
        runtime=f"{runtime} {runs.version()}",
        provider=runs.providers()[device],
        threads=threads,
        precision=precision,
        batch=batch,
        # What is as usual is not said: a table may be older than an option. Nor is a permission.
        runtime_options={name: value for name, value in values.items() if value != usual[name] and name != PERMISSION},
    )


def known_options(
    device: str,
    *,
    batch: int = 1,
    precision: str = "fp32",
    runtime: str = USUAL,
    runtime_options: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """What can be said of conditions without the device at hand: the value of every option of the runtime.

    Raises UnknownNameError, DeviceError.
    """
    runs = runtime_named(runtime)
    if device not in DEVICES:
        raise UnknownNameError("device", device, list(DEVICES))
    if device not in runs.providers():
        raise DeviceError(f"runtime {runtime} has no device {device}; it has {', '.join(runs.providers())}")
    if precision not in TOLERANCES:
        raise UnknownNameError("precision", precision, list(TOLERANCES))
    if precision not in runs.precisions(device):
        others = [name for name in RUNTIMES if precision in precisions(name, device)]
        hint = f"; --runtime {others[0]} does" if others else ""
        raise DeviceError(
            f"runtime {runtime} on {device} does not compute in {precision}{hint}; it has "
            f"{', '.join(runs.precisions(device))}"
        )
    if batch < 1:
        raise DeviceError(f"batch must be at least 1, not {batch}")
    return chosen(runs.options(device), runtime_options or {})


def onnx_precision(precision: str) -> str:
    """Of ONNX files for what runs in this one: what else a runtime computes in, it converts float32 to itself."""
    return "int8" if precision == "int8" else "fp32"


def tolerance(device: str, precision: str, runtime_options: Mapping[str, str]) -> float:
    """How far outputs may be from torch's in float32 on the CPU; see `runtime.require_output`."""
    if device == "cpu" or precision != "fp32":
        return TOLERANCES[precision]
    return TF32 if runtime_options.get("tf32") != "0" else OTHER_KERNELS


def precisions(runtime: str, device: str) -> tuple[str, ...]:
    """What a runtime computes in on a device: nothing where it does not have it."""
    runs = runtime_named(runtime)
    return runs.precisions(device) if device in runs.providers() else ()


def hardware(device: str, runtime: str) -> str:
    """What the device is, as far as it tells."""
    if device == "cpu":
        return f"{cpu_model()} ({platform.machine()}, {os.cpu_count() or 1} cores, {platform.system()})"
    try:
        gpu = _gpu(runtime, device)
        return f"{gpu.name()} (driver {gpu.driver()})"
    except DeviceError:  # NVML is missing, or knows no such board: then it is known by its runtime or its host
        told = runtime_named(runtime).gpu(device)
        return told[0] if told else f"GPU of {platform.node()}"


def _uuid(runtime: str, device: str) -> str | None:
    told = runtime_named(runtime).gpu(device)
    return told[1] if told else None


def _gpu(runtime: str, device: str) -> Gpu:
    return Gpu(uuid=_uuid(runtime, device))


def multiplies_int8() -> bool:
    """Whether the CPU has instructions for products of 8-bit numbers, as far as the system tells."""
    if not CPUINFO.exists():  # of macOS and Windows only Arm's are known to have them
        return platform.machine().lower() in ("arm64", "aarch64")
    return not set(CPUINFO.read_text().split()).isdisjoint({"avx512_vnni", "avx_vnni", "amx_int8", "asimddp"})


def differences(ours: Mapping[str, object], theirs: Mapping[str, object]) -> list[str]:
    """Readable differences between two descriptions of conditions."""
    names = sorted(set(ours) | set(theirs))
    return [
        f"{name} {theirs.get(name)} (here {ours.get(name)})" for name in names if ours.get(name) != theirs.get(name)
    ]


def cpu_model() -> str:
    """The processor's name, as far as the system tells."""
    if CPUINFO.exists():
        for line in CPUINFO.read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Model", "Hardware"):
                return value.strip()
    return platform.processor() or platform.machine()


def devices() -> list[dict[str, str | bool]]:
    """What there is, whether a runtime can use it here, and if not, why the usual one cannot."""
    rows: list[dict[str, str | bool]] = []
    for device in DEVICES:
        usable, reasons = [], []
        for name in (name for name in RUNTIMES if precisions(name, device)):
            try:
                found = conditions_here(device, runtime=name)
            except DeviceError as error:
                reasons.append(str(error))
            else:
                usable.append((name, found.hardware))
        only = f"; with --runtime {usable[0][0]} only" if reasons and usable else ""
        detail = usable[0][1] + only if usable else reasons[0]
        rows.append({"device": device, "usable": bool(usable), "detail": detail})
    return rows
