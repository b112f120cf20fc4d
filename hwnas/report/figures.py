"""Figures for papers and READMEs. The only module that imports matplotlib; no state outside the figure.

Shapes: L labels, P points to keep clear of labels; the last axis of 2 is x, y.
"""

from collections.abc import Sequence
from io import BytesIO
from itertools import cycle
from pathlib import Path
from textwrap import wrap
from typing import Any, Final

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from hwnas.core.arrays import FloatArray
from hwnas.core.files import replace_file
from hwnas.errors import UnknownNameError
from hwnas.report.front import COLOURS, LOSS_TICKS, TOLERANCE, FrontPlot
from hwnas.report.held_out import BANDS, HeldOutPlot
from hwnas.report.labels import place_labels
from hwnas.report.progress import SearchPlot
from hwnas.runs.front import FrontRow

_FORMATS: Final = ("png", "svg")
# Of one search each: Okabe & Ito, as `COLOURS`.
_LINES: Final = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9")
_INK: Final = "#333333"


def draw_front(plot: FrontPlot) -> Figure:
    """Validation loss against latency, and beside it, where that was measured, predicted against measured latency."""
    # 10 inches at 200 dpi: 2000 pixels, sharp at the 1000 that a README shows.
    figure = Figure(figsize=(10, 4.7), dpi=200, layout="constrained")
    figure.suptitle(plot.title, x=0.012, ha="left", fontsize=12.5, weight="bold", color=_INK, parse_math=False)
    figure.text(0.988, 0.98, plot.subtitle, ha="right", va="top", fontsize=9, color="#666666", parse_math=False)
    if plot.timed:
        trade_off, prediction = figure.subplots(1, 2, width_ratios=(1.6, 1), gridspec_kw={"wspace": 0.06})
        _draw_prediction(prediction, plot)
    else:
        trade_off = figure.subplots()
    _draw_trade_off(trade_off, plot)
    handles, labels = trade_off.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False, fontsize=9, labelcolor=_INK)
    _label_accuracies(figure, trade_off, plot)
    return figure


def draw_held_out(plot: HeldOutPlot) -> Figure:
    """Predicted against measured latency of networks that the prediction was not fitted to."""
    figure = Figure(figsize=(6.2, 7), dpi=200, layout="constrained")
    axes = figure.subplots()
    _style(axes)
    _draw_heading(axes, plot)
    axes.set(xlabel=plot.labels[0], ylabel=plot.labels[1])
    _draw_equality(axes, plot.latencies_ms, BANDS)
    _draw_hollow(axes, plot.points, gid="held-out", size=5)
    if plot.logarithmic:
        axes.set(xscale="log", yscale="log")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_ticks(plot.ticks_ms, [f"{tick:g}" for tick in plot.ticks_ms])
            axis.set_ticks([], minor=True)
    shares = [f"{100 * plot.share_within(band):.0f} % within ±{100 * band:.0f} %" for band in BANDS]
    axes.text(0.04, 0.97, "\n".join(shares), va="top", linespacing=1.4, **_words(axes))
    bands = ", ".join(f"±{100 * band:.0f} %" for band in BANDS)
    axes.text(0.97, 0.04, f"line: equal; bands: {bands}", ha="right", **_words(axes))
    return figure


