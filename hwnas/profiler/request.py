"""The devices of a request, and the conditions under which each one runs networks."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Final

from pydantic import Field
from pydantic.dataclasses import dataclass

from hwnas.core.requests import Texts, checked
from hwnas.errors import HwnasError
from hwnas.profiler.device import WHOLE

# The conditions that a device's name may carry: `cpu+threads=2+precision=int8`.
CARRIED: Final = ("threads", "batch", "precision", "step", "runtime")


@dataclass(frozen=True, kw_only=True)
class DeviceRequest:
    """A device and its conditions. `runtime` is the device's own where it is None, for one of this machine onnxruntime.

    `name` tells several devices apart: the device, with the conditions that were given with it.
    """

    device: str = "cpu"
    threads: Annotated[int, Field(ge=1)] = 1
    batch: Annotated[int, Field(ge=1)] = 1
    precision: str = "fp32"
    step: str = WHOLE
    runtime: str | None = None
    runtime_options: Mapping[str, str] = Field(default_factory=dict)
    name: str = ""


@dataclass(frozen=True, kw_only=True)
class DevicesRequest:
    """One device or several; the conditions hold for all that do not say otherwise in their name."""

    device: Annotated[
        Texts,
        Field(
            description="See `hwnas devices`; several, perhaps with conditions of their own: --device cpu --device cpu+threads=2."
        ),
    ] = ("cpu",)
    threads: Annotated[int, Field(ge=1, description="Threads of one inference.")] = 1
    batch: Annotated[int, Field(ge=1, description="Inputs per inference.")] = 1
    precision: Annotated[str, Field(description="fp32; int8 (static, QDQ) on a CPU; fp16, bf16 by torch.")] = "fp32"
    step: Annotated[
        str,
        Field(description="whole: an input at once; decode: one position, with a cache of earlier keys and values."),
    ] = WHOLE
    runtime: Annotated[
        str | None,
        Field(description="What runs models: onnxruntime, or torch; default onnxruntime, a shipped device's its own."),
    ] = None
    runtime_options: Annotated[
        Mapping[str, str],
        Field(
            description="What the runtime is told, such as graph_optimization=basic; an unknown name lists those there are."
        ),
    ] = Field(default_factory=dict)

    def devices(self) -> tuple[DeviceRequest, ...]:
        """Returns every device with its conditions. Raises HwnasError for a name that cannot be read, or is given twice."""
        if len(set(self.device)) < len(self.device) or not self.device:
            raise HwnasError(f"--device {' --device '.join(self.device)}: give each device once")
        return tuple(self._device(name) for name in self.device)

    def _device(self, name: str) -> DeviceRequest:
        shared = {condition: getattr(self, condition) for condition in (*CARRIED, "runtime_options")}
        device, *conditions = name.split("+")
        for condition in conditions:
            key, equals, value = condition.partition("=")
            if not equals or key not in CARRIED:
                raise HwnasError(
                    f"--device {name}: {condition!r} is not one of {', '.join(f'{key}=...' for key in CARRIED)}"
                )
            shared[key] = value
        return replace(checked(DeviceRequest, {"device": device, **shared}), name=name)
