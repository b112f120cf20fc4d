"""Costs by name: unit, words for people, suffixes of limits, and what each cost is made from. Loads no torch.

A user's own cost is `FILE.py:NAME`, a function from a space to a `Cost`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from hwnas.core.references import is_reference, resolve
from hwnas.core.space import SearchSpace
from hwnas.costs.cost import Cost
from hwnas.costs.sizes import SIZES
from hwnas.errors import HwnasError, UnknownNameError

# `space`: `SIZES` of costs/sizes.py; `predictor`: PredictedCost; `batch`: ProxyCost, which needs a batch and a task's loss.
Origin = Literal["space", "predictor", "batch"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CostKind:
    """Facts of a cost that its name alone decides.

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
    "snip": CostKind(origin="batch", words="in SNIP score"),
    "grasp": CostKind(origin="batch", words="in GraSP score"),
    "fisher": CostKind(origin="batch", words="in Fisher score"),
    "synflow": CostKind(origin="batch", words="in SynFlow score"),
    "naswot": CostKind(origin="batch", words="in NASWOT score"),
    "zen": CostKind(origin="batch", words="in Zen score"),
}
# A user's own cost, whose words and unit are its own.
OWN: Final = CostKind(origin="space", words="")


def split_device(name: str) -> tuple[str, str]:
    """Returns the kind of a cost and the device it is for; the device is empty where the name says none.

    >>> split_device("latency@amd-epyc"), split_device("params")
    (('latency', 'amd-epyc'), ('params', ''))
    """
    kind, _, device = name.partition("@")
    return kind, device


def cost_kind(name: str) -> CostKind:
    """Returns what is known of a cost such as `params`, `latency@amd-epyc` or `FILE.py:NAME`. Raises UnknownNameError."""
    if ".py:" in name:
        return OWN
    if is_reference(name):
        return CostKind(origin="space", words=f"of {name}")
    kind, device = split_device(name)
    if kind not in COSTS or (device and COSTS[kind].origin != "predictor"):
        predicted = [f"{known}@DEVICE" for known in COSTS if COSTS[known].origin == "predictor"]
        raise UnknownNameError("cost", name, [*COSTS, *predicted, "FILE.py:NAME"])
    return COSTS[kind]


def space_cost(reference: str, space: SearchSpace) -> Cost:
    """Returns a cost that is made from a space alone: a size by name, or a user's own by FILE.py:NAME.

    Raises UnknownNameError for an unknown name, HwnasError for a file that gives no cost.
    """
    cost: Cost = resolve("cost", reference, SIZES, HwnasError)(space)
    missing = [name for name in ("name", "unit", "factors", "values", "upper", "program") if not hasattr(cost, name)]
    if missing:
        raise HwnasError(f"{reference} returns a {type(cost).__name__} without {', '.join(missing)}; return a Cost")
    return cost
