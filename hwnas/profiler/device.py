"""Identifies the device, and describes the conditions of a measurement on it."""

import platform
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from hwnas.core.operations import precision_choices
from hwnas.core.precise import FLOAT32
from hwnas.core.space import SearchSpace
from hwnas.errors import DeviceError, UnknownNameError
from hwnas.profiler.clock import Clock
from hwnas.profiler.cores import cores, cores_in_words, usable_cores
from hwnas.profiler.nvml import Gpu, energy_counter
from hwnas.profiler.runtime import RUNTIMES, USUAL, Forms, Model, RuntimeOptions, chosen
from hwnas.profiler.runtime import runtime as runtime_named

CPUINFO: Final = Path("/proc/cpuinfo")
DEVICES: Final = ("cpu", "cuda", "tensorrt")
# The option of the runtime that is a permission, not a condition.
PERMISSION: Final = "slow_int8"
# The steps of inference: a whole input at once, or one position with the keys and values of earlier ones as a cache.
WHOLE: Final = "whole"
DECODE: Final = "decode"
STEPS: Final = (WHOLE, DECODE)
# The precisions that models are computed in, and the tolerance of their outputs (`runtime.require_output`).
TOLERANCES: Final[Mapping[str, float]] = {
    # Sums of float32 products in another order.
    "fp32": 1e-4,
    "fp16": 0.05,
    "bf16": 0.3,
    # Untrained networks amplify rounding; a larger difference means another network.
    "int8": 0.5,
}
# The tolerance on tensor cores, which multiply numbers of 10 bits unless TF32 is off.
TF32: Final = 0.05
# The tolerance without tensor cores: other kernels than the CPU's add in another order.
OTHER_KERNELS: Final = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """Everything that a latency depends on besides the model. Measurements under other conditions are never mixed."""

    device: str
    hardware: str
    runtime: str
    provider: str
    threads: int
    precision: str
    batch: int
    step: str = WHOLE
    runtime_options: Mapping[str, str] = field(default_factory=dict)

    def describe(self) -> dict[str, Any]:
        """Returns the conditions as a table's header has them, without the usual step: a table may be older than steps."""
        return {name: value for name, value in asdict(self).items() if (name, value) != ("step", WHOLE)}

    @property
    def options(self) -> RuntimeOptions:
        """The conditions that the runtime is told when it loads a model."""
        return RuntimeOptions(
            device=self.device, threads=self.threads, precision=self.precision, others=self.runtime_options
        )

    @property
    def onnx_precision(self) -> str:
        """The precision of an ONNX file under these conditions."""
        return onnx_precision(self.precision)

    @property
    def tolerance(self) -> float:
        """The tolerance of outputs under these conditions; see `runtime.require_output`."""
        return tolerance(self.device, self.precision, self.runtime_options)

    def load(self, forms: Forms) -> tuple[Model, int]:
        """Returns a network, loaded, and its size in bytes. Raises ExportError, DeviceError."""
        return runtime_named(self.runtime_name).load(forms, self.options)

    @property
    def runtime_name(self) -> str:
        """The runtime's name or `FILE.py:NAME`, without its version."""
        return self.runtime.rpartition(" ")[0]

    def clock(self) -> Clock:
        """Returns the clock of a measurement on the device, with the state of a GPU that tells it."""
        if self.device == "cpu":
            return Clock()
        with suppress(DeviceError):
            return Clock(state=_gpu(self.runtime_name, self.device).state)
        return Clock()

    def counter_mj(self) -> Callable[[], int]:
        """Returns the function that reads the device's energy counter, in millijoules. Raises DeviceError without one."""
        return energy_counter(self.device, uuid=_uuid(self.runtime_name, self.device))


