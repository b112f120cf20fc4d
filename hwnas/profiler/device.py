"""The device: what identifies it, and the conditions under which something is measured on it."""

import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from hwnas.errors import DeviceError, UnknownNameError
from hwnas.profiler import runtime_onnx
from hwnas.profiler.runtime_onnx import PROVIDERS, RuntimeOptions

RUNTIMES: Final = ("onnxruntime", "torch")


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

    def describe(self) -> dict[str, str | int]:
        return asdict(self)

    @property
    def options(self) -> RuntimeOptions:
        return RuntimeOptions(provider=self.provider, threads=self.threads)


def conditions_here(
    device: str, *, threads: int = 1, batch: int = 1, precision: str = "fp32", runtime: str = "onnxruntime"
) -> Conditions:
    """The conditions of a measurement on this machine. Raises UnknownNameError, DeviceError."""
    if runtime not in RUNTIMES:
        raise UnknownNameError("runtime", runtime, list(RUNTIMES))
    if runtime != "onnxruntime":
        raise DeviceError(f"runtime {runtime} is not supported by this version; use onnxruntime")
    if device not in PROVIDERS:
        raise UnknownNameError("device", device, list(PROVIDERS))
    reason = runtime_onnx.missing_provider(device)
    if reason is not None:
        raise DeviceError(f"device {device}: {reason}")
    if device != "cpu":
        raise DeviceError(f"device {device}: measuring there is not supported by this version; use cpu")
    if precision != "fp32":
        raise DeviceError(f"precision {precision} is not supported by this version; use fp32")
    cores = os.cpu_count() or 1
    if not 1 <= threads <= cores:
        raise DeviceError(f"{threads} threads on {cores} cores; give --threads between 1 and {cores}")
    if batch < 1:
        raise DeviceError(f"batch must be at least 1, not {batch}")
    return Conditions(
        device=device,
        hardware=f"{cpu_model()} ({platform.machine()}, {cores} cores, {platform.system()})",
        runtime=f"{runtime} {runtime_onnx.version()}",
        provider=PROVIDERS[device][0],
        threads=threads,
        precision=precision,
        batch=batch,
    )


def differences(ours: Mapping[str, object], theirs: Mapping[str, object]) -> list[str]:
    """Readable differences between two descriptions of conditions."""
    names = sorted(set(ours) | set(theirs))
    return [
        f"{name} {theirs.get(name)} (here {ours.get(name)})" for name in names if ours.get(name) != theirs.get(name)
    ]


def cpu_model() -> str:
    """The processor's name, as far as the system tells."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
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
