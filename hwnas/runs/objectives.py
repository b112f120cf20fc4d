"""The objectives of a front, and the names that people give to its points. Knows no metric and no cost by name, but latency."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, final

from hwnas.errors import RunError, UnknownNameError
from hwnas.tasks.task import Metric

if TYPE_CHECKING:
    from hwnas.runs.folder import RunFolder
    from hwnas.runs.front import FrontRow

LATENCY: Final = "latency"
# The unit of a cost by the end of its column: `peak_mib`.
UNIT_OF_COLUMN: Final[Mapping[str, str]] = {"_ms": "ms", "_mj": "mJ", "_mib": "MiB"}


def cost_column(name: str, unit: str) -> str:
    """Returns the column of a cost in front.csv: its name, and its unit where that is one of `UNIT_OF_COLUMN`.

    >>> cost_column("peak", "MiB"), cost_column("params", "")
    ('peak_mib', 'params')
    """
    end = f"_{unit.lower()}"
    return f"{name}{end}" if end in UNIT_OF_COLUMN else name


@final
@dataclass(frozen=True, slots=True)
class Objective:
    """A metric or a cost by name. Without a metric it is a cost: `latency`, `latency@DEVICE`, or a column of costs."""

    name: str
    metric: Metric | None = None

    @property
    def kind(self) -> str:
        """The name without the device."""
        return self.name.partition("@")[0]

    @property
    def device(self) -> str:
        """The device of a cost of a further device; empty for the first device."""
        return self.name.partition("@")[2]

    @property
    def is_latency(self) -> bool:
        return self.metric is None and self.kind == LATENCY

    @property
    def highest(self) -> bool:
        """True where higher is better."""
        return self.metric is not None and self.metric.highest

    def column(self, row: "FrontRow") -> str:
        """Returns the column of a row that has the predicted or validation value. Raises UnknownNameError."""
        if self.metric is not None:
            return f"{self.name}_val"
        if self.is_latency:
            return f"predicted_ms@{self.device}" if self.device else "predicted_ms"
        for column in (self.name, *(f"{self.name}{end}" for end in UNIT_OF_COLUMN)):
            if column in row.costs:
                return column
        raise UnknownNameError("objective of the front", self.name, sorted(row.costs))

    def value(self, row: "FrontRow") -> float:
        """Returns the value of a row: of a metric on the validation split; of a latency, p10 as measured, or as predicted
        where it was not measured; of another cost as predicted."""
        if self.is_latency:
            return row.latency_of(self.name).latency_ms
        return float((row.costs if self.metric is None else row.metrics)[self.column(row)])

    def minimised(self, row: "FrontRow") -> float:
        """Returns the value with the sign that makes lower better; infinite for a value that is not a number."""
        value = -self.value(row) if self.highest else self.value(row)
        return math.inf if math.isnan(value) else value


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RunGoal:
    """The objectives of a run, every metric of its task, and the statistic that latency budgets are judged on."""

    objectives: tuple[Objective, ...]
    metrics: tuple[Metric, ...]
    budget_on: str = "median"

    @property
    def quality(self) -> Metric:
        """The metric that people read: the one after the first, which is the loss, where there is one."""
        return self.metrics[:2][-1]

    def objective(self, name: str) -> Objective:
        """Returns the metric or cost of a name, whether or not it is an objective of the run."""
        return Objective(name, next((metric for metric in self.metrics if metric.name == name), None))


def goal_of(objectives: Sequence[str], metrics: Sequence[Metric], budget_on: str = "median") -> RunGoal:
    """Returns the goal of objectives by name."""
    by_name = {metric.name: metric for metric in metrics}
    named_objectives = tuple(Objective(name, by_name.get(name)) for name in objectives)
    return RunGoal(objectives=named_objectives, metrics=tuple(metrics), budget_on=budget_on)


def read_goal(run: "RunFolder") -> RunGoal:
    """Returns the goal that run.json has. Raises RunError where it has none, or a damaged one."""
    facts: Mapping[str, Any] = run.read("goal")["goal"]
    try:
        metrics = [Metric(**metric) for metric in facts["metrics"]]
        return goal_of(facts["objectives"], metrics, facts["budget_on"])
    except (KeyError, TypeError) as error:
        raise RunError(f"{run.json}: damaged (goal: {error}); start again under another --out") from None


def known_names(row: "FrontRow", metrics: Sequence[Metric]) -> list[str]:
    """Returns the names of all that rows like this one can be drawn or compared by: metrics, latencies and other costs."""
    ends = tuple(UNIT_OF_COLUMN)
    costs = [name.removesuffix(next((end for end in ends if name.endswith(end)), "")) for name in row.costs]
    latencies = [LATENCY, *(f"{LATENCY}@{latency.device}" for latency in row.latencies[1:])]
    validated = [
        metric.name for metric in metrics if f"{metric.name}_val" in row.metrics
    ]  # earlier versions knew fewer
    return [*validated, *latencies, *costs]


def named(rows: Sequence["FrontRow"], objectives: Sequence[Objective]) -> dict[str, "FrontRow"]:
    """Returns the `fastest`, the `knee` and the `best` of a front, whatever the order of its rows.

    The fastest has the least latency on the first device, the best the best value of the first metric among the objectives.
    The knee is the row, other than these two where there are others, with the least sum of objectives, each scaled to 0..1;
    with two objectives it is furthest below the straight line between the other two
    (Branke et al., "Finding knees in multi-objective optimization", 2004).
    """
    first = next((one for one in objectives if one.metric is not None), objectives[0])
    fastest = min(rows, key=lambda row: (row.latency_ms, *_key(row, objectives)))
    best = min(rows, key=lambda row: (first.minimised(row), row.latency_ms, *_key(row, objectives)))
    heights = _heights(rows, objectives)
    ends = (fastest.arch_id, best.arch_id)
    between = [index for index, row in enumerate(rows) if row.arch_id not in ends] or [
        index for index, row in enumerate(rows) if row.arch_id == best.arch_id
    ]
    knee = min(between, key=lambda index: (heights[index], *_key(rows[index], objectives)))
    return {"fastest": fastest, "knee": rows[knee], "best": best}


def best_under(
    rows: Sequence["FrontRow"], objectives: Sequence[Objective], column: str, bound: float
) -> "FrontRow | None":
    """Returns the best row, as in `named`, whose column of front.csv is at most `bound`; None where there is none."""
    within = [row for row in rows if (value := getattr(row, column)) is not None and value <= bound]
    return named(within, objectives)["best"] if within else None


def _key(row: "FrontRow", objectives: Sequence[Objective]) -> tuple[float | str, ...]:
    """Decides between rows that are equal otherwise, so that their order never does."""
    return (*(objective.minimised(row) for objective in objectives), row.arch_id)


def _heights(rows: Sequence["FrontRow"], objectives: Sequence[Objective]) -> list[float]:
    """Returns the sum of every row's objectives, each scaled to 0..1 over the rows."""
    columns = [[objective.minimised(row) for row in rows] for objective in objectives]
    return [sum(values) for values in zip(*map(_scaled, columns), strict=True)]


def _scaled(values: Sequence[float]) -> list[float]:
    """Returns values scaled to 0..1; infinite ones are 1."""
    finite = [value for value in values if math.isfinite(value)] or [0.0]
    least, span = min(finite), max(finite) - min(finite)
    return [(value - least) / span if span and math.isfinite(value) else float(value > least) for value in values]
