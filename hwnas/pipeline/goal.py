"""Goals of a search: objectives, limits and latency budgets, in the units in which people ask."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass as plain_dataclass
from typing import Annotated, Final

from pydantic import Field, field_validator
from pydantic.dataclasses import dataclass

from hwnas.core.requests import Texts
from hwnas.costs.limits import parse_limit
from hwnas.errors import HwnasError, UnknownNameError
from hwnas.predict.measurements import LATENCY
from hwnas.report.front import STATISTICS
from hwnas.strategies.problem import MOST_OBJECTIVES

UNITS_MS: Final[Mapping[str, float]] = {"ns": 1e-6, "us": 1e-3, "ms": 1.0, "s": 1e3}
# The flags that are short for a --limit, by the cost that each one limits.
LIMIT_FLAGS: Final[Mapping[str, str]] = {
    "max_params": "params",
    "max_flops": "flops",
    "max_model_mib": "model",
    "max_peak_mib": "peak",
    "max_energy_mj": "energy",
}
FEWEST_OBJECTIVES: Final = 2


@plain_dataclass(frozen=True, slots=True)
class Budget:
    """A latency in milliseconds, or a share of the largest network's; one of the two.

    `device` names the device that the budget is for; it is empty for a budget of every device.
    """

    milliseconds: float | None = None
    share: float | None = None
    device: str = ""

    @property
    def is_limit(self) -> bool:
        """False for a share of 100 % or more, which limits nothing: networks are held to the upper ends of their intervals, and
        the largest one's is over 100 %."""
        return self.share is None or self.share < 1

    def resolve(self, largest_ms: float) -> float:
        """Returns the budget in milliseconds, given the latency of the largest network."""
        return self.milliseconds if self.milliseconds is not None else float(self.share or 0.0) * largest_ms


def parse_budgets(text: str) -> list[Budget]:
    """Returns one budget or several, written with commas between them. Raises HwnasError.

    >>> [budget.device for budget in parse_budgets("cpu:0.2ms,amd-epyc:60%")]
    ['cpu', 'amd-epyc']
    """
    return [parse_budget(part) for part in text.split(",")]


def parse_budget(text: str) -> Budget:
    """Returns the budget of `0.4ms`, `250us`, `1s`, or `60%` of the largest network, perhaps after `DEVICE:`.

    Raises HwnasError.

    >>> parse_budget("250us").milliseconds, parse_budget("60%").share
    (0.25, 0.6)
    """
    device, colon, duration = text.rpartition(":")
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+(?:e[+-]?[0-9]+)?)\s*(ns|us|ms|s|%)?\s*", duration)
    if match is None or not 0 < float(match[1]) < float("inf") or (colon and not device.strip()):
        raise HwnasError(f"latency budget {text!r} is not a positive duration; write 0.4ms, 250us or 60%")
    value, unit = float(match[1]), match[2]
    if unit is None:
        raise HwnasError(
            f"latency budget {text!r} has no unit; write {text}ms, {text}us, or {text}% of the largest network"
        )
    if unit == "%":
        return Budget(share=value / 100, device=device.strip())
    return Budget(milliseconds=value * UNITS_MS[unit], device=device.strip())


