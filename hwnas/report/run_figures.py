"""Figures of what a run's evaluations say, by matplotlib: hypervolume over evaluations, and the importance of choices."""

from collections.abc import Sequence
from itertools import islice
from textwrap import fill
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hwnas.report.figures import INK, style
from hwnas.report.front import COLOURS
from hwnas.report.hypervolume import SHARES, HypervolumePlot
from hwnas.report.importance import Effect, Importance

# Choices that one picture shows; the others are in importance.csv.
MOST_CHOICES: Final = 12
_QUIET: Final[dict[str, Any]] = {"fontsize": 9, "color": "#666666", "linespacing": 1.4, "parse_math": False}


def draw_hypervolume(plot: HypervolumePlot) -> Figure:
    """Draws the hypervolume against evaluations, and the mean and the middle 80 % of predicted random searches."""
    figure = Figure(figsize=(7, 4.6), dpi=150, layout="constrained")
    axes = figure.subplots()
    style(axes)
    axes.plot(
        plot.counts_E, plot.evaluated_E, color=COLOURS["measured"], linewidth=2, label="evaluated", gid="evaluated"
    )
    if len(plot.random_RE):
        low_E, high_E = np.quantile(plot.random_RE, SHARES, axis=0)
        axes.fill_between(
            plot.counts_E, low_E, high_E, color=COLOURS["predicted"], alpha=0.2, linewidth=0, gid="random-band"
        )
        line: dict[str, Any] = {"color": COLOURS["predicted"], "linestyle": "--", "linewidth": 2, "gid": "random"}
        axes.plot(plot.counts_E, plot.random_RE.mean(axis=0), label="random, predicted", **line)
    axes.set(xlabel="evaluations", ylabel="hypervolume (share)", xlim=(0, plot.counts_E[-1]), ylim=(0, None))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="lower right", frameon=False, fontsize=9, labelcolor=INK)
    _head(axes, f"{plot.title}: hypervolume", [plot.reference, plot.note])
    return figure


def draw_importance(importance: Importance) -> Figure:
    """Draws the effects of the choices that matter most, on the metric with two standard deviations, and on latencies."""
    by_choice = dict(islice(importance.by_choice.items(), MOST_CHOICES))
    effects = [effect for options in by_choice.values() for effect in options]
    places = _places([len(options) for options in by_choice.values()])
    latencies = list(effects[0].latencies_ms)
    figure = Figure(figsize=(4.2 + 3.2 * len(latencies), 1.9 + 0.19 * places[-1]), dpi=150, layout="constrained")
    panels = figure.subplots(1, 1 + len(latencies), sharey=True, squeeze=False)[0]
    for axes in panels:
        style(axes)
        axes.axvline(0, color="#777777", linewidth=1)
    bars = [effect.metric for effect in effects]
    deviations = [2 * effect.deviation for effect in effects]
    panels[0].barh(places, bars, xerr=deviations, color=COLOURS["measured"], ecolor=INK, height=0.8, gid="metric")
    better = "higher" if importance.highest else "lower"
    panels[0].set_xlabel(f"{importance.metric} ({better} is better; bars: 2 deviations)")
    for axes, name in zip(panels[1:], latencies, strict=True):
        values = [effect.latencies_ms[name] for effect in effects]
        axes.barh(places, values, color=COLOURS["predicted"], height=0.8, gid=name)
        axes.set_xlabel(f"{name}, predicted (ms)")
        axes.xaxis.set_major_locator(MaxNLocator(4))
    panels[0].xaxis.set_major_locator(MaxNLocator(4))
    panels[0].set_ylim(-1, places[-1] + 1)
    panels[0].set_yticks(places, _labels(effects), fontsize=7.5, parse_math=False)
    panels[0].invert_yaxis()
    shown = f"the {len(by_choice)} of {len(importance.by_choice)} choices that matter most"
    figure.suptitle(
        f"{importance.title}: what options are worth",
        x=0.012,
        ha="left",
        fontsize=12.5,
        weight="bold",
        color=INK,
        parse_math=False,
    )
    figure.supxlabel(
        fill(f"{shown}; effects are differences from the mean of the choice's options; {importance.reliability}", 90),
        **_QUIET,
    )
    return figure


def _places(sizes: Sequence[int]) -> list[int]:
    """Returns the places of bars, with a gap between choices."""
    starts = np.cumsum([0, *(size + 1 for size in sizes)])
    return [int(start) + number for start, size in zip(starts, sizes, strict=False) for number in range(size)]


def _labels(effects: Sequence[Effect]) -> list[str]:
    return [f"{effect.choice} = {effect.option}" for effect in effects]


def _head(axes: Axes, title: str, lines: Sequence[str]) -> None:
    """Writes the title, and below it lines of explanation."""
    text = "\n".join(fill(line, 88) for line in lines if line)
    axes.annotate(text, (0, 1), (0, 8), xycoords="axes fraction", textcoords="offset points", **_QUIET)
    pad = 14 + 13 * (text.count("\n") + 1)
    axes.set_title(title, loc="left", pad=pad, fontsize=12.5, weight="bold", color=INK, parse_math=False)
