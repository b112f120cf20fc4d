"""The figure of networks drawn as blocks, by matplotlib: a column for each network, a bar of milliseconds beside each block."""

from textwrap import shorten
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from hwnas.report.figures import INK, LINES
from hwnas.report.network_plot import OTHER, NetworksPlot

_COLUMN_INCHES: Final = 4.8
_ROW_INCHES: Final = 0.3
# A column is 1 wide: the blocks end at the first number, the bars begin at the second and end at the third.
_BLOCKS, _BARS, _END = 0.62, 0.65, 0.9
_WORDS: Final = 46  # letters that fit into a block
_TEXT: Final[dict[str, Any]] = {"fontsize": 7.5, "color": INK, "va": "center", "parse_math": False}


def draw_networks(plot: NetworksPlot) -> Figure:
    """Draws every network from its input at the top to its output. Blocks of one stage have one colour."""
    places = plot.places
    names_inches = 0.4 + 0.075 * max(map(len, places))
    size = (names_inches + _COLUMN_INCHES * len(plot.rows), 1.5 + _ROW_INCHES * len(places))
    figure = Figure(figsize=size, dpi=200, layout="constrained")
    letters = int(size[0] * 9)  # of the title, and more of the smaller line below
    title = shorten(f"{plot.title}: predicted milliseconds of every block", letters, placeholder=" …") + "\n"
    figure.suptitle(title, x=0.012, ha="left", fontsize=12.5, weight="bold", color=INK, parse_math=False)
    figure.text(
        0.012,
        1 - 0.36 / size[1],
        shorten(plot.device, int(1.4 * letters), placeholder=" …"),
        fontsize=9,
        color="#666666",
        va="center",
        parse_math=False,
    )
    times = [found[1] for number in range(len(plot.rows)) for place in places if (found := plot.block(place, number))]
    columns = figure.subplots(1, len(plot.rows), squeeze=False, sharey=True)[0]
    for number, axes in enumerate(columns):
        axes.set(xlim=(0, 1), ylim=(len(places) - 0.4, -0.6), xticks=[])
        axes.set_yticks(range(len(places)), places, fontsize=8, color=INK, parse_math=False)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_title(plot.heading(number), loc="left", fontsize=8.5, color=INK, parse_math=False)
        _draw_network(axes, plot, number, max(map(abs, times)))
    return figure


def _draw_network(axes: Axes, plot: NetworksPlot, number: int, most_ms: float) -> None:
    stages = list(dict.fromkeys(map(_stage, plot.places)))
    before = None
    for at, place in enumerate(plot.places):
        found = plot.block(place, number)
        if found is None:
            continue
        words, ms = found
        colour = "#999999" if place == OTHER else LINES[stages.index(_stage(place)) % len(LINES)]
        if place != OTHER:
            if before is not None:
                axes.plot([_BLOCKS / 2] * 2, [before + 0.36, at - 0.36], color="#999999", linewidth=1, zorder=1)
            before = at
            box = FancyBboxPatch(
                (0.01, at - 0.36),
                _BLOCKS - 0.02,
                0.72,
                boxstyle="round,pad=0,rounding_size=0.02",
                mutation_aspect=len(plot.places) / 3,
                facecolor=(colour, 0.22),
                edgecolor=colour,
                linewidth=1,
                zorder=2,
                gid=f"block-{number}-{place}",
            )
            axes.add_patch(box)
            axes.text(
                _BLOCKS / 2, at, shorten(words or "no choice", _WORDS, placeholder=" …"), ha="center", zorder=3, **_TEXT
            )
        width = (_END - _BARS) * abs(ms) / most_ms
        axes.barh(
            at,
            width,
            left=_BARS,
            height=0.55,
            color=colour,
            hatch="" if ms >= 0 else "///",
            gid=f"bar-{number}-{place}",
        )
        axes.text(_BARS + width + 0.01, at, f"{ms:.2g}", **_TEXT)


def _stage(place: str) -> str:
    """Returns the stage of a block, the part of its name before the first point."""
    return place.partition(".")[0]
