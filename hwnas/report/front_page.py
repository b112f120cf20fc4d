"""The page of a front, by plotly: the panels of `front_figure`, with all that is known of a point under the pointer."""

from collections.abc import Sequence
from html import escape
from math import log10
from textwrap import wrap
from typing import Any, Final

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from hwnas.report.axes import Axis, Place, short
from hwnas.report.comparison import TOLERANCE, Comparison
from hwnas.report.described import described
from hwnas.report.front import COLOURS, FrontPlot, Pair
from hwnas.report.interactive import band, diagonal, hollow, page
from hwnas.runs.front import FrontRow
from hwnas.runs.objectives import Objective

_LINE: Final = 140  # characters of a line of a warning
_COLUMNS: Final = {1: 1, 2: 2, 3: 3, 4: 2, 5: 3, 6: 3}


def front_html(plot: FrontPlot) -> str:
    """Returns the page as text, about 5 MB: all of plotly.js is in it. Equal plots give equal pages."""
    pairs, comparisons = plot.pairs, plot.comparisons
    figure, cells = _panels(len(pairs), len(comparisons))
    in_legend: set[str] = set()
    for pair, cell in zip(pairs, cells, strict=False):
        _draw_pair(figure, pair, cell, in_legend)
    for number, (comparison, cell) in enumerate(zip(comparisons, cells[len(pairs) :], strict=False), len(pairs) + 1):
        _draw_comparison(figure, plot, comparison, {**cell, "number": number})
    warnings = [f"<b>{line}</b>" for text in plot.warnings for line in wrap(escape(f"Warning: {text}"), _LINE)]
    subtitle = "<br>".join([*warnings, *escape(plot.subtitle).split("\n")])
    figure.update_layout(
        template="plotly_white",
        title={"text": f"<b>{escape(plot.title)}</b>", "subtitle": {"text": subtitle}},
        font={"color": "#333333"},
        legend={"orientation": "h", "y": -0.15 if len(cells) <= 3 else -0.08, "x": 0.5, "xanchor": "center"},
        hoverlabel={"align": "left", "bgcolor": "white"},
        margin={"l": 70, "r": 30, "t": 110 + 16 * subtitle.count("<br>"), "b": 90},
    )
    return page(figure, plot.title, "front")


