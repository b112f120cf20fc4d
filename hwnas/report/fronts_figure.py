"""The figure of the fronts of several runs, by matplotlib."""

from collections.abc import Sequence
from itertools import cycle
from textwrap import fill
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hwnas.report.figures import INK, LINES, style
from hwnas.report.front import COLOURS
from hwnas.report.front_figure import DASHES, scale
from hwnas.report.fronts import FrontsPlot, NamedFront

# Runs differ in shape as well as in colour.
_MARKERS: Final = ("o", "s", "^", "D", "v")
_INCHES: Final = (7.0, 4.6)
_LINE_INCHES: Final = 0.19  # a line of the legend
_LETTERS: Final = 92  # of a line of the legend, or below the title


def draw_fronts(plot: FrontsPlot) -> Figure:
    """Draws the front of every run, and beyond which line it found nothing; networks over a budget are hollow."""
    labels = [fill(plot.label(front), _LETTERS, subsequent_indent="  ") for front in plot.fronts]
    notes = [fill(note, _LETTERS) for note in plot.notes]
    height = _INCHES[1] + _LINE_INCHES * sum(text.count("\n") + 1 for text in (*labels, *notes))
    figure = Figure(figsize=(_INCHES[0], height), dpi=200, layout="constrained")
    axes = figure.subplots()
    style(axes)
    for front, colour, marker in zip(plot.fronts, cycle(LINES), cycle(_MARKERS), strict=False):
        _draw_front(axes, front, {"color": colour, "marker": marker})
    x_axis, y_axis = plot.axes
    axes.set(xlabel=x_axis.label, ylabel=y_axis.label)
    scale(axes, "x", x_axis)
    scale(axes, "y", y_axis)
    axes.set(xlim=x_axis.ends, ylim=y_axis.ends)
    pairs = [front.pair for front in plot.fronts]
    for draw, budgets in (
        (axes.axvline, {budget for pair in pairs for budget in pair.budgets_ms(pair.x)}),
        (axes.axhline, {budget for pair in pairs for budget in pair.budgets_ms(pair.y)}),
    ):
        for budget_ms in sorted(budgets):
            draw(budget_ms, color=COLOURS["budget"], linewidth=1.2, linestyle=DASHES, zorder=2, gid="budget")
    _draw_legend(figure, plot, labels)
    quiet: dict[str, Any] = {"fontsize": 9, "color": "#666666", "linespacing": 1.4, "parse_math": False}
    axes.annotate("\n".join(notes), (0, 1), (0, 8), xycoords="axes fraction", textcoords="offset points", **quiet)
    pad = 12 + 13 * sum(note.count("\n") + 1 for note in notes)
    axes.set_title(plot.title, loc="left", pad=pad, fontsize=12.5, weight="bold", color=INK, parse_math=False)
    return figure


def _draw_front(axes: Axes, front: NamedFront, look: dict[str, Any]) -> None:
    corners = front.pair.staircase
    if corners:
        line: dict[str, Any] = {"color": look["color"], "linewidth": 1.4, "alpha": 0.7}
        axes.plot(*zip(*corners, strict=True), gid=f"{front.name} staircase", **line)
    for within in (True, False):
        for kept, size in ((True, 6.0), (False, 3.5)):  # networks that others beat in these two objectives are small
            places = [
                front.pair.place(point)
                for point in front.points
                if front.is_within(point) == within and (front.pair.place(point) in corners) == kept
            ]
            if places:
                drawn: dict[str, Any] = {"markersize": size, "markerfacecolor": look["color"] if within else "white"}
                gid = f"{front.name} {'within' if within else 'over'}{'' if kept else ', beaten'}"
                axes.plot(*zip(*places, strict=True), linestyle="", zorder=4, gid=gid, **drawn, **look)


def _draw_legend(figure: Figure, plot: FrontsPlot, labels: Sequence[str]) -> None:
    """Draws an entry for every run, and those that say what small and hollow networks are, where there are any."""
    entries = [
        (Line2D([], [], color=colour, marker=marker, markersize=6, linewidth=1.4), label)
        for label, colour, marker in zip(labels, cycle(LINES), cycle(_MARKERS), strict=False)
    ]
    if any(not {front.pair.place(point) for point in front.points} <= {*front.pair.staircase} for front in plot.fronts):
        small = Line2D([], [], color=INK, marker="o", markersize=3.5, linewidth=0)
        entries.append((small, "small: beaten in these two objectives by another of its run"))
    if any(not front.is_within(point) for front in plot.fronts for point in front.points):
        hollow = Line2D([], [], color=INK, marker="o", markerfacecolor="white", markersize=6, linewidth=0)
        entries.append((hollow, "hollow: over budget"))
    legend = figure.legend(
        *zip(*entries, strict=True), loc="outside lower left", ncols=1, frameon=False, fontsize=8.5, labelcolor=INK
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
