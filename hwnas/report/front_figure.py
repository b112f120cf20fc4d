"""The figure of a front, by matplotlib: a panel for every pair of objectives, and predicted against measured latency.

Shapes: L labels, P points to keep clear of labels; the last axis of 2 is x, y.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter

from hwnas.core.arrays import FloatArray
from hwnas.report.axes import Axis, Place, short
from hwnas.report.comparison import TOLERANCE, Comparison
from hwnas.report.figures import INK, draw_equality, draw_hollow, style, words
from hwnas.report.front import COLOURS, FrontPlot, Pair
from hwnas.report.labels import place_labels
from hwnas.runs.front import FrontRow
from hwnas.runs.objectives import Objective

# Columns of panels by their number: wide pictures, for pages and slides are.
_COLUMNS: Final = {1: 1, 2: 2, 3: 3, 4: 2, 5: 3, 6: 3}
_LEGEND_INCHES: Final = 2.5  # the longest entry of the legend
DASHES: Final = (0, (5, 3))


def draw_front(plot: FrontPlot) -> Figure:
    """Draws every pair of objectives, and beside them, where latency was measured, predicted against measured latency."""
    pairs, comparisons = plot.pairs, plot.comparisons
    figure, panels = _panels(len(pairs), len(comparisons))
    lines = plot.subtitle.count("\n")
    title = plot.title + "\n" * max(0, lines)  # the layout keeps as much room as the subtitle's lines need
    figure.suptitle(title, x=0.012, ha="left", fontsize=12.5, weight="bold", color=INK, parse_math=False)
    text: dict[str, Any] = {"ha": "right", "va": "top", "fontsize": 9, "color": "#666666", "linespacing": 1.4}
    figure.text(0.988, 0.98, plot.subtitle, parse_math=False, **text)
    for axes, pair in zip(panels, pairs, strict=False):
        _draw_pair(axes, pair)
    for axes, comparison in zip(panels[len(pairs) :], comparisons, strict=False):
        _draw_comparison(axes, comparison)
    by_label: dict[str, Any] = {}
    for axes in panels[: len(pairs)]:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            by_label.setdefault(label, handle)
    columns = int(figure.get_figwidth() / _LEGEND_INCHES)
    legend: dict[str, Any] = {"loc": "outside lower center", "ncols": columns, "frameon": False, "labelcolor": INK}
    figure.legend(list(by_label.values()), list(by_label), fontsize=9, **legend)
    figure.draw_without_rendering()  # fixes the layout, and with it where every point is in pixels
    for axes, pair in zip(panels, pairs, strict=False):
        _label_points(figure, axes, pair)
    return figure


def _panels(pairs: int, comparisons: int) -> tuple[Figure, list[Axes]]:
    """Returns a figure and its panels, row by row. One pair beside one comparison has the larger part."""
    count = pairs + comparisons
    columns = _COLUMNS[count]
    rows = -(-count // columns)
    # 10 inches at 200 dpi: 2000 pixels, sharp at the 1000 that a README shows.
    size = (10.0, 4.7) if count <= 2 else (4.6 * columns, 0.7 + 3.9 * rows)
    figure = Figure(figsize=size, dpi=200, layout="constrained")
    if (pairs, comparisons) == (1, 1):
        drawn = figure.subplots(1, 2, width_ratios=(1.6, 1), gridspec_kw={"wspace": 0.06}, squeeze=False)
    else:
        drawn = figure.subplots(rows, columns, squeeze=False, gridspec_kw={"wspace": 0.05, "hspace": 0.06})
    panels = list(drawn.flat)
    for axes in panels[count:]:
        axes.remove()
    return figure, panels[:count]


def _draw_pair(axes: Axes, pair: Pair) -> None:
    style(axes)
    x_axis, y_axis = pair.x_axis, pair.y_axis
    axes.set(xlabel=x_axis.label, ylabel=y_axis.label)
    _draw_evaluated(axes, pair)
    _draw_before(axes, pair)
    if pair.has_latency:
        _draw_predictions(axes, pair)
    _draw_found(axes, pair)
    for objective in (pair.x, pair.y):
        _draw_budgets(axes, pair, objective)
    scale(axes, "x", x_axis)
    scale(axes, "y", y_axis)
    axes.set(xlim=x_axis.ends, ylim=y_axis.ends)


def scale(axes: Axes, name: str, axis: Axis) -> None:
    """Scales the axis `x` or `y` of a panel, and writes its numbers."""
    drawn = {"x": axes.xaxis, "y": axes.yaxis}[name]
    if axis.logarithmic:
        axes.set(**{f"{name}scale": "log"})
        drawn.set_ticks(axis.ticks, [short(tick) for tick in axis.ticks])
        drawn.set_ticks([], minor=True)
    elif axis.ends[1] >= 1000:
        drawn.set_major_formatter(FuncFormatter(lambda value, _: short(value)))


def _draw_evaluated(axes: Axes, pair: Pair) -> None:
    if not pair.evaluated:
        return
    look: dict[str, Any] = {"color": COLOURS["evaluated"], "markersize": 4, "markeredgewidth": 0, "alpha": 0.6}
    axes.plot(
        *zip(*pair.evaluated, strict=True), "o", zorder=2, gid="evaluated", label=pair.plot.evaluated_label, **look
    )


def _draw_before(axes: Axes, pair: Pair) -> None:
    """Marks the points as they were before final training, each joined to the point that it became."""
    moved = [(before, pair.place(point)) for point in pair.plot.points if (before := pair.before(point)) is not None]
    if not moved:
        return
    for before, after in moved:
        axes.plot(*zip(before, after, strict=True), color=COLOURS["before"], linewidth=0.7, alpha=0.5, zorder=2.2)
    look: dict[str, Any] = {"color": COLOURS["before"], "markersize": 5, "markeredgewidth": 0, "alpha": 0.6}
    places = zip(*(before for before, _ in moved), strict=True)
    axes.plot(*places, "o", zorder=2.3, gid="before", label="front, before final training", **look)


def _draw_predictions(axes: Axes, pair: Pair) -> None:
    line: dict[str, Any] = {"colors": COLOURS["predicted"], "linewidth": 2, "zorder": 3}
    places = [pair.predicted(point) for point in pair.plot.points]
    for at, objective, draw in ((1, pair.x, axes.hlines), (0, pair.y, axes.vlines)):
        if objective.is_latency:
            ends = [pair.interval(point, objective) for point in pair.plot.points]
            gid = "intervals" if at else "intervals-y"
            draw([place[at] for place in places], *zip(*ends, strict=True), gid=gid, **line)
    draw_hollow(axes, places, gid="predicted", size=5, label="prediction and its interval")


def _draw_found(axes: Axes, pair: Pair) -> None:
    """Draws the front's points and their staircase. With more than two objectives, what others beat in these two is small."""
    corners = zip(*pair.staircase, strict=True)
    axes.plot(*corners, color=COLOURS["measured"], linewidth=1.6, zorder=2.5, gid="staircase")
    front = f"front{pair.plot.latency_kind}"
    for within, kept, gid, colour, marker, size, label in (
        (True, True, "within", "measured", "o", 8, front),
        (True, False, "within", "measured", "o", 5, "front, beaten in these two objectives"),
        (False, True, "over", "budget", "X", 8, "front, over budget"),
        (False, False, "over", "budget", "X", 5, "front, over budget"),
    ):
        chosen = [pair.place(point) for point in pair.found(within=within, kept=kept)]
        look: dict[str, Any] = {"color": COLOURS[colour], "markersize": size, "markeredgecolor": "white"}
        if chosen:
            places = zip(*chosen, strict=True)
            axes.plot(*places, marker, markeredgewidth=0.1 * size, zorder=4.5 + kept, gid=gid, label=label, **look)


