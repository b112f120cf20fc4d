"""Plots as HTML pages that work offline, by plotly: held-out predictions. The page of a run is `run_page`."""

from html import escape
from math import log10
from typing import Any, Final

import plotly.graph_objects as go

from hwnas.report.front import COLOURS
from hwnas.report.held_out import BANDS, HeldOutPlot

# plotly 7 offers to upload the chart to its makers' server; a page of measurements should not.
_CONFIG: Final = {
    "displaylogo": False,
    "showSendToCloud": False,
    "modeBarButtonsToRemove": ["sendChartToCloud", "select2d", "lasso2d"],
}

_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>html, body {{ height: 100%; margin: 0; }}</style>
</head>
<body>
{figure}
</body>
</html>
"""


def held_out_html(plot: HeldOutPlot) -> str:
    """Returns the page of held-out predictions as text, about 5 MB: all of plotly.js is in it."""
    ends_ms = plot.latencies_ms
    figure = go.Figure([*(band(ends_ms, share) for share in BANDS[::-1]), diagonal(ends_ms), _held_out(plot)])
    subtitle = f"{escape(plot.accuracy)}<br>{escape(plot.device)}"
    figure.update_layout(
        template="plotly_white",
        title={"text": f"<b>{escape(plot.title)}</b>", "subtitle": {"text": subtitle}},
        font={"color": "#333333"},
        hoverlabel={"align": "left", "bgcolor": "white"},
        margin={"l": 70, "r": 30, "t": 130, "b": 70},
    )
    axis: dict[str, Any] = {"range": ends_ms}
    if plot.logarithmic:
        axis = {"type": "log", "range": [log10(end) for end in ends_ms], "tickvals": plot.ticks_ms}
        axis["ticktext"] = [f"{tick:g}" for tick in plot.ticks_ms]
    figure.update_xaxes(title_text=plot.labels[0], constrain="domain", **axis)
    figure.update_yaxes(title_text=plot.labels[1], scaleanchor="x", constrain="domain", **axis)
    return page(figure, plot.title, "held-out")


def page(figure: Any, title: str, name: str) -> str:
    """Returns a figure as a page without references. Equal figures of one name give equal pages."""
    body = figure.to_html(full_html=False, include_plotlyjs=True, div_id=name, config=_CONFIG)
    return _PAGE.format(title=escape(title), figure=body)


def band(ends_ms: tuple[float, float], share: float) -> Any:
    """Returns the band of predictions that are off by no more than a share."""
    low, high = ends_ms
    return go.Scatter(
        name=f"±{100 * share:.0f} %",
        x=[low, high, high, low],
        y=[low * (1 - share), high * (1 - share), high * (1 + share), low * (1 + share)],
        mode="lines",
        line={"width": 0},
        fill="toself",
        fillcolor="rgba(0, 114, 178, 0.13)",
        hoverinfo="skip",
    )


def diagonal(ends_ms: tuple[float, float]) -> Any:
    """Returns the line where predicted equals measured."""
    line = {"color": "#777777", "width": 1.5}
    return go.Scatter(name="equal", x=ends_ms, y=ends_ms, mode="lines", line=line, hoverinfo="skip", showlegend=False)


def _held_out(plot: HeldOutPlot) -> Any:
    return go.Scatter(
        name="held-out network",
        x=[measured_ms for measured_ms, _ in plot.points],
        y=[predicted_ms for _, predicted_ms in plot.points],
        customdata=[100 * (predicted_ms / measured_ms - 1) for measured_ms, predicted_ms in plot.points],
        mode="markers",
        marker=hollow(9),
        hovertemplate=f"measured %{{x:.4g}} {plot.unit}<br>predicted %{{y:.4g}} {plot.unit}"
        "<br>%{customdata:+.1f} %<extra></extra>",
    )


def hollow(size: int) -> dict[str, Any]:
    """Returns the marker of predictions: a ring."""
    return {"color": "white", "size": size, "line": {"color": COLOURS["predicted"], "width": 2}}
