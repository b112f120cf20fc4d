"""Costs by name: unit, words for people, suffixes of limits, and what each cost is made from. Loads no torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from hwnas.errors import UnknownNameError

# `space`: `SIZES` of costs/sizes.py; `predictor`: PredictedCost; `batch`: ProxyCost, which needs a batch and a task's loss.
Origin = Literal["space", "predictor", "batch"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CostKind:
    """What is known of a cost by its name alone.

    `words` follow a number in a sentence: "at most 3 parameters". `suffixes` are the units that a limit may be written in,
    with the number of `unit`s that one of them is; a number without a suffix is in `unit`.
    """

    origin: Origin
    words: str
    unit: str = ""
    suffixes: Mapping[str, float] = field(default_factory=dict)


THOUSANDS: Final = {"K": 1e3, "M": 1e6, "G": 1e9}
MEMORY: Final = {"B": 2.0**-20, "KiB": 2.0**-10, "MiB": 1.0, "GiB": 2.0**10}
TIME: Final = {"ns": 1e-6, "us": 1e-3, "ms": 1.0, "s": 1e3}
WORK: Final = {"uJ": 1e-3, "mJ": 1.0, "J": 1e3}

COSTS: Final[Mapping[str, CostKind]] = {
    "latency": CostKind(origin="predictor", words="ms of latency", unit="ms", suffixes=TIME),
    "energy": CostKind(origin="predictor", words="mJ an inference", unit="mJ", suffixes=WORK),
    "flops": CostKind(origin="space", words="FLOPs", suffixes=THOUSANDS),
    "params": CostKind(origin="space", words="parameters", suffixes=THOUSANDS),
    "model": CostKind(origin="space", words="MiB of weights", unit="MiB", suffixes=MEMORY),
    "peak": CostKind(origin="space", words="MiB of activations", unit="MiB", suffixes=MEMORY),
    "jacobian": CostKind(origin="batch", words="in jacobian score"),
    "grad-norm": CostKind(origin="batch", words="in gradient norm"),
}


def split_device(name: str) -> tuple[str, str]:
    """Returns the kind of a cost and the device it is for; the device is empty where the name says none.

    >>> split_device("latency@amd-epyc"), split_device("params")
    (('latency', 'amd-epyc'), ('params', ''))
    """
    kind, _, device = name.partition("@")
    return kind, device


def cost_kind(name: str) -> CostKind:
    """Returns what is known of a cost such as `params` or `latency@amd-epyc`. Raises UnknownNameError."""
    kind, device = split_device(name)
    if kind not in COSTS or (device and COSTS[kind].origin != "predictor"):
        predicted = [f"{known}@DEVICE" for known in COSTS if COSTS[known].origin == "predictor"]
        raise UnknownNameError("cost", name, [*COSTS, *predicted])
    return COSTS[kind]
