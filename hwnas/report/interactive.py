"""Plots as HTML pages that work offline. The only module that imports plotly."""

from collections.abc import Sequence
from html import escape
from math import log10
from typing import Any, Final

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from hwnas.report.front import COLOURS, LOSS_TICKS, TOLERANCE, FrontPlot
from hwnas.report.held_out import BANDS, HeldOutPlot
from hwnas.runs.front import FrontRow

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


def front_html(plot: FrontPlot) -> str:
    """The page as text, about 5 MB: all of plotly.js is in it. Equal plots give equal pages."""
    layout: dict[str, Any] = {"cols": 2, "column_widths": [0.62, 0.38]} if plot.timed else {"cols": 1}
    figure = make_subplots(rows=1, horizontal_spacing=0.09, **layout)
    for trace in (_evaluated(plot), _staircase(plot), _predictions(plot), *_found(plot)):
        figure.add_trace(trace, row=1, col=1)
    _lay_out(figure, plot)
    if plot.timed:
        _add_calibration(figure, plot)
    if plot.budget_ms is not None:
        figure.add_vline(
            plot.budget_ms,
            row=1,
            col=1,
            line={"color": COLOURS["budget"], "width": 2, "dash": "dash"},
            annotation={"text": plot.budget_label, "font": {"color": COLOURS["budget"]}, "yanchor": "bottom"},
            annotation_position="top",
        )
    return _page(figure, plot.title, "front")


def held_out_html(plot: HeldOutPlot) -> str:
    """Predicted against measured, as text like that of `front_html`."""
    ends_ms = plot.latencies_ms
    figure = go.Figure([*(_band(ends_ms, band) for band in BANDS[::-1]), _diagonal(ends_ms), _held_out(plot)])
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
    return _page(figure, plot.title, "held-out")


def _page(figure: Any, title: str, name: str) -> str:
    body = figure.to_html(full_html=False, include_plotlyjs=True, div_id=name, config=_CONFIG)
    return _PAGE.format(title=escape(title), figure=body)


def _evaluated(plot: FrontPlot) -> Any:
    return go.Scatter(
        name=f"evaluated: {len(plot.evaluated)}, at predicted latency",
        x=[predicted_ms for predicted_ms, _ in plot.evaluated],
        y=[loss for _, loss in plot.evaluated],
        mode="markers",
        marker={"color": COLOURS["evaluated"], "size": 6, "opacity": 0.6},
        hovertemplate="predicted %{x:.4g} ms<br>cross-entropy %{y:.4g}<extra>evaluated</extra>",
        visible=bool(plot.evaluated),
    )


def _staircase(plot: FrontPlot) -> Any:
    x, y = zip(*plot.staircase, strict=True)
    line = {"color": COLOURS["measured"], "width": 2}
    return go.Scatter(name="staircase", x=x, y=y, mode="lines", line=line, hoverinfo="skip", showlegend=False)


def _predictions(plot: FrontPlot) -> Any:
    return go.Scatter(
        name="prediction and its interval",
        x=[point.predicted_ms for point in plot.points],
        y=[point.loss_val for point in plot.points],
        error_x=_intervals(plot.points),
        mode="markers",
        marker=_hollow(8),
        hoverinfo="skip",
    )


def _found(plot: FrontPlot) -> list[Any]:
    traces = []
    for within, name, colour, symbol in (
        (True, f"front, {plot.latency_kind}", "measured", "circle"),
        (False, "front, over budget", "budget", "x"),
    ):
        chosen = [point for point in plot.points if point.within_budget == within]
        marker = {"color": COLOURS[colour], "symbol": symbol, "size": 11, "line": {"color": "white", "width": 1}}
        trace = go.Scatter(name=name, mode="markers", marker=marker, hoverinfo="text", visible=bool(chosen))
        trace.update(x=[point.latency_ms for point in chosen], y=[point.loss_val for point in chosen])
        trace.update(ids=[point.arch_id for point in chosen], hovertext=[_describe(point) for point in chosen])
        traces.append(trace)
    return traces


def _band(ends_ms: tuple[float, float], share: float) -> Any:
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


def _diagonal(ends_ms: tuple[float, float]) -> Any:
    line = {"color": "#777777", "width": 1.5}
    return go.Scatter(name="equal", x=ends_ms, y=ends_ms, mode="lines", line=line, hoverinfo="skip", showlegend=False)