def _draw_budgets(axes: Axes, pair: Pair, objective: Objective) -> None:
    on_x = objective == pair.x
    budgets = pair.budgets_ms(objective)
    line: dict[str, Any] = {"color": COLOURS["budget"], "linewidth": 1.4, "linestyle": DASHES, "zorder": 2.8}
    for budget_ms in budgets:
        draw = axes.axvline if on_x else axes.axhline
        draw(budget_ms, gid="budget" if on_x else "budget-y", **line)
    if not budgets:
        return
    look: dict[str, Any] = {"color": COLOURS["budget"], "fontsize": 9, "textcoords": "offset points"}
    if on_x:
        look |= {"xycoords": axes.get_xaxis_transform(), "xytext": (0, 3), "ha": "center"}
        axes.annotate(pair.budget_label(objective), (budgets[-1], 1), **look)
    else:
        look |= {"xycoords": axes.get_yaxis_transform(), "xytext": (0, -3), "ha": "right", "va": "top"}
        look["path_effects"] = [
            withStroke(linewidth=2.5, foreground="white")
        ]  # the line of another device may cross it
        axes.annotate(pair.budget_label(objective), (1, budgets[-1]), **look)


def _draw_comparison(axes: Axes, comparison: Comparison) -> None:
    style(axes)
    axes.set(xlabel=comparison.labels[0], ylabel=comparison.labels[1])
    draw_equality(axes, comparison.ends_ms, [TOLERANCE])
    measured = [measured_ms for measured_ms, _ in comparison.places]
    line: dict[str, Any] = {"colors": COLOURS["predicted"], "linewidth": 2, "zorder": 3, "gid": "intervals-2"}
    axes.vlines(measured, *zip(*comparison.intervals_ms, strict=True), **line)
    draw_hollow(axes, comparison.places, gid="predicted-2", size=6.5)
    axes.text(0.04, 0.97, comparison.accuracy, va="top", linespacing=1.4, **words(axes))
    axes.text(0.97, 0.04, f"line: equal; band: ±{100 * TOLERANCE:.0f} %", ha="right", **words(axes))


