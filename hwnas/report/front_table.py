"""The front as a table on the terminal, by rich: of all that is known, the columns that people decide by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, final

from rich import box
from rich.console import Console
from rich.table import Table

from hwnas.report.axes import SHARE, WORDS
from hwnas.runs.front import DeviceLatency, FrontRow, named
from hwnas.runs.objectives import UNIT_OF_COLUMN, RunGoal
from hwnas.tasks.task import Metric

# A table is at most as wide as this where it can be: costs that are no objectives are left out for it.
WIDTH: Final = 120
# The most lines of a row, where the table would be too wide otherwise.
LINES: Final = 3
# The costs that are shown although they are no objectives, the first to be left out last.
_USUAL_COSTS: Final = ("energy_mj", "params")
# Shorter than the words of plots.
_HEADERS: Final[Mapping[str, str]] = {"params": "params", "model": "model", "peak": "peak"}


@final
@dataclass(frozen=True, slots=True)
class _Column:
    """A column of cells; `needed` is False for one that may be left out, `lines` are those of a cell."""

    header: str
    cells: Sequence[str]
    needed: bool = True
    justify: str = "right"
    lines: int = 1


def front_table(rows: Sequence[FrontRow], goal: RunGoal, width: int | None = None) -> Table:
    """Returns the front in the order of its rows; the points with a name carry it.

    Where it is wider than `WIDTH`, or than `width`, that of a terminal, optional columns are left out; where that is not
    enough for `width`, cells of neighbouring columns stand one above the other, so that a row has two lines, or three.

    A column without any value, such as measurements on a device that is not here, or verdicts without a budget, is left out.
    Values before and after final training have an arrow between them.
    """
    columns = [column for column in _columns(rows, goal) if any(column.cells)]
    most = WIDTH if width is None else min(width, WIDTH)
    while _width(columns) > most and not all(column.needed for column in columns):
        last = max(index for index, column in enumerate(columns) if not column.needed)
        del columns[last]
    while width is not None and _width(columns) > width and (pairs := _pairs(columns)):
        columns = min(pairs, key=_width)
    return _table(columns)


def _pairs(columns: Sequence[_Column]) -> list[list[_Column]]:
    """Returns the columns with two neighbours joined, for each two that may be; their lines are at most `LINES`."""
    both = [at for at in range(len(columns) - 1) if columns[at].lines + columns[at + 1].lines <= LINES]
    fewest = min((columns[at].lines + columns[at + 1].lines for at in both), default=0)
    return [
        [*columns[:at], _joined(columns[at], columns[at + 1]), *columns[at + 2 :]]
        for at in both
        if columns[at].lines + columns[at + 1].lines == fewest
    ]


def _joined(upper: _Column, lower: _Column) -> _Column:
    """Returns a column whose cells are those of two, one above the other."""
    cells = [f"{one}\n{other}" for one, other in zip(upper.cells, lower.cells, strict=True)]
    heads = [column.header if column.lines > 1 else " ".join(column.header.split()) for column in (upper, lower)]
    return _Column("\n".join(heads), cells, justify=upper.justify, lines=upper.lines + lower.lines)


def _columns(rows: Sequence[FrontRow], goal: RunGoal) -> list[_Column]:
    names = {row.arch_id: name for name, row in named(rows, goal.objectives).items()}
    first, quality = goal.metrics[0], goal.quality
    columns = [
        _Column("id", [row.arch_id for row in rows], justify="left"),
        _Column("name", [names.get(row.arch_id, "") for row in rows], justify="left"),
        _metric(rows, first, "val"),
    ]
    columns += [_metric(rows, quality, split) for split in ("val", "test") if quality != first or split == "test"]
    columns += [_metric(rows, metric, "test") for metric in goal.metrics[2:] if metric.unit == SHARE]
    others = [one.metric for one in goal.objectives if one.metric not in (None, first, quality)]
    columns += [_metric(rows, metric, "val") for metric in others if metric is not None]
    for index in range(len(rows[0].latencies)):
        columns += _device([row.latencies[index] for row in rows], several=len(rows[0].latencies) > 1)
        columns.append(_metric(rows, quality, "test", f"@{rows[0].latencies[index].device}"))
    costs = [
        objective.column(rows[0]) for objective in goal.objectives if not (objective.metric or objective.is_latency)
    ]
    columns += [_cost(rows, column, needed=True) for column in costs]
    return columns + [_cost(rows, column, needed=False) for column in _USUAL_COSTS if column not in costs]


def _metric(rows: Sequence[FrontRow], metric: Metric, split: str, on: str = "") -> _Column:
    """Returns the column of a metric; `on` is `@DEVICE` for what the models of a further precision score."""
    name = f"{metric.name}_{split}"
    cells = [_metric_cell(row, metric, (f"{name}_before{on}", f"{name}{on}")) for row in rows]
    words = metric.name.replace("_", "\n")
    return _Column(f"{on.removeprefix('@')}\n{split} {words}" if on else f"{split}\n{words}", cells)


def _metric_cell(row: FrontRow, metric: Metric, columns: tuple[str, str]) -> str:
    """Returns a metric, after the value before final training where there was one; empty where it is not known."""
    values = [row.metrics[column] for column in columns if column in row.metrics]
    if columns[-1] not in row.metrics:
        return ""
    if metric.unit == SHARE:
        return f"{' → '.join(f'{100 * value:.1f}' for value in values)} %"
    return " → ".join(f"{value:.4f}" if abs(value) < 10 else f"{value:.4g}" for value in values)


def _device(latencies: Sequence[DeviceLatency], several: bool) -> list[_Column]:
    """Returns the columns of one device; their headers name it where there are several."""
    on = f"{latencies[0].device}\n" if several else ""
    return [
        _Column(
            f"{on}predicted ms\n(interval)",
            [f"{_ms(one.predicted_ms)} ({_ms(one.interval_low_ms)}–{_ms(one.interval_high_ms)})" for one in latencies],
        ),
        _Column(f"{on}measured\nmedian ms", [_ms(one.measured_median_ms) for one in latencies]),
        _Column(f"{on}error\nof p10", ["" if one.error is None else f"{100 * one.error:+.1f} %" for one in latencies]),
        _Column(f"{on}in\nbudget", [_verdict(one) for one in latencies]),
    ]


def _verdict(latency: DeviceLatency) -> str:
    if latency.budget_ms is None:
        return ""
    if not latency.within_budget:
        return "NO"
    return "yes ±" if latency.within_noise else "yes"


def _cost(rows: Sequence[FrontRow], column: str, needed: bool) -> _Column:
    end = next((end for end in UNIT_OF_COLUMN if column.endswith(end)), "")
    name = column.removesuffix(end)
    words = _HEADERS.get(name, WORDS.get(name, name))
    values = [row.costs.get(column) for row in rows]
    return _Column(
        f"{words}\n{UNIT_OF_COLUMN[end]}" if end else words, [_count(value) for value in values], needed=needed
    )


def _count(value: float | None) -> str:
    if value is None:
        return ""
    return f"{int(value):,}" if float(value).is_integer() else f"{value:.4g}"


def _ms(value: float | None) -> str:
    """Returns a latency with four digits after the point, and fewer of long ones."""
    if value is None:
        return ""
    return f"{value:.4f}" if value < 10 else f"{value:.2f}" if value < 1000 else f"{value:.0f}"


def _width(columns: Sequence[_Column]) -> int:
    return Console(width=1000).measure(_table(columns)).maximum


def _table(columns: Sequence[_Column]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", padding=(0, 1, 0, 0), pad_edge=False)
    table.leading = int(any(column.lines > 1 for column in columns))
    for column in columns:
        table.add_column(column.header, justify=column.justify, no_wrap=True, vertical="bottom")  # type: ignore[arg-type]
    for cells in zip(*(column.cells for column in columns), strict=True):
        table.add_row(*cells)
    return table