def draw_search(plot: SearchPlot) -> Figure:
    """Per epoch of every search: expected costs over their bounds, the multipliers of these, and how open choices are."""
    figure = Figure(figsize=(7, 7.5), dpi=200, layout="constrained")
    figure.suptitle(plot.title, x=0.012, ha="left", fontsize=12.5, weight="bold", color=_INK, parse_math=False)
    costs, multipliers, entropy = panels = figure.subplots(3, 1, sharex=True)
    for axes in panels:
        _style(axes)
    costs.axhline(1, color=COLOURS["budget"], linewidth=1, zorder=2)
    for colour, search in zip(cycle(_LINES), plot.searches, strict=False):
        for at, (constraint, style) in enumerate(zip(search.constraints, cycle(("-", "--", ":")), strict=False)):
            line: dict[str, Any] = {"color": colour, "linestyle": style, "gid": f"{search.label} {constraint}"}
            costs.plot(
                search.epochs, [each[at] for each in search.ratios], label=f"{search.label}: {constraint}", **line
            )
            multipliers.plot(search.epochs, [each[at] for each in search.multipliers], **line)
        entropy.plot(search.epochs, search.entropies, color=colour, gid=f"{search.label} entropy")
    costs.set_ylabel("expected cost / bound")
    multipliers.set_ylabel("multiplier")
    entropy.set(ylabel="entropy of the choices", xlabel="epoch", ylim=(0, 1.05))
    entropy.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9, labelcolor=_INK)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Writes a PNG or SVG, whole or not at all; equal figures give equal files. Raises UnknownNameError."""
    name = path.suffix.lstrip(".").lower()
    if name not in _FORMATS:
        raise UnknownNameError("plot format", path.name, [f".{known}" for known in _FORMATS])
    buffer = BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "hwnas"}):
        figure.savefig(buffer, format=name, facecolor="white", metadata={"Date": None} if name == "svg" else {})
    replace_file(path, buffer.getvalue())


def _style(axes: Axes) -> None:
    axes.grid(color="#E6E6E6", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["bottom", "left"]].set_color("#999999")
    axes.tick_params(color="#999999", labelcolor=_INK, labelsize=9)
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set(color=_INK, fontsize=10)


def _draw_trade_off(axes: Axes, plot: FrontPlot) -> None:
    _style(axes)
    axes.set(xlabel="latency (ms)", ylabel="validation cross-entropy (nats)")
    _draw_evaluated(axes, plot.evaluated)
    _draw_intervals(axes, plot.points)
    _draw_found(axes, plot)
    if plot.budget_ms is not None:
        _draw_budget(axes, plot.budget_ms, plot.budget_label)
    axes.margins(x=0.06)
    if plot.logarithmic:
        ticks = [loss for loss in LOSS_TICKS if plot.losses[0] < loss < plot.losses[1]]
        axes.set_yscale("log")
        axes.set_yticks(ticks, [f"{loss:g}" for loss in ticks])
        axes.set_yticks([], minor=True)
    axes.set_ylim(plot.losses)


def _draw_evaluated(axes: Axes, evaluated: Sequence[tuple[float, float]]) -> None:
    if not evaluated:
        return
    axes.plot(
        *zip(*evaluated, strict=True),
        "o",
        color=COLOURS["evaluated"],
        markersize=4,
        markeredgewidth=0,
        alpha=0.6,
        zorder=2,
        gid="evaluated",
        label=f"evaluated: {len(evaluated)}, at predicted latency",
    )


def _draw_intervals(axes: Axes, points: Sequence[FrontRow]) -> None:
    low, high = [point.interval_low_ms for point in points], [point.interval_high_ms for point in points]
    losses = [point.loss_val for point in points]
    axes.hlines(losses, low, high, colors=COLOURS["predicted"], linewidth=2, zorder=3, gid="intervals")
    axes.plot(
        [point.predicted_ms for point in points],
        losses,
        "o",
        markerfacecolor="white",
        markeredgecolor=COLOURS["predicted"],
        markeredgewidth=1.4,
        markersize=5,
        zorder=4,
        gid="predicted",
        label="prediction and its interval",
    )


def _draw_found(axes: Axes, plot: FrontPlot) -> None:
    corners = zip(*plot.staircase, strict=True)
    axes.plot(*corners, color=COLOURS["measured"], linewidth=1.6, zorder=2.5, gid="staircase")
    for within, gid, colour, marker, label in (
        (True, "within", "measured", "o", f"front, {plot.latency_kind}"),
        (False, "over", "budget", "X", "front, over budget"),
    ):
        chosen = [(point.latency_ms, point.loss_val) for point in plot.points if point.within_budget == within]
        if chosen:
            axes.plot(
                *zip(*chosen, strict=True),
                marker,
                color=COLOURS[colour],
                markersize=8,
                markeredgecolor="white",
                markeredgewidth=0.9,
                zorder=5,
                gid=gid,
                label=label,
            )


def _draw_budget(axes: Axes, budget_ms: float, label: str) -> None:
    axes.axvline(budget_ms, color=COLOURS["budget"], linewidth=1.4, linestyle=(0, (5, 3)), zorder=2.8, gid="budget")
    axes.annotate(
        label,
        (budget_ms, 1),
        xycoords=axes.get_xaxis_transform(),
        xytext=(0, 3),
        textcoords="offset points",
        ha="center",
        color=COLOURS["budget"],
        fontsize=9,
    )


def _draw_prediction(axes: Axes, plot: FrontPlot) -> None:
    _style(axes)
    axes.set(xlabel="measured latency, p10 (ms)", ylabel="predicted latency (ms)")
    measured, predicted = [point.latency_ms for point in plot.points], [point.predicted_ms for point in plot.points]
    low, high = [point.interval_low_ms for point in plot.points], [point.interval_high_ms for point in plot.points]
    _draw_equality(axes, plot.latencies_ms, [TOLERANCE])
    axes.vlines(measured, low, high, colors=COLOURS["predicted"], linewidth=2, zorder=3, gid="intervals-2")
    _draw_hollow(axes, list(zip(measured, predicted, strict=True)), gid="predicted-2", size=6.5)
    axes.text(0.04, 0.97, plot.accuracy_of_predictions, va="top", linespacing=1.4, **_words(axes))
    axes.text(0.97, 0.04, f"line: equal; band: ±{100 * TOLERANCE:.0f} %", ha="right", **_words(axes))


def _draw_heading(axes: Axes, plot: HeldOutPlot) -> None:
    """The title, and below it where and how well, in as many lines as the device's name needs."""
    lines = [plot.accuracy, *wrap(plot.device, 75)]
    words: dict[str, Any] = {"fontsize": 9, "color": "#666666", "linespacing": 1.4, "parse_math": False}
    axes.annotate("\n".join(lines), (0, 1), (0, 8), xycoords="axes fraction", textcoords="offset points", **words)
    axes.set_title(
        plot.title, loc="left", pad=14 + 13 * len(lines), fontsize=12.5, weight="bold", color=_INK, parse_math=False
    )