def conditions_here(
    device: str,
    *,
    threads: int = 1,
    batch: int = 1,
    precision: str = "fp32",
    step: str = WHOLE,
    runtime: str = USUAL,
    runtime_options: Mapping[str, str] | None = None,
) -> Conditions:
    """Returns the conditions of a measurement on this machine. Raises UnknownNameError, DeviceError."""
    values = known_options(
        device, batch=batch, precision=precision, step=step, runtime=runtime, runtime_options=runtime_options
    )
    runtime_here = runtime_named(runtime)
    reason = runtime_here.missing(device)
    if reason is not None:
        others = [name for name in RUNTIMES if precisions(name, device) and runtime_named(name).missing(device) is None]
        hint = f"; --runtime {others[0]} can use it here" if others else ""
        raise DeviceError(f"device {device}: {reason}{hint}")
    if precision == "int8" and not multiplies_int8() and values[PERMISSION] == "refused":
        raise DeviceError(
            "precision int8 is slower than fp32 on a CPU without instructions for it (VNNI, dot product); use fp32, or "
            "give --runtime-option slow_int8=allowed"
        )
    usable = usable_cores()
    if not 1 <= threads <= usable:
        withheld = " (CPU affinity or a CPU quota withholds the others)" if usable < cores() else ""
        raise DeviceError(
            f"{threads} threads on {cores_in_words()}{withheld}; give --threads {f'between 1 and {usable}' if usable > 1 else 1}"
        )
    usual = chosen(runtime_here.options(device), {})
    return Conditions(
        device=device,
        hardware=hardware(device, runtime),
        runtime=f"{runtime} {runtime_here.version()}",
        provider=runtime_here.providers()[device],
        threads=threads,
        precision=precision,
        batch=batch,
        step=step,
        # Usual values are left out, because a table may be older than an option; so is the permission.
        runtime_options={name: value for name, value in values.items() if value != usual[name] and name != PERMISSION},
    )


