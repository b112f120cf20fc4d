"""Figures for papers and READMEs, by matplotlib; no state outside the figure. `front_figure` draws fronts."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from itertools import cycle
from pathlib import Path
from textwrap import wrap
from typing import Any, Final

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hwnas.core.files import replace_file
from hwnas.errors import UnknownNameError
from hwnas.report.front import COLOURS
from hwnas.report.held_out import BANDS, HeldOutPlot
from hwnas.report.progress import SearchPlot

# The formats of figures, each with metadata that leaves the date out: equal figures give equal files.
_FORMATS: Final[Mapping[str, Mapping[str, Any]]] = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
# The colours of searches, by Okabe & Ito, as `COLOURS`.
LINES: Final = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9")
INK: Final = "#333333"


def draw_held_out(plot: HeldOutPlot) -> Figure:
    """Draws predicted against measured latency of networks that the prediction was not fitted to."""
    figure = Figure(figsize=(6.2, 7), dpi=200, layout="constrained")
    axes = figure.subplots()
    style(axes)
    _draw_heading(axes, plot)
    axes.set(xlabel=plot.labels[0], ylabel=plot.labels[1])
    draw_equality(axes, plot.latencies_ms, BANDS)
    draw_hollow(axes, plot.points, gid="held-out", size=5)
    if plot.logarithmic:
        axes.set(xscale="log", yscale="log")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_ticks(plot.ticks_ms, [f"{tick:g}" for tick in plot.ticks_ms])
            axis.set_ticks([], minor=True)
    shares = [f"{100 * plot.share_within(band):.0f} % within ±{100 * band:.0f} %" for band in BANDS]
    axes.text(0.04, 0.97, "\n".join(shares), va="top", linespacing=1.4, **words(axes))
    bands = ", ".join(f"±{100 * band:.0f} %" for band in BANDS)
    axes.text(0.97, 0.04, f"line: equal; bands: {bands}", ha="right", **words(axes))
    return figure


def draw_search(plot: SearchPlot) -> Figure:
    """Draws every search by epoch: expected costs over their bounds, the multipliers, and the entropy of the choices."""
    figure = Figure(figsize=(7, 7.5), dpi=200, layout="constrained")
    figure.suptitle(plot.title, x=0.012, ha="left", fontsize=12.5, weight="bold", color=INK, parse_math=False)
    costs, multipliers, entropy = panels = figure.subplots(3, 1, sharex=True)
    for axes in panels:
        style(axes)
    costs.axhline(1, color=COLOURS["budget"], linewidth=1, zorder=2)
    for colour, search in zip(cycle(LINES), plot.searches, strict=False):
        for at, (constraint, dashes) in enumerate(zip(search.constraints, cycle(("-", "--", ":")), strict=False)):
            line: dict[str, Any] = {"color": colour, "linestyle": dashes, "gid": f"{search.label} {constraint}"}
            costs.plot(
                search.epochs, [ratios[at] for ratios in search.ratios], label=f"{search.label}: {constraint}", **line
            )
            multipliers.plot(search.epochs, [values[at] for values in search.multipliers], **line)
        entropy.plot(search.epochs, search.entropies, color=colour, gid=f"{search.label} entropy")
    costs.set_ylabel("expected cost / bound")
    multipliers.set_ylabel("multiplier")
    entropy.set(ylabel="entropy of the choices", xlabel="epoch", ylim=(0, 1.05))
    entropy.xaxis.set_major_locator(MaxNLocator(integer=True))
    if any(search.constraints for search in plot.searches):  # a search without limits has none
        figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9, labelcolor=INK)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Writes a PNG, SVG or PDF, whole or not at all; equal figures give equal files. Raises UnknownNameError."""
    name = path.suffix.lstrip(".").lower()
    if name not in _FORMATS:
        raise UnknownNameError("plot format", path.name, [f".{known}" for known in _FORMATS])
    buffer = BytesIO()
    # Fonts in PDF files stay text (TrueType), as conferences and journals ask.
    with matplotlib.rc_context({"svg.hashsalt": "hwnas", "pdf.fonttype": 42}):
        figure.savefig(buffer, format=name, facecolor="white", metadata=dict(_FORMATS[name]))
    replace_file(path, buffer.getvalue())


def style(axes: Axes) -> None:
    axes.grid(color="#E6E6E6", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["bottom", "left"]].set_color("#999999")
    axes.tick_params(color="#999999", labelcolor=INK, labelsize=9)
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set(color=INK, fontsize=10)


def _draw_heading(axes: Axes, plot: HeldOutPlot) -> None:
    """Writes the title, and below it the accuracy and the device, in as many lines as the device's name needs."""
    lines = [plot.accuracy, *wrap(plot.device, 75)]
    text: dict[str, Any] = {"fontsize": 9, "color": "#666666", "linespacing": 1.4, "parse_math": False}
    axes.annotate("\n".join(lines), (0, 1), (0, 8), xycoords="axes fraction", textcoords="offset points", **text)
    axes.set_title(
        plot.title, loc="left", pad=14 + 13 * len(lines), fontsize=12.5, weight="bold", color=INK, parse_math=False
    )


def draw_equality(axes: Axes, ends_ms: tuple[float, float], bands: Sequence[float]) -> None:
    """Draws the line of equality, and bands around it of relative errors; fixes both axes to the same ends."""
    ends_2 = np.array(ends_ms)
    for band in bands:
        edges = ends_2 * (1 - band), ends_2 * (1 + band)
        axes.fill_between(ends_2, *edges, color=COLOURS["measured"], alpha=0.13, linewidth=0, gid=f"band-{band:g}")
    axes.plot(ends_2, ends_2, color="#777777", linewidth=1.1, gid="diagonal")
    axes.set(xlim=ends_2, ylim=ends_2, box_aspect=1)
    for set_locator in (axes.xaxis.set_major_locator, axes.yaxis.set_major_locator):
        set_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))


def draw_hollow(axes: Axes, places: Sequence[tuple[float, float]], *, gid: str, size: float, label: str = "") -> None:
    """Draws predictions, as rings."""
    axes.plot(
        *zip(*places, strict=True),
        "o",
        markerfacecolor="white",
        markeredgecolor=COLOURS["predicted"],
        markeredgewidth=size / 4,
        markersize=size,
        zorder=4,
        gid=gid,
        label=label,
    )


def words(axes: Axes) -> dict[str, Any]:
    """Returns the style of texts inside the axes."""
    return {"transform": axes.transAxes, "fontsize": 9, "color": INK}
