"""The device a search is for: this machine's, or one that it has not, known by its shipped predictors."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, final

from hwnas.core.space import SearchSpace
from hwnas.errors import DeviceError, PredictorError, UnknownNameError
from hwnas.latency.predictor import LatencyPredictor
from hwnas.latency.shipped import ShippedDevice, shipped_devices, table_path
from hwnas.pipeline.config import SearchConfig
from hwnas.pipeline.predict import usable_predictor
from hwnas.profiler.device import Conditions, conditions_here, devices

# What every machine has, to run models on whose latency is asked for elsewhere.
HOME: Final = "cpu"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """`conditions` are those that latencies are asked for under, `here` those that models run under on this machine.

    Where the device is a `shipped` one, these are others: what is predicted is never measured.
    """

    conditions: Mapping[str, Any]
    here: Conditions
    shipped: ShippedDevice | None = None

    @property
    def timed(self) -> bool:
        """Whether models are timed, here being where they are to run."""
        return self.shipped is None

    @property
    def place(self) -> str:
        """Where they are to run, in words."""
        return "here" if self.shipped is None else f"on {self.shipped.name}"

    def predictor(self, space: SearchSpace) -> LatencyPredictor | None:
        """The shipped predictor, for this space or the part of one that it is; None for a device of this machine.

        Raises PredictorError where there is none of this space.
        """
        if self.shipped is None:
            return None
        try:
            return usable_predictor(self.shipped.predictor(space.reference), space, self.conditions)
        except PredictorError as error:
            raise PredictorError(
                f"device {self.shipped.name} is known for built-in spaces at default options, and their parts: {error}; "
                f"profile the space there, or estimate it: `hwnas fit --table {self.shipped.name}/{self.shipped.spaces[0]} "
                f"--space {space.reference or 'FILE.py:FUNCTION'} --out cold.json`, and search with --predictor cold.json"
            ) from None


def target_of(config: SearchConfig) -> Target:
    """Raises UnknownNameError; DeviceError where a device cannot be used, or is shipped for other conditions."""
    shipped = shipped_devices().get(config.device)
    if shipped is None:
        here = _conditions_of(config)
        return Target(conditions=here.describe(), here=here)
    conditions = shipped.conditions
    asked = {name: getattr(config, name) for name in ("threads", "batch", "precision", "runtime_options")}
    known = {name: conditions.get(name) for name in asked}
    found = [f"{name} {known[name]}, not {value}" for name, value in asked.items() if value != known[name]]
    if found:
        raise DeviceError(f"device {config.device} was measured with {'; '.join(found)}; leave that option out")
    return Target(conditions=conditions, here=conditions_here(HOME, batch=config.batch), shipped=shipped)


def _conditions_of(config: SearchConfig) -> Conditions:
    """The conditions a search asks for, on this machine."""
    try:
        return conditions_here(
            config.device,
            threads=config.threads,
            batch=config.batch,
            precision=config.precision,
            runtime=config.runtime,
            runtime_options=config.runtime_options,
        )
    except UnknownNameError:
        local = [str(row["device"]) for row in devices()]
        if config.device in local:  # then it is another name
            raise
        raise UnknownNameError("device", config.device, [*local, *shipped_devices()]) from None


def require_here(device: str) -> None:
    """Raises DeviceError for a device that is shipped: it is measured where it is, under its runtime's name."""
    shipped = shipped_devices().get(device)
    if shipped is not None:
        own = shipped.conditions["device"]
        raise DeviceError(
            f"device {device} is measured where it is, as --device {own}; what is known of it is "
            f"{table_path(shipped.folder, device, '').parent}"
        )