def known_options(
    device: str,
    *,
    batch: int = 1,
    precision: str = "fp32",
    step: str = WHOLE,
    runtime: str = USUAL,
    runtime_options: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Checks conditions without the device at hand, and returns the value of every option of the runtime.

    Raises UnknownNameError, DeviceError.
    """
    named = runtime_named(runtime)
    if device not in DEVICES:
        raise UnknownNameError("device", device, list(DEVICES))
    if device not in named.providers():
        raise DeviceError(f"runtime {runtime} has no device {device}; it has {', '.join(named.providers())}")
    if precision not in TOLERANCES:
        raise UnknownNameError("precision", precision, list(TOLERANCES))
    if precision not in named.precisions(device):
        others = [name for name in RUNTIMES if precision in precisions(name, device)]
        hint = f"; --runtime {others[0]} does" if others else ""
        raise DeviceError(
            f"runtime {runtime} on {device} does not compute in {precision}{hint}; it has "
            f"{', '.join(named.precisions(device))}"
        )
    if step not in STEPS:
        raise UnknownNameError("step", step, list(STEPS))
    if step == DECODE and precision == "int8":
        raise DeviceError("decoding is not quantised: ranges of a cache are not calibrated; give --precision fp32")
    if batch < 1:
        raise DeviceError(f"batch must be at least 1, not {batch}")
    return chosen(named.options(device), runtime_options or {})


def onnx_precision(precision: str) -> str:
    """Returns the precision of the ONNX file for a model that runs in `precision`.

    A runtime that computes in another floating-point precision converts a float32 file by itself.
    """
    return "int8" if precision == "int8" else "fp32"


def require_precisions(space: SearchSpace, conditions: Mapping[str, Any]) -> str:
    """Returns the lowest precision that networks of a space have under conditions, as the conditions or the space say.

    Raises DeviceError where both say one, or where the runtime does not compute a part of a network in 8 bits.
    """
    lowest = [name for choice in precision_choices(space).values() for name in space.choice(choice).options]
    if not lowest or set(lowest) == {FLOAT32}:
        return str(conditions["precision"])
    name, _, version = str(conditions.get("runtime", USUAL)).rpartition(" ")
    device, runtime = conditions["device"], name or version
    if "int8" not in precisions(runtime, device):
        raise DeviceError(
            f"runtime {runtime} on {device} does not compute blocks in int8; leave out --precisions, or give --device cpu with "
            f"--runtime {USUAL}"
        )
    if conditions.get("step", WHOLE) == DECODE:
        raise DeviceError("decoding is not quantised; leave out --precisions, or step=decode")
    if conditions["precision"] != FLOAT32:
        raise DeviceError(
            f"--precisions are those of each block, and --precision {conditions['precision']} that of the whole network; leave "
            "one of them out"
        )
    return "int8"


def tolerance(device: str, precision: str, runtime_options: Mapping[str, str]) -> float:
    """Returns the tolerance of outputs under these conditions; see `runtime.require_output`."""
    if device == "cpu" or precision != "fp32":
        return TOLERANCES[precision]
    return TF32 if runtime_options.get("tf32") != "0" else OTHER_KERNELS


def precisions(runtime: str, device: str) -> tuple[str, ...]:
    """Returns the precisions that a runtime computes in on a device; none if it does not have the device."""
    named = runtime_named(runtime)
    return named.precisions(device) if device in named.providers() else ()


def hardware(device: str, runtime: str) -> str:
    """Returns a description of the device, as far as it tells."""
    if device == "cpu":
        return f"{cpu_model()} ({platform.machine()}, {cores_in_words()}, {platform.system()})"
    try:
        gpu = _gpu(runtime, device)
        return f"{gpu.name()} (driver {gpu.driver()})"
    except DeviceError:  # NVML is missing or does not know the board: its runtime or its host names it
        name_and_uuid = runtime_named(runtime).gpu(device)
        return name_and_uuid[0] if name_and_uuid else f"GPU of {platform.node()}"


def _uuid(runtime: str, device: str) -> str | None:
    name_and_uuid = runtime_named(runtime).gpu(device)
    return name_and_uuid[1] if name_and_uuid else None


def _gpu(runtime: str, device: str) -> Gpu:
    return Gpu(uuid=_uuid(runtime, device))


def multiplies_int8() -> bool:
    """Returns True if the CPU has instructions for products of 8-bit numbers, as far as the system tells."""
    if not CPUINFO.exists():  # on macOS and Windows only Arm's CPUs are known to have them
        return platform.machine().lower() in ("arm64", "aarch64")
    return not set(CPUINFO.read_text().split()).isdisjoint({"avx512_vnni", "avx_vnni", "amx_int8", "asimddp"})


def differences(ours: Mapping[str, object], theirs: Mapping[str, object]) -> list[str]:
    """Returns the differences between two descriptions of conditions, in words."""
    names = sorted(set(ours) | set(theirs))
    return [
        f"{name} {theirs.get(name)} (here {ours.get(name)})" for name in names if ours.get(name) != theirs.get(name)
    ]


def cpu_model() -> str:
    """Returns the processor's name, as far as the system tells."""
    if CPUINFO.exists():
        for line in CPUINFO.read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Model", "Hardware"):
                return value.strip()
    return platform.processor() or platform.machine()


def devices() -> list[dict[str, str | bool]]:
    """Returns a row per device: its name, if a runtime can use it here, and a detail.

    The detail is the hardware, or the reason why the usual runtime cannot use the device.
    """
    rows: list[dict[str, str | bool]] = []
    for device in DEVICES:
        usable, reasons = [], []
        for name in (name for name in RUNTIMES if precisions(name, device)):
            try:
                conditions = conditions_here(device, runtime=name)
            except DeviceError as error:
                reasons.append(str(error))
            else:
                usable.append((name, conditions.hardware))
        only = f"; with --runtime {usable[0][0]} only" if reasons and usable else ""
        detail = usable[0][1] + only if usable else reasons[0]
        rows.append({"device": device, "usable": bool(usable), "detail": detail})
    return rows