def _draw_equality(axes: Axes, ends_ms: tuple[float, float], bands: Sequence[float]) -> None:
    """The line where predicted is measured, and what is off by a share of it; fixes both axes to the same ends."""
    ends_2 = np.array(ends_ms)
    for band in bands:
        edges = ends_2 * (1 - band), ends_2 * (1 + band)
        axes.fill_between(ends_2, *edges, color=COLOURS["measured"], alpha=0.13, linewidth=0, gid=f"band-{band:g}")
    axes.plot(ends_2, ends_2, color="#777777", linewidth=1.1, gid="diagonal")
    axes.set(xlim=ends_2, ylim=ends_2, box_aspect=1)
    for set_locator in (axes.xaxis.set_major_locator, axes.yaxis.set_major_locator):
        set_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))


def _draw_hollow(axes: Axes, places: Sequence[tuple[float, float]], *, gid: str, size: float) -> None:
    axes.plot(
        *zip(*places, strict=True),
        "o",
        markerfacecolor="white",
        markeredgecolor=COLOURS["predicted"],
        markeredgewidth=size / 4,
        markersize=size,
        zorder=4,
        gid=gid,
    )


def _words(axes: Axes) -> dict[str, Any]:
    """How texts inside the axes are written."""
    return {"transform": axes.transAxes, "fontsize": 9, "color": _INK}


def _label_accuracies(figure: Figure, axes: Axes, plot: FrontPlot) -> None:
    """Writes the test accuracy, or perplexity, near the fastest point, the knee and the best, where it hides nothing."""
    figure.draw_without_rendering()  # fixes the layout, and with it where every point is in pixels
    points = plot.highlights
    texts = [_tested(point) for point in points]
    anchors_L2 = _pixels(axes, [(point.latency_ms, point.loss_val) for point in points])
    sizes_L2 = np.array([_text_size(axes, text) for text in texts])
    centres_L2 = place_labels(anchors_L2, sizes_L2, *_obstacles(axes, plot), axes.bbox.get_points())
    for text, point, offset_2 in zip(texts, points, (centres_L2 - anchors_L2) * 72 / figure.dpi, strict=True):
        axes.annotate(
            text,
            (point.latency_ms, point.loss_val),
            xytext=tuple(offset_2),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=9,
            weight="bold",
            color=COLOURS["measured"],
            arrowprops={"arrowstyle": "-", "color": COLOURS["measured"], "linewidth": 0.8, "shrinkA": 1, "shrinkB": 4},
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
            zorder=6,
            gid=f"accuracy-{point.arch_id}",
        )


def _tested(point: FrontRow) -> str:
    if point.perplexity_test is None:
        return f"test {100 * point.accuracy_test:.1f} %"
    return f"test perplexity {point.perplexity_test:.3g}"


def _text_size(axes: Axes, text: str) -> tuple[float, float]:
    probe = axes.text(0, 0, text, fontsize=9, weight="bold")
    box = probe.get_window_extent()
    probe.remove()
    return box.width, box.height


def _obstacles(axes: Axes, plot: FrontPlot) -> tuple[FloatArray, FloatArray]:
    """What a label should not hide, as pixels and their weights; shapes (P, 2) and (P,)."""
    front = [(point.latency_ms, point.loss_val) for point in plot.points]
    front += [(point.predicted_ms, point.loss_val) for point in plot.points]
    lines = _along(plot.staircase)
    for point in plot.points:
        lines += _along([(point.interval_low_ms, point.loss_val), (point.interval_high_ms, point.loss_val)])
    if plot.budget_ms is not None:
        lines += _along([(plot.budget_ms, loss) for loss in axes.get_ylim()])
    places = [*front, *lines, *plot.evaluated]
    return _pixels(axes, places), np.repeat([1000.0, 30.0, 1.0], [len(front), len(lines), len(plot.evaluated)])


def _along(corners: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Many places on the line through the corners."""
    steps = np.linspace(0, len(corners) - 1, 60 * len(corners))
    x, y = np.array(corners).T
    index = np.arange(len(corners))
    return list(zip(np.interp(steps, index, x), np.interp(steps, index, y), strict=True))


def _pixels(axes: Axes, places: Sequence[tuple[float, float]]) -> FloatArray:
    return np.asarray(axes.transData.transform(np.array(places)), dtype=np.float64)
