"""What a search is asked for, and the units in which people ask."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final

from hwnas.core.choice import Argument
from hwnas.errors import HwnasError, UnknownNameError
from hwnas.report.front import STATISTICS
from hwnas.train.recipes import RECIPES

GRADIENT: Final = "gradient"
GRADIENT_OPTIONS: Final = (
    *(
        "sampler",
        "penalty",
        "penalty_weight",
        "selector",
        "warmup_epochs",
        "progressive",
        "partial_channels",
        "unrolled",
        "mixed_precision",
    ),
    *("final", "final_epochs"),
)
# What becomes of a network that a gradient search derived.
FINALS: Final = ("none", "finetune", "scratch")
UNITS_MS: Final[Mapping[str, float]] = {"ns": 1e-6, "us": 1e-3, "ms": 1.0, "s": 1e3}


@dataclass(frozen=True, slots=True)
class Budget:
    """A latency in milliseconds, or a share of the largest network's; one of the two."""

    milliseconds: float | None = None
    share: float | None = None

    def resolve(self, largest_ms: float) -> float:
        """In milliseconds, given the measured latency of the largest network."""
        return self.milliseconds if self.milliseconds is not None else float(self.share or 0.0) * largest_ms


def parse_budgets(text: str) -> list[Budget]:
    """One budget or several, with commas between them. Raises HwnasError.

    >>> len(parse_budgets("0.2ms,0.3ms"))
    2
    """
    return [parse_budget(part) for part in text.split(",")]


def parse_budget(text: str) -> Budget:
    """`0.4ms`, `250us`, `1s`, or `60%` of the largest network. Raises HwnasError.

    >>> parse_budget("250us"), parse_budget("60%")
    (Budget(milliseconds=0.25, share=None), Budget(milliseconds=None, share=0.6))
    """
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+(?:e[+-]?[0-9]+)?)\s*(ns|us|ms|s|%)?\s*", text)
    if match is None or not 0 < float(match[1]) < float("inf"):
        raise HwnasError(f"latency budget {text!r} is not a positive duration; write 0.4ms, 250us or 60%")
    value, unit = float(match[1]), match[2]
    if unit is None:
        raise HwnasError(
            f"latency budget {text!r} has no unit; write {text}ms, {text}us, or {text}% of the largest network"
        )
    if unit == "%":
        return Budget(share=value / 100)
    return Budget(milliseconds=value * UNITS_MS[unit])


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchConfig:
    """Everything a search depends on; stored in run.json, and what `--resume` goes on with.

    `fix`, `drop` and `tie` are operations on the space in words, as on the command line.
    `recipe` is a name of `RECIPES`, or `auto`: what suits the supernet. `learning_rate` is the recipe's where it is None.
    `runtime` is the device's own where it is None, for one of this machine onnxruntime.
    `train_on` is one of `TRAINS_ON` in train/devices.py, and all that may differ where a run is resumed.
    `max_model_mib` is of weights and statistics, `max_peak_mib` of activations alive at once for one sample;
    `max_energy_mj` is of one inference, as predicted (upper end of the interval) by `energy_predictor`, or by what the run's
    table has of energies.

    `GRADIENT_OPTIONS` are of the strategy `gradient` alone, whose `latency_budget` may be several, with commas. There
    `epochs` are those of the search, after `warmup_epochs`, and `final` says what becomes of a derived network: `none` (the
    supernet's weights), `finetune` or `scratch`. `selector` is `auto` or one of `gradient/selectors.py`.
    """

    space: str = "mobilenet"
    space_options: Mapping[str, Argument] = field(default_factory=dict)
    fix: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    tie: tuple[str, ...] = ()
    data: str = "digits"
    limit_images: int | None = None
    device: str = "cpu"
    threads: int = 1
    batch: int = 1
    precision: str = "fp32"
    runtime: str | None = None
    runtime_options: Mapping[str, str] = field(default_factory=dict)
    latency_budget: str = "100%"
    budget_on: str = "median"
    max_params: int | None = None
    max_model_mib: float | None = None
    max_peak_mib: float | None = None
    max_energy_mj: float | None = None
    energy_predictor: str | None = None
    strategy: str = "nsga2"
    seed: int = 0
    epochs: int = 30
    train_on: str = "auto"
    recipe: str = "auto"
    learning_rate: float | None = None
    evaluations: int = 200
    networks: int = 60
    table: str | None = None
    predictor: str | None = None
    supernet: str | None = None
    sampler: str = "drnas"
    penalty: str = "budget"
    penalty_weight: float | None = None
    selector: str = "auto"
    warmup_epochs: int = 5
    progressive: bool = False
    partial_channels: int = 1
    unrolled: bool = False
    mixed_precision: bool = False
    final: str = "finetune"
    final_epochs: int = 15

    def __post_init__(self) -> None:
        for name in ("fix", "drop", "tie"):
            object.__setattr__(self, name, tuple(getattr(self, name)))  # JSON has lists
        if len(parse_budgets(self.latency_budget)) > 1 and self.strategy != GRADIENT:
            raise HwnasError(f"--strategy {self.strategy} takes one --latency-budget, not {self.latency_budget}")
        if self.strategy != GRADIENT:
            self._refuse_gradient_options()
        if self.budget_on not in STATISTICS:
            raise UnknownNameError("latency statistic", self.budget_on, list(STATISTICS))
        if self.recipe not in ("auto", *RECIPES):
            raise UnknownNameError("recipe", self.recipe, ["auto", *RECIPES])
        if self.final not in FINALS:
            raise UnknownNameError("final training", self.final, list(FINALS))
        if self.warmup_epochs < 0:
            raise HwnasError(f"--warmup-epochs must not be negative, not {self.warmup_epochs}")
        for name in ("epochs", "evaluations", "networks", "final_epochs", "partial_channels"):
            if getattr(self, name) < 1:
                raise HwnasError(f"--{name.replace('_', '-')} must be at least 1, not {getattr(self, name)}")
        for name in ("limit_images", "max_params"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise HwnasError(f"--{name.replace('_', '-')} must be at least 1, not {value}")
        for name in ("learning_rate", "max_model_mib", "max_peak_mib", "max_energy_mj", "penalty_weight"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise HwnasError(f"--{name.replace('_', '-')} must be positive, not {value}")
        if not 0 <= self.seed < 2**32:
            raise HwnasError(f"--seed must be between 0 and {2**32 - 1}, not {self.seed}")

    def _refuse_gradient_options(self) -> None:
        """What would have no effect."""
        for each in fields(self):
            if each.name in GRADIENT_OPTIONS and getattr(self, each.name) != each.default:
                raise HwnasError(f"--{each.name.replace('_', '-')} is of --strategy gradient, not of {self.strategy}")

    def describe(self) -> dict[str, Any]:
        return asdict(self)