def _label_points(figure: Figure, axes: Axes, pair: Pair) -> None:
    """Labels the fastest point, the knee and the best where the labels hide nothing: by their quality where it is all there
    is to say, by their names where points must be found again in other panels."""
    points = {name: point for name, point in pair.plot.highlights.items() if np.isfinite(pair.place(point)).all()}
    several = len(pair.plot.goal.objectives) > 2
    texts = [name if several else pair.plot.tested(point) for name, point in points.items()]
    anchors_L2 = _pixels(axes, [pair.place(point) for point in points.values()])
    sizes_L2 = np.array([_text_size(axes, text) for text in texts])
    centres_L2 = place_labels(anchors_L2, sizes_L2, *_obstacles(axes, pair), axes.bbox.get_points())
    offsets_L2 = (centres_L2 - anchors_L2) * 72 / figure.dpi
    for text, point, offset_2 in zip(texts, points.values(), offsets_L2, strict=True):
        _draw_label(axes, text, point, pair.place(point), (float(offset_2[0]), float(offset_2[1])))


def _draw_label(axes: Axes, text: str, point: FrontRow, place: Place, offset: Place) -> None:
    colour = COLOURS["measured"]
    axes.annotate(
        text,
        place,
        xytext=offset,
        textcoords="offset points",
        ha="center",
        va="center",
        fontsize=9,
        weight="bold",
        color=colour,
        arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.8, "shrinkA": 1, "shrinkB": 4},
        path_effects=[withStroke(linewidth=2.5, foreground="white")],
        zorder=6,
        gid=f"label-{point.arch_id}",
    )


def _text_size(axes: Axes, text: str) -> tuple[float, float]:
    probe = axes.text(0, 0, text, fontsize=9, weight="bold")
    box = probe.get_window_extent()
    probe.remove()
    return box.width, box.height


def _obstacles(axes: Axes, pair: Pair) -> tuple[FloatArray, FloatArray]:
    """Returns what a label should not hide, as pixels and their weights; shapes (P, 2) and (P,)."""
    points = pair.plot.points
    front = [*pair.places, *(pair.predicted(point) for point in points)]
    lines = _along(axes, pair.staircase)
    for point in points:
        x, y = pair.predicted(point)
        if pair.x.is_latency:
            lines += _along(axes, [(end, y) for end in pair.interval(point, pair.x)])
        if pair.y.is_latency:
            lines += _along(axes, [(x, end) for end in pair.interval(point, pair.y)])
    for budget_ms in pair.budgets_ms(pair.x):
        lines += _along(axes, [(budget_ms, end) for end in axes.get_ylim()])
    for budget_ms in pair.budgets_ms(pair.y):
        lines += _along(axes, [(end, budget_ms) for end in axes.get_xlim()])
    before = [place for point in points if (place := pair.before(point)) is not None]
    faint = _pixels(axes, [*before, *pair.evaluated])
    places = np.concatenate([_pixels(axes, front), np.array(lines).reshape(-1, 2), faint])
    return places, np.repeat([1000.0, 30.0, 1.0], [len(front), len(lines), len(faint)])


def _along(axes: Axes, corners: Sequence[Place]) -> list[tuple[float, ...]]:
    """Returns many pixels on the line through the corners."""
    x, y = _pixels(axes, corners).T
    steps, index = np.linspace(0, len(corners) - 1, 60 * len(corners)), np.arange(len(corners))
    return list(zip(np.interp(steps, index, x), np.interp(steps, index, y), strict=True))


def _pixels(axes: Axes, places: Sequence[Place]) -> FloatArray:
    pixels = axes.transData.transform(np.array(places, dtype=np.float64).reshape(-1, 2))
    return np.asarray(pixels, dtype=np.float64)