def _panels(pairs: int, comparisons: int) -> tuple[Any, list[dict[str, int]]]:
    """Returns a figure and the cells of its panels, row by row."""
    count = pairs + comparisons
    columns = _COLUMNS[count]
    rows = -(-count // columns)
    layout: dict[str, Any] = {"rows": rows, "cols": columns, "horizontal_spacing": 0.09}
    if (pairs, comparisons) == (1, 1):
        layout["column_widths"] = [0.62, 0.38]
    cells = [{"row": index // columns + 1, "col": index % columns + 1} for index in range(rows * columns)]
    if rows > 1:
        layout["vertical_spacing"] = 0.13
        empty = len(cells) - count
        specs: list[list[Any]] = [[{} for _ in range(columns)] for _ in range(rows)]
        specs[-1][columns - empty :] = [None] * empty
        layout["specs"] = specs
    return make_subplots(**layout), cells[:count]


def _draw_pair(figure: Any, pair: Pair, cell: dict[str, int], in_legend: set[str]) -> None:
    """Draws a panel; adds to `in_legend` the names that the legend has, so that it has them once."""
    traces = [_evaluated(pair), _before(pair), _staircase(pair), *_predictions(pair), *_found(pair)]
    for trace in traces:
        trace.update(legendgroup=trace.name)
        if trace.name in in_legend:
            trace.update(showlegend=False)
        elif trace.visible is not False:
            in_legend.add(trace.name)
        figure.add_trace(trace, **cell)
    x_axis, y_axis = pair.x_axis, pair.y_axis
    figure.update_xaxes(title_text=escape(x_axis.label), **_scale(x_axis), **cell)
    figure.update_yaxes(title_text=escape(y_axis.label), **_scale(y_axis), **cell)
    for objective in (pair.x, pair.y):
        _draw_budgets(figure, pair, objective, cell)


def _scale(axis: Axis) -> dict[str, Any]:
    if not axis.logarithmic:
        return {"range": axis.ends}
    ticks = {"tickvals": axis.ticks, "ticktext": [short(tick) for tick in axis.ticks]}
    return {"type": "log", "range": [log10(end) for end in axis.ends], **ticks}


def _draw_budgets(figure: Any, pair: Pair, objective: Objective, cell: dict[str, int]) -> None:
    budgets = pair.budgets_ms(objective)
    line = {"color": COLOURS["budget"], "width": 2, "dash": "dash"}
    on_x = objective == pair.x
    for budget_ms in budgets:
        label: dict[str, Any] = {}
        if budget_ms == budgets[-1]:
            label["annotation_position"] = "top" if on_x else "bottom right"
            label["annotation"] = {"text": pair.budget_label(objective), "font": {"color": COLOURS["budget"]}}
            label["annotation"] |= {"yanchor": "bottom"} if on_x else {}
        draw = figure.add_vline if on_x else figure.add_hline
        draw(budget_ms, line=line, **label, **cell)


def _evaluated(pair: Pair) -> Any:
    places = pair.evaluated
    return go.Scatter(
        name=pair.plot.evaluated_label,
        x=[x for x, _ in places],
        y=[y for _, y in places],
        mode="markers",
        marker={"color": COLOURS["evaluated"], "size": 6, "opacity": 0.6},
        hovertemplate=f"{_said(pair.x_axis, 'x')}<br>{_said(pair.y_axis, 'y')}<extra>evaluated</extra>",
        visible=bool(places),
    )


def _said(axis: Axis, name: str) -> str:
    return f"{escape(axis.label)}: %{{{name}:.4g}}"


def _before(pair: Pair) -> Any:
    places = [place for point in pair.plot.points if (place := pair.before(point)) is not None]
    return go.Scatter(
        name="front, before final training",
        x=[x for x, _ in places],
        y=[y for _, y in places],
        mode="markers",
        marker={"color": COLOURS["before"], "size": 7, "opacity": 0.6},
        hoverinfo="skip",
        visible=bool(places),
    )


def _staircase(pair: Pair) -> Any:
    x, y = zip(*pair.staircase, strict=True) if pair.staircase else ((), ())
    line = {"color": COLOURS["measured"], "width": 2}
    return go.Scatter(name="staircase", x=x, y=y, mode="lines", line=line, hoverinfo="skip", showlegend=False)


def _predictions(pair: Pair) -> list[Any]:
    if not pair.has_latency:
        return []
    places = [pair.predicted(point) for point in pair.plot.points]
    bars = {
        f"error_{name}": _bars(
            [place[at] for place in places], [pair.interval(point, axis) for point in pair.plot.points]
        )
        for at, (name, axis) in enumerate((("x", pair.x), ("y", pair.y)))
        if axis.is_latency
    }
    trace = go.Scatter(name="prediction and its interval", mode="markers", marker=hollow(8), hoverinfo="skip", **bars)
    trace.update(x=[x for x, _ in places], y=[y for _, y in places])
    return [trace]


def _bars(predicted: Sequence[float], intervals: Sequence[Place]) -> dict[str, Any]:
    """Returns prediction intervals as error bars: lengths to both sides."""
    return {
        "array": [high - at for at, (_, high) in zip(predicted, intervals, strict=True)],
        "arrayminus": [at - low for at, (low, _) in zip(predicted, intervals, strict=True)],
        "color": COLOURS["predicted"],
        "thickness": 2,
        "width": 0,
    }


def _found(pair: Pair) -> list[Any]:
    traces = []
    for within, kept, name, colour, symbol, size in (
        (True, True, f"front{pair.plot.latency_kind}", "measured", "circle", 11),
        (True, False, "front, beaten in these two objectives", "measured", "circle", 7),
        (False, True, "front, over budget", "budget", "x", 11),
        (False, False, "front, over budget and beaten in these two objectives", "budget", "x", 7),
    ):
        chosen = pair.found(within=within, kept=kept)
        marker = {"color": COLOURS[colour], "symbol": symbol, "size": size, "line": {"color": "white", "width": 1}}
        trace = go.Scatter(name=name, mode="markers", marker=marker, hoverinfo="text", visible=bool(chosen))
        places = [pair.place(point) for point in chosen]
        trace.update(x=[x for x, _ in places], y=[y for _, y in places], ids=[point.arch_id for point in chosen])
        trace.update(hovertext=_hover_texts(pair.plot, chosen))
        traces.append(trace)
    return traces


def _hover_texts(plot: FrontPlot, points: Sequence[FrontRow]) -> list[str]:
    return [
        "<br>".join([f"<b>{escape(point.arch_id)}</b>", *map(escape, described(point, plot.goal.metrics))])
        for point in points
    ]


def _draw_comparison(figure: Any, plot: FrontPlot, comparison: Comparison, panel: dict[str, int]) -> None:
    """Draws predicted against measured in a panel: its row, its column, and its number from 1."""
    cell = {name: panel[name] for name in ("row", "col")}
    ends_ms, places = comparison.ends_ms, comparison.places
    points = go.Scatter(name="predicted and measured", mode="markers", marker=hollow(9), hoverinfo="text")
    points.update(x=[x for x, _ in places], y=[y for _, y in places], showlegend=False)
    points.update(
        error_y=_bars([predicted_ms for _, predicted_ms in places], comparison.intervals_ms),
        hovertext=_hover_texts(plot, plot.points),
    )
    for trace in (band(ends_ms, TOLERANCE), diagonal(ends_ms), points):
        figure.add_trace(trace, **cell)
    figure.update_xaxes(title_text=escape(comparison.labels[0]), range=ends_ms, **cell)
    figure.update_yaxes(title_text=escape(comparison.labels[1]), range=ends_ms, **cell)
    figure.add_annotation(
        text=comparison.accuracy.replace("\n", "<br>"),
        xref=f"x{panel['number']} domain",
        yref=f"y{panel['number']} domain",
        x=0.03,
        y=0.98,
        align="left",
        showarrow=False,
    )
