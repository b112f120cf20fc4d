"""The device a search is for: this machine's, or one that it has not, known by its shipped predictors."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, final

from hwnas.errors import DeviceError, UnknownNameError
from hwnas.pipeline.config import SearchConfig
from hwnas.predict.shipped import ShippedDevice, missing_folders, shipped_devices, table_path
from hwnas.profiler.device import DEVICES, PERMISSION, Conditions, conditions_here
from hwnas.profiler.runtime import USUAL, chosen, runtime
from hwnas.runs.folder import RunFolder

# What every machine has, to run models on whose latency is asked for elsewhere.
HOME: Final = "cpu"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """`conditions` are those that latencies are asked for under, `here` those that models run under on this machine.

    Where the device is a shipped one, of the name `shipped`, these are others: what is predicted is never measured.
    """

    conditions: Mapping[str, Any]
    here: Conditions
    shipped: str | None = None

    @property
    def timed(self) -> bool:
        """Whether models are timed, here being where they are to run."""
        return self.shipped is None

    @property
    def place(self) -> str:
        """Where they are to run, in words."""
        return "here" if self.shipped is None else f"on {self.shipped}"


def target_of(config: SearchConfig) -> Target:
    """Raises UnknownNameError; DeviceError where a device cannot be used, or is shipped for other conditions."""
    device = shipped_device(config.device)
    if device is None:
        here = conditions_here(
            config.device,
            threads=config.threads,
            batch=config.batch,
            precision=config.precision,
            runtime=config.runtime or USUAL,
            runtime_options=config.runtime_options,
        )
        return Target(conditions=here.describe(), here=here)
    conditions = device.conditions
    needed = _needed(config, conditions)
    if needed:
        raise DeviceError(f"device {device.name} was measured under other conditions; give {' '.join(needed)}")
    return _elsewhere(device.name, conditions)


def target_of_run(run: RunFolder, config: SearchConfig) -> Target:
    """Of a run that goes on. A shipped device is as the run knows it, whatever is shipped by now."""
    conditions = run.read().get("conditions")
    if config.device in DEVICES or conditions is None:
        return target_of(config)
    return _elsewhere(config.device, conditions)


def _elsewhere(name: str, conditions: Mapping[str, Any]) -> Target:
    return Target(conditions=conditions, here=conditions_here(HOME, batch=conditions["batch"]), shipped=name)


def _needed(config: SearchConfig, conditions: Mapping[str, Any]) -> list[str]:
    """The options that ask for what conditions have and a configuration has not, as the command line writes them.

    Raises UnknownNameError, DeviceError for a runtime's option that it has not.
    """
    runs = conditions["runtime"].split()[0]
    had = {name: conditions[name] for name in ("threads", "batch", "precision")} | {"runtime": runs}
    asked = {name: getattr(config, name) for name in had} | {"runtime": config.runtime or runs}
    needed = [f"--{name} {value}" for name, value in had.items() if asked[name] != value]
    if asked["runtime"] != runs:
        return needed  # whose options are others
    options = runtime(runs).options(conditions["device"])
    wanted = chosen(options, config.runtime_options)
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
