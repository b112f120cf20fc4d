"""Plots of a finished run."""

from pathlib import Path
from typing import Final

from hwnas.core.files import replace_file
from hwnas.errors import UnknownNameError
from hwnas.report.front import FrontPlot
from hwnas.runs.database import RunDatabase
from hwnas.runs.folder import RunFolder
from hwnas.runs.front import read_front

FORMATS: Final = ("png", "svg", "html", "csv")


def front_plot(run: RunFolder) -> FrontPlot:
    """The front of a run, as values to draw."""
    run.read()  # what is no run says so before it misses a front
    points = tuple(read_front(run.front))
    facts = run.read("conditions", "latency_budget_ms")
    database = RunDatabase.existing(run.database)
    evaluated = tuple((e.predicted_ms, e.loss_val) for e in database.evaluations().values())
    database.close()
    conditions = facts["conditions"]
    return FrontPlot(
        title=f"{facts['config']['space']} on {facts['config']['data']}",
        points=points,
        evaluated=evaluated,
        budget_ms=facts["latency_budget_ms"],
        budget_on=facts["config"]["budget_on"],
        device=f"{conditions['hardware']}, {conditions['runtime']}, {conditions['threads']} thread(s)",
    )


def draw(run: RunFolder, *formats: str) -> None:
    """Draws the front into the run folder, as front.FORMAT."""
    for name in formats:
        draw_to(run, run.path / f"front.{name}")


def draw_to(run: RunFolder, path: Path) -> None:
    """Draws the front in the format of the path's suffix: png, svg, html, or csv (the table itself)."""
    suffix = path.suffix.removeprefix(".")
    if suffix not in FORMATS:
        raise UnknownNameError("plot format", path.suffix, [f".{name}" for name in FORMATS])
    if suffix == "csv":
        read_front(run.front)
        replace_file(path, run.front.read_bytes())
    elif suffix == "html":
        from hwnas.report.interactive import front_html  # plotly is loaded where it is needed

        replace_file(path, front_html(front_plot(run)))
    else:
        from hwnas.report.figures import draw_front, save_figure

        save_figure(draw_front(front_plot(run)), path)