@dataclass(frozen=True, kw_only=True)
class GoalRequest:
    """Objectives, limits and budgets. Without `latency_budget` latency is not limited."""

    latency_budget: Annotated[
        str | None,
        Field(
            description="0.4ms, 250us, or a share of the largest network, 60%; several with commas; of several devices: "
            "cpu:0.4ms,amd-epyc:60%. 100% or more limits nothing. Default: no limit."
        ),
    ] = None
    budget_on: Annotated[str, Field(description="Statistic the budget is judged on: median, p10 or p90.")] = "median"
    objectives: Annotated[
        str | None,
        Field(
            description="Two to four metrics or costs to trade off: loss,latency,params. Default: the task's first metric "
            "and the latency on every device."
        ),
    ] = None
    limit: Annotated[
        Texts, Field(description="A limit on any cost: 'params<=200000', 'peak<=100KiB', 'flops<=2e6'.")
    ] = ()
    max_params: Annotated[float | None, Field(ge=1, allow_inf_nan=False, description="Most parameters.")] = None
    max_flops: Annotated[
        float | None, Field(ge=1, allow_inf_nan=False, description="Most FLOPs of one input, two per multiply-add.")
    ] = None
    max_model_mib: Annotated[
        float | None, Field(gt=0, allow_inf_nan=False, description="Most MiB of weights and statistics in the file.")
    ] = None
    max_peak_mib: Annotated[
        float | None,
        Field(gt=0, allow_inf_nan=False, description="Most MiB of activations alive at once, of one sample, float32."),
    ] = None
    max_energy_mj: Annotated[
        float | None,
        Field(
            gt=0,
            allow_inf_nan=False,
            description="Most millijoules of one inference, predicted (upper end of the interval).",
        ),
    ] = None

    @field_validator("budget_on")
    @classmethod
    def _known_statistic(cls, statistic: str) -> str:
        if statistic not in STATISTICS:
            raise UnknownNameError("latency statistic", statistic, list(STATISTICS))
        return statistic

    @field_validator("latency_budget")
    @classmethod
    def _readable(cls, text: str | None) -> str | None:
        if text is not None:
            parse_budgets(text)
        return text

    @field_validator("limit")
    @classmethod
    def _readable_limits(cls, limits: tuple[str, ...]) -> tuple[str, ...]:
        for text in limits:
            name, _ = parse_limit(text)
            if name.partition("@")[0] == LATENCY:
                raise HwnasError(
                    f"--limit {text}: give latencies as --latency-budget, which is also held when measured"
                )
        return limits

    def bounds(self) -> list[tuple[str, float]]:
        """Returns the cost and the bound of every limit, in the cost's unit."""
        short = [(cost, getattr(self, name)) for name, cost in LIMIT_FLAGS.items()]
        return [(cost, float(bound)) for cost, bound in short if bound is not None] + [
            parse_limit(text) for text in self.limit
        ]

    def budgets_of(self, devices: Sequence[str]) -> list[dict[str, Budget]]:
        """Returns every budget to search for: each has one budget per device that is limited.

        Shares of 100 % or more limit nothing; where all budgets are such, there is none. Raises HwnasError for a device that
        is not searched for, a budget that is given twice, and several budgets each for several devices.
        """
        budgets = [
            {device: budget for device, budget in by_device.items() if budget.is_limit}
            for by_device in self._budgets_of(devices)
        ]
        return budgets if any(budgets) else []

    def _budgets_of(self, devices: Sequence[str]) -> list[dict[str, Budget]]:
        """Returns the budgets as they are written, per device."""
        budgets = [] if self.latency_budget is None else parse_budgets(self.latency_budget)
        for budget in budgets:
            if budget.device and budget.device not in devices:
                raise UnknownNameError("device of --latency-budget", budget.device, list(devices))
        limits = [budget for budget in budgets if budget.is_limit and not budget.device]
        if len(set(limits)) < len(limits):
            raise HwnasError(f"--latency-budget {self.latency_budget}: has a budget twice; give each once")
        if any(budget.device for budget in budgets):
            unnamed = [budget for budget in budgets if not budget.device]
            by_device = dict.fromkeys(devices, unnamed[0]) if unnamed else {}
            by_device |= {budget.device: budget for budget in budgets if budget.device}
            names = [budget.device for budget in budgets]
            if len(set(names)) < len(names):
                raise HwnasError(f"--latency-budget {self.latency_budget}: give one budget for each device")
            return [by_device]
        if len(budgets) > 1 and len(devices) > 1:
            raise HwnasError(
                f"--latency-budget {self.latency_budget}: give one budget per device, as {devices[0]}:0.4ms,{devices[1]}:60%"
            )
        return [dict.fromkeys(devices, budget) for budget in budgets]

    def objectives_of(self, metric: str, latencies: Sequence[str]) -> tuple[str, ...]:
        """Returns the names of the objectives; by default a metric and the latency on every device.

        Raises HwnasError where they are fewer than two, more than four, or repeat.
        """
        names = (metric, *latencies) if self.objectives is None else tuple(self.objectives.replace(" ", "").split(","))
        if not FEWEST_OBJECTIVES <= len(names) <= MOST_OBJECTIVES or len(set(names)) < len(names):
            raise HwnasError(f"--objectives {','.join(names)}: give two to four different names")
        return names

    def named_costs(self) -> tuple[str, ...]:
        """Returns the names in objectives and limits, whether or not there are such metrics or costs."""
        objectives = "" if self.objectives is None else self.objectives.replace(" ", "")
        return (*objectives.split(","), *(name for name, _ in self.bounds()))