def _held_out(plot: HeldOutPlot) -> Any:
    return go.Scatter(
        name="held-out network",
        x=[measured_ms for measured_ms, _ in plot.points],
        y=[predicted_ms for _, predicted_ms in plot.points],
        customdata=[100 * (predicted_ms / measured_ms - 1) for measured_ms, predicted_ms in plot.points],
        mode="markers",
        marker=_hollow(9),
        hovertemplate=f"measured %{{x:.4g}} {plot.unit}<br>predicted %{{y:.4g}} {plot.unit}"
        "<br>%{customdata:+.1f} %<extra></extra>",
    )


def _calibration(plot: FrontPlot) -> Any:
    return go.Scatter(
        name="predicted and measured",
        x=[point.latency_ms for point in plot.points],
        y=[point.predicted_ms for point in plot.points],
        error_y=_intervals(plot.points),
        mode="markers",
        marker=_hollow(9),
        hovertext=[_describe(point) for point in plot.points],
        hoverinfo="text",
        showlegend=False,
    )


def _intervals(points: Sequence[FrontRow]) -> dict[str, Any]:
    """The prediction intervals as plotly wants error bars: lengths to both sides."""
    return {
        "array": [point.interval_high_ms - point.predicted_ms for point in points],
        "arrayminus": [point.predicted_ms - point.interval_low_ms for point in points],
        "color": COLOURS["predicted"],
        "thickness": 2,
        "width": 0,
    }


def _hollow(size: int) -> dict[str, Any]:
    return {"color": "white", "size": size, "line": {"color": COLOURS["predicted"], "width": 2}}


def _describe(point: FrontRow) -> str:
    interval = f"{point.interval_low_ms:.4g} to {point.interval_high_ms:.4g}"
    return "<br>".join(
        [
            f"<b>{escape(point.arch_id)}</b>",
            *_perplexities(point),
            f"accuracy: validation {100 * point.accuracy_val:.2f} %, test {100 * point.accuracy_test:.2f} %",
            f"cross-entropy: {point.loss_val:.4g} nats",
            f"predicted: {point.predicted_ms:.4g} ms [{interval}]",
            "not timed"
            if point.measured_ms is None
            else f"measured: p10 {point.measured_ms:.4g}, median {point.measured_median_ms:.4g}, "
            f"p90 {point.measured_p90_ms:.4g} ms",
            f"parameters: {point.params:,}, FLOPs: {point.flops:,}",
            f"within budget: {'yes' if point.within_budget else 'no'}",
        ]
    )


def _perplexities(point: FrontRow) -> list[str]:
    if point.perplexity_val is None:
        return []
    return [f"perplexity: validation {point.perplexity_val:.4g}, test {point.perplexity_test:.4g}"]


def _lay_out(figure: Any, plot: FrontPlot) -> None:
    figure.update_layout(
        template="plotly_white",
        title={"text": f"<b>{escape(plot.title)}</b>", "subtitle": {"text": escape(plot.subtitle)}},
        font={"color": "#333333"},
        legend={"orientation": "h", "y": -0.15, "x": 0.5, "xanchor": "center"},
        hoverlabel={"align": "left", "bgcolor": "white"},
        margin={"l": 70, "r": 30, "t": 110, "b": 90},
    )
    figure.update_xaxes(title_text="latency (ms)", row=1, col=1)
    figure.update_yaxes(title_text="validation cross-entropy (nats)", row=1, col=1)
    if plot.logarithmic:
        ticks = {"tickvals": LOSS_TICKS, "ticktext": [f"{loss:g}" for loss in LOSS_TICKS]}
        figure.update_yaxes(type="log", range=[log10(loss) for loss in plot.losses], row=1, col=1, **ticks)
    else:
        figure.update_yaxes(range=plot.losses, row=1, col=1)


def _add_calibration(figure: Any, plot: FrontPlot) -> None:
    """Predicted against measured, in a panel of its own."""
    for trace in (_band(plot.latencies_ms, TOLERANCE), _diagonal(plot.latencies_ms), _calibration(plot)):
        figure.add_trace(trace, row=1, col=2)
    figure.update_xaxes(title_text="measured latency, p10 (ms)", range=plot.latencies_ms, row=1, col=2)
    figure.update_yaxes(title_text="predicted latency (ms)", range=plot.latencies_ms, row=1, col=2)
    figure.add_annotation(
        text=plot.accuracy_of_predictions.replace("\n", "<br>"),
        xref="x2 domain",
        yref="y2 domain",
        x=0.03,
        y=0.98,
        align="left",
        showarrow=False,
    )
