"""The device: what identifies it, and the conditions under which something is measured on it."""

import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from hwnas.errors import DeviceError, UnknownNameError
from hwnas.profiler import runtime_onnx
from hwnas.profiler.runtime_onnx import OPTIONS, PROVIDERS, RuntimeOptions

CPUINFO: Final = Path("/proc/cpuinfo")
RUNTIMES: Final = ("onnxruntime", "torch")
SUPPORTED: Final = ("fp32", "int8", "fp16")


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
        return RuntimeOptions(provider=self.provider, threads=self.threads, others=self.runtime_options)


def conditions_here(
    device: str,
    *,
    threads: int = 1,
    batch: int = 1,
    precision: str = "fp32",
    runtime: str = "onnxruntime",
    runtime_options: Mapping[str, str] | None = None,
) -> Conditions:
    """The conditions of a measurement on this machine. Raises UnknownNameError, DeviceError."""
    options = known_options(device, batch=batch, precision=precision, runtime=runtime, runtime_options=runtime_options)
    reason = runtime_onnx.missing_provider(device)
    if reason is not None:
        raise DeviceError(f"device {device}: {reason}")
    if device != "cpu":
        raise DeviceError(f"device {device}: measuring there is not supported by this version; use cpu")
    if precision == "int8" and not multiplies_int8() and options.value("slow_int8") == "refused":
        raise DeviceError(
            "precision int8 is slower than fp32 on a CPU without instructions for it (VNNI, dot product); use fp32, or "
            "give --runtime-option slow_int8=allowed"
        )
    cores = os.cpu_count() or 1
    if not 1 <= threads <= cores:
        raise DeviceError(f"{threads} threads on {cores} cores; give --threads between 1 and {cores}")
    return Conditions(
        device=device,
        hardware=f"{cpu_model()} ({platform.machine()}, {cores} cores, {platform.system()})",
        runtime=f"{runtime} {runtime_onnx.version()}",
        provider=PROVIDERS[device][0],
        threads=threads,
        precision=precision,
        batch=batch,
        # What is as usual is not said: a table may be older than an option. Nor is a permission.
        runtime_options={
            name: value for name, value in options.others.items() if value != OPTIONS[name][0] and name != "slow_int8"
        },
    )


def known_options(
    device: str,
    *,
    batch: int = 1,
    precision: str = "fp32",
    runtime: str = "onnxruntime",
    runtime_options: Mapping[str, str] | None = None,
) -> RuntimeOptions:
    """What can be said of conditions without the device at hand. Raises UnknownNameError, DeviceError."""
    if runtime not in RUNTIMES:
        raise UnknownNameError("runtime", runtime, list(RUNTIMES))
    if runtime != "onnxruntime":
        raise DeviceError(f"runtime {runtime} is not supported by this version; use onnxruntime")
    if device not in PROVIDERS:
        raise UnknownNameError("device", device, list(PROVIDERS))
    if precision not in SUPPORTED:
        raise UnknownNameError("precision", precision, list(SUPPORTED))
    if precision == "fp16":
        raise DeviceError("precision fp16 needs a provider that computes in it; the CPU's does not: use fp32 or int8")
    if batch < 1:
        raise DeviceError(f"batch must be at least 1, not {batch}")
    return RuntimeOptions(provider=PROVIDERS[device][0], others=runtime_options or {})


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
    """What there is, whether it can be used here, and if not, why."""
    rows: list[dict[str, str | bool]] = []
    for device in PROVIDERS:
        try:
            hardware = conditions_here(device).hardware
            rows.append({"device": device, "usable": True, "detail": hardware})
        except DeviceError as error:
            rows.append({"device": device, "usable": False, "detail": str(error)})
    return rows
