"""The metrics and costs that a run's networks are drawn and compared by, as plain values."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, final

from hwnas.report.axes import SHARE, short
from hwnas.report.front import FrontPlot, Pair
from hwnas.runs.front import FrontRow
from hwnas.runs.objectives import Objective, known_names


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A metric or a cost as an axis shows it.

    `column` is its column of front.csv, `factor` 100 for shares, which people read in percent, else 1. `ends` and `ticks` are in
    the units of the axis, as `budgets`; without `ticks` the axis is linear.
    """

    name: str
    column: str
    label: str
    unit: str
    factor: float
    highest: bool
    is_latency: bool
    is_objective: bool
    ends: tuple[float, float]
    ticks: tuple[tuple[float, str], ...]
    budgets: tuple[float, ...]
    budget_label: str

    def describe(self) -> dict[str, Any]:
        """Returns the column as JSON has it."""
        return asdict(self)


def columns_of(plot: FrontPlot) -> tuple[Column, ...]:
    """Returns the columns of a front: its objectives first, then all else that its networks are known by."""
    objectives = [objective.name for objective in plot.goal.objectives]
    names = dict.fromkeys([*objectives, *known_names(plot.points[0], plot.goal.metrics)])
    return tuple(_column(plot, plot.goal.objective(name), name in objectives) for name in names)


def first_axes(plot: FrontPlot) -> tuple[str, str]:
    """Returns the names of the axes that a page begins with: x, y."""
    pair = plot.pairs[0]
    return pair.x.name, pair.y.name


def values_of(column: Column, plot: FrontPlot, rows: Iterable[FrontRow]) -> list[float]:
    """Returns the value of each row: a metric on the validation split, a latency as measured (p10) or predicted, or a cost."""
    objective = plot.goal.objective(column.name)
    return [_value(objective, row) for row in rows]


def _value(objective: Objective, row: FrontRow) -> float:
    """Returns a value, NaN where earlier versions did not evaluate the metric."""
    try:
        return objective.value(row)
    except KeyError:
        return float("nan")


def _column(plot: FrontPlot, objective: Objective, is_objective: bool) -> Column:
    pair, is_share = Pair(plot, objective, objective), objective.metric is not None and objective.metric.unit == SHARE
    axis = pair.x_axis
    return Column(
        name=objective.name,
        column=objective.column(plot.points[0]),
        label=axis.label,
        unit="%" if is_share else axis.label.rpartition("(")[2].rstrip(")") if axis.label.endswith(")") else "",
        factor=100.0 if is_share else 1.0,
        highest=objective.highest,
        is_latency=objective.is_latency,
        is_objective=is_objective,
        ends=axis.ends,
        ticks=tuple((tick, short(tick)) for tick in axis.ticks) if axis.logarithmic else (),
        budgets=pair.budgets_ms(objective),
        budget_label=pair.budget_label(objective),
    )
