"""Reads an NVIDIA GPU's clock, temperature, throttling and energy by NVML, and changes nothing.

The only module that imports pynvml, which is the module of the wheel nvidia-ml-py, an extra of this package. It is loaded
when a GPU is asked for.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final, final

from hwnas.errors import DeviceError
from hwnas.profiler.rounds import State

# The bits of nvmlDeviceGetCurrentClocksEventReasons that mean throttling (nvml.h, nvmlClocksEventReasons; the last two under
# their older name, nvmlClocksThrottleReasons). Bits that are settings or mean no load are left out: idle (0x1), application
# clocks (0x2), sync boost (0x10), display clock (0x100).
THROTTLING: Final[Mapping[int, str]] = {
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "power brake",
    0x200: "board limit",
    0x400: "reliability",
}
# Devices whose energy NVML counts.
COUNTED: Final = ("cuda", "tensorrt")


@final
class Gpu:
    """One GPU, by its `uuid` as torch writes it, or without one the `index`-th GPU that CUDA sees.

    NVML numbers GPUs by their place on the bus, CUDA the fastest first: give the uuid if the GPUs differ. Raises DeviceError
    if the wheel, the driver or the GPU is missing; every method raises it for a value that the GPU does not tell.
    """

    def __init__(self, index: int = 0, uuid: str | None = None) -> None:
        self._nvml = _initialised()
        if uuid is None:
            self._require_one_order()
        listed = os.environ.get("CUDA_VISIBLE_DEVICES")
        which = full_uuid(uuid) if uuid is not None else visible(index, listed)
        with self._telling(f"no GPU {which}; `nvidia-smi -L` lists those there are"):
            by_name = isinstance(which, str)
            find = self._nvml.nvmlDeviceGetHandleByUUID if by_name else self._nvml.nvmlDeviceGetHandleByIndex
            self._handle = find(which)

    def _require_one_order(self) -> None:
        """Raises DeviceError if CUDA may number the GPUs by speed, and so otherwise than NVML does."""
        nvml = self._nvml
        with self._telling("the GPUs do not tell their names"):
            handles = [nvml.nvmlDeviceGetHandleByIndex(number) for number in range(nvml.nvmlDeviceGetCount())]
            names = {str(nvml.nvmlDeviceGetName(handle)) for handle in handles}
        if len(names) > 1 and os.environ.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID":
            raise DeviceError(
                f"NVML: cannot tell which of {', '.join(sorted(names))} is used; set CUDA_DEVICE_ORDER=PCI_BUS_ID"
            )

    def name(self) -> str:
        """Returns the GPU's name."""
        with self._telling("the GPU does not tell its name"):
            return str(self._nvml.nvmlDeviceGetName(self._handle))

    def driver(self) -> str:
        """Returns the driver's version."""
        with self._telling("the driver does not tell its version"):
            return str(self._nvml.nvmlSystemGetDriverVersion())

    def state(self) -> State | None:
        """Returns the clock, the temperature and the throttling of this moment.

        Returns None for a GPU that does not tell them: parts of GPUs, virtual and embedded ones.
        """
        nvml = self._nvml
        with (
            self._telling("the GPU does not tell its clock, temperature and throttling"),
            suppress(nvml.NVMLError_NotSupported),
        ):
            return State(
                mhz=float(nvml.nvmlDeviceGetClockInfo(self._handle, nvml.NVML_CLOCK_SM)),
                celsius=float(nvml.nvmlDeviceGetTemperature(self._handle, nvml.NVML_TEMPERATURE_GPU)),
                reasons=throttling(self._reasons()),
            )
        return None

    def energy_mj(self) -> int:
        """Returns the millijoules of the whole board since the driver was loaded; updated every 20 to 100 ms."""
        with self._telling("the GPU does not count its energy; those from Volta on do"):
            return int(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle))

    def _reasons(self) -> int:
        nvml = self._nvml
        try:
            return int(nvml.nvmlDeviceGetCurrentClocksEventReasons(self._handle))
        except (AttributeError, nvml.NVMLError_FunctionNotFound):  # drivers before 535 have its old name
            return int(nvml.nvmlDeviceGetCurrentClocksThrottleReasons(self._handle))

    @contextmanager
    def _telling(self, what: str) -> Iterator[None]:
        try:
            yield
        except self._nvml.NVMLError as error:
            raise DeviceError(f"NVML: {what} ({error})") from None


def energy_counter(device: str, *, index: int = 0, uuid: str | None = None) -> Callable[[], int]:
    """Returns the function that reads a device's energy counter, in millijoules. Raises DeviceError if there is none."""
    if device not in COUNTED:
        raise DeviceError(
            f"device {device} has no counter of energy that can be read; {' and '.join(COUNTED)} have one"
        )
    gpu = Gpu(index, uuid)
    gpu.energy_mj()
    return gpu.energy_mj


def throttling(bits: int) -> tuple[str, ...]:
    """Returns the names of the reasons that mean throttling, among NVML's reasons for a clock.

    >>> throttling(0x1), throttling(0x44)
    ((), ('power cap', 'hardware thermal slowdown'))
    """
    return tuple(reason for bit, reason in THROTTLING.items() if bits & bit)


def full_uuid(uuid: str) -> str:
    """Returns a uuid as NVML writes it; torch leaves out the prefix.

    >>> full_uuid("8932f937-d72c-4106-c12f-20bd9faed9f6")
    'GPU-8932f937-d72c-4106-c12f-20bd9faed9f6'
    """
    return uuid if uuid.startswith(("GPU-", "MIG-")) else f"GPU-{uuid}"


def visible(index: int, listed: str | None) -> int | str:
    """Returns NVML's index or uuid of the `index`-th GPU that CUDA_VISIBLE_DEVICES lists. Raises DeviceError.

    >>> visible(1, None), visible(1, "3,2"), visible(0, "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6")
    (1, 2, 'GPU-8932f937-d72c-4106-c12f-20bd9faed9f6')
    """
    if listed is None:
        return index
    names = [name.strip() for name in listed.split(",")]
    if index >= len(names) or names[index] in ("", "-1"):
        raise DeviceError(f"NVML: no GPU {index} is visible: CUDA_VISIBLE_DEVICES is {listed!r}")
    return int(names[index]) if names[index].isdigit() else names[index]


def _initialised() -> Any:
    """Returns pynvml, initialised. It is never shut down, because a measurement reads it until the end."""
    try:
        import pynvml
    except ImportError:
        raise DeviceError("NVML: the wheel nvidia-ml-py is not installed; `pip install nvidia-ml-py`") from None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise DeviceError(f"NVML: no NVIDIA driver can be used here ({error}); is there such a GPU?") from None
    return pynvml
