"""The devices that a search is for: this machine's, or ones that it has not, known by their shipped predictors."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

from hwnas.core.references import require_trusted
from hwnas.errors import DeviceError, UnknownNameError
from hwnas.predict.shipped import ShippedDevice, missing_folders, shipped_devices, table_path
from hwnas.profiler.device import DEVICES, PERMISSION, WHOLE, Conditions, conditions_here, onnx_precision
from hwnas.profiler.request import DeviceRequest
from hwnas.profiler.runtime import USUAL, chosen, runtime
from hwnas.runs.folder import RunFolder

# What every machine has, to run models on whose latency is asked for elsewhere.
HOME: Final = "cpu"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A device under `name`. `conditions` are those that latencies are asked for under, `here` those that models run under on
    this machine.

    Where the device is a shipped one, called `shipped`, the two differ: what is predicted is never measured.
    """

    name: str
    conditions: Mapping[str, Any]
    here: Conditions
    runtime_options: Mapping[str, str]
    shipped: str | None = None

    @property
    def timed(self) -> bool:
        """True where models are timed, because the device is here."""
        return self.shipped is None

    @property
    def place(self) -> str:
        """The place where models are to run, in words."""
        return "here" if self.shipped is None else f"on {self.shipped}"

    @property
    def step(self) -> str:
        """The step of inference whose latency is asked for."""
        return str(self.conditions.get("step", WHOLE))

    @property
    def precision_here(self) -> str:
        """The precision that models for the device run in on this machine: for a shipped one, that of their file."""
        return self.here.precision if self.timed else onnx_precision(self.conditions["precision"])

    def describe(self) -> dict[str, Any]:
        """Returns what run.json stores of a device; fit for JSON."""
        return {"name": self.name, "timed": self.timed, "conditions": dict(self.conditions)}


def by_precision(targets: Iterable[Target]) -> tuple[Target, ...]:
    """Returns the first device of each precision that whole inputs run in here: the precision decides what a model answers."""
    found: dict[str, Target] = {}
    for target in (target for target in targets if target.step == WHOLE):
        found.setdefault(target.precision_here, target)
    return tuple(found.values())


def target_of(request: DeviceRequest) -> Target:
    """Returns the device of a request.

    Raises UnknownNameError; DeviceError where the device cannot be used, or is shipped for other conditions.
    """
    device = shipped_device(request.device)
    if device is None:
        here = conditions_here(
            request.device,
            threads=request.threads,
            batch=request.batch,
            precision=request.precision,
            step=request.step,
            runtime=request.runtime or USUAL,
            runtime_options=request.runtime_options,
        )
        return Target(name=request.name, conditions=here.describe(), here=here, runtime_options=request.runtime_options)
    conditions = device.conditions
    needed = _needed(request, conditions)
    if needed:
        raise DeviceError(f"device {device.name} was measured under other conditions; give {' '.join(needed)}")
    return _elsewhere(request, conditions)


def targets_of(requests: Sequence[DeviceRequest], run: RunFolder | None = None) -> tuple[Target, ...]:
    """Returns the devices of a request; of a run that goes on, shipped devices as the run knows them.

    Raises DeviceError where the first one does not run whole inputs, as a search scores networks.
    """
    known = {} if run is None else {device["name"]: device["conditions"] for device in run.read().get("devices", ())}
    targets = tuple(
        target_of(request)
        if request.device in DEVICES or request.name not in known
        else _elsewhere(request, known[request.name])
        for request in requests
    )
    if targets[0].step != WHOLE:
        raise DeviceError(
            f"networks are scored on whole inputs; give --device {requests[0].device} --device {requests[0].device}+step="
            f"{targets[0].step}"
        )
    return targets


def known_targets(run: RunFolder, requests: Sequence[DeviceRequest]) -> tuple[Target, ...]:
    """Returns the devices of a finished run as the run knows them, whatever machine this is. Raises RunError."""
    known = {device["name"]: device["conditions"] for device in run.read("devices")["devices"]}
    return tuple(_elsewhere(request, known[request.name]) for request in requests)


def runtime_of(conditions: Mapping[str, Any], where: str | Path) -> str:
    """Returns the runtime's name, without its version, in conditions that the file `where` holds.

    Raises TrustError for a runtime in a Python file that this user has not allowed.
    """
    name, _, version = str(conditions["runtime"]).rpartition(" ")
    require_trusted(name or version, where)
    return name or version


def _elsewhere(request: DeviceRequest, conditions: Mapping[str, Any]) -> Target:
    here = conditions_here(HOME, batch=conditions["batch"])
    return Target(
        name=request.name,
        conditions=conditions,
        here=here,
        runtime_options=request.runtime_options,
        shipped=request.device,
    )


def _needed(request: DeviceRequest, conditions: Mapping[str, Any]) -> list[str]:
    """Returns the flags that ask for what conditions have and a request has not.

    Raises UnknownNameError, DeviceError for an option that the runtime has not.
    """
    runs = runtime_of(conditions, f"the predictor of device {request.device}")
    shipped = {name: conditions[name] for name in ("threads", "batch", "precision")}
    shipped |= {"step": conditions.get("step", WHOLE), "runtime": runs}
    asked = {name: getattr(request, name) for name in shipped} | {"runtime": request.runtime or runs}
    needed = [f"--{name} {value}" for name, value in shipped.items() if asked[name] != value]
    if asked["runtime"] != runs:
        return needed  # its options are others
    options = runtime(runs).options(conditions["device"])
    wanted = chosen(options, request.runtime_options)
    for name, value in chosen(options, conditions["runtime_options"]).items():
        if wanted[name] != value and name != PERMISSION:
            needed.append(f"--runtime-option {name}={value}")
    return needed


def shipped_device(name: str) -> ShippedDevice | None:
    """The shipped device of a name; None for the names of this machine's devices, whatever is shipped under them.

    Raises UnknownNameError; DeviceError where it may be in a folder that is not there.
    """
    if name in DEVICES:
        return None
    devices = shipped_devices()
    if name not in devices:
        for missing in missing_folders():
            raise DeviceError(f"device {name} is not found: {missing}")
        raise UnknownNameError("device", name, [*DEVICES, *devices])
    return devices[name]


def require_here(name: str) -> None:
    """Raises DeviceError for a device that is shipped: it is measured where it is, under its runtime's name."""
    shipped = None if name in DEVICES else shipped_devices().get(name)
    if shipped is not None:
        own = shipped.conditions["device"]
        raise DeviceError(
            f"device {name} is measured where it is, as --device {own}; what is known of it is "
            f"{table_path(shipped.folder, name, '').parent}"
        )
