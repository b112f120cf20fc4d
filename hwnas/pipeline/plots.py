"""Plots of a finished run, and of a fit."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from hwnas.core.files import replace_file
from hwnas.errors import UnknownNameError
from hwnas.predict.measurements import STATISTICS
from hwnas.predict.predictor import LatencyPredictor
from hwnas.report.front import FrontPlot
from hwnas.report.held_out import HeldOutPlot
from hwnas.report.progress import SearchCurve, SearchPlot
from hwnas.runs.database import RunDatabase
from hwnas.runs.folder import RunFolder
from hwnas.runs.front import read_front

PICTURES: Final = ("png", "svg", "html")
FORMATS: Final = (*PICTURES, "csv")


def front_plot(run: RunFolder) -> FrontPlot:
    """The front of a run, as values to draw."""
    run.read()  # what is no run says so before it misses a front
    points = tuple(read_front(run.front))
    facts = run.read("conditions", "latency_budget_ms")
    database = RunDatabase.existing(run.database)
    evaluated = tuple((e.predicted_ms, e.loss_val) for e in database.evaluations().values())
    database.close()
    return FrontPlot(
        title=f"{facts['config']['space']} on {facts['config']['data']}",
        points=points,
        evaluated=evaluated,
        budget_ms=facts["latency_budget_ms"],
        budget_on=facts["config"]["budget_on"],
        device=_device(facts["conditions"]),
    )


def draw(run: RunFolder, *formats: str) -> None:
    """Draws the front into the run folder, as front.FORMAT."""
    for name in formats:
        draw_to(run, run.path / f"front.{name}")


def draw_to(run: RunFolder, path: Path) -> None:
    """Draws the front in the format of the path's suffix: png, svg, html, or csv (the table itself)."""
    require_format(path, FORMATS)
    if path.suffix == ".csv":
        read_front(run.front)
        replace_file(path, run.front.read_bytes())
    elif path.suffix == ".html":
        from hwnas.report.interactive import front_html  # plotly is loaded where it is needed

        replace_file(path, front_html(front_plot(run)))
    else:
        from hwnas.report.figures import draw_front, save_figure

        save_figure(draw_front(front_plot(run)), path)


def search_plot(run: RunFolder) -> SearchPlot:
    """The gradient searches of a run, as values to draw."""
    facts = run.read("latency_budgets_ms")
    curves = [_curve(json.loads(path.read_bytes())) for path in run.searches.glob("*ms.json")]
    return SearchPlot(
        title=f"{facts['config']['space']} on {facts['config']['data']}, {facts['config']['sampler']}",
        searches=tuple(sorted(curves, key=lambda curve: float(curve.label.split()[0]))),
    )


def _curve(facts: Mapping[str, Any]) -> SearchCurve:
    epochs = facts["epochs"]
    return SearchCurve(
        label=f"{facts['budget_ms']:.4g} ms",
        constraints=tuple(facts["constraints"]),
        epochs=tuple(epoch["epoch"] for epoch in epochs),
        ratios=tuple(tuple(epoch["ratios"]) for epoch in epochs),
        multipliers=tuple(tuple(epoch["multipliers"]) for epoch in epochs),
        entropies=tuple(epoch["entropy"] for epoch in epochs),
    )


def draw_searches(run: RunFolder) -> None:
    """Draws the gradient searches into the run folder, as search.png."""
    from hwnas.report.figures import draw_search, save_figure

    save_figure(draw_search(search_plot(run)), run.path / "search.png")


def held_out_plot(predictor: LatencyPredictor) -> HeldOutPlot:
    """The held-out predictions of a fit, as values to draw."""
    report = predictor.report
    measured, predicted = (report["points"][f"{what}_{predictor.unit.lower()}"] for what in ("measured", "predicted"))
    return HeldOutPlot(
        title=f"{report.get('source') or Path(predictor.space['reference']).name}: {predictor.cost}, predicted against measured",
        device=_device(predictor.conditions),
        points=tuple(zip(measured, predicted, strict=True)),
        mape=report["held_out"]["mape"],
        kendall=report["held_out"]["kendall"],
        repeat_noise=report["repeat_noise"],
        cost=predictor.cost,
        statistic=STATISTICS[predictor.cost],
        unit=predictor.unit,
    )


def draw_held_out_to(predictor: LatencyPredictor, path: Path) -> None:
    """Draws the held-out predictions in the format of the path's suffix: png, svg or html."""
    require_format(path, PICTURES)
    if path.suffix == ".html":
        from hwnas.report.interactive import held_out_html

        replace_file(path, held_out_html(held_out_plot(predictor)))
    else:
        from hwnas.report.figures import draw_held_out, save_figure

        save_figure(draw_held_out(held_out_plot(predictor)), path)


def require_format(path: Path, formats: Sequence[str]) -> None:
    """Raises UnknownNameError where a path's suffix is none of the formats."""
    if path.suffix.removeprefix(".") not in formats:
        raise UnknownNameError("plot format", path.suffix, [f".{name}" for name in formats])


def _device(conditions: Mapping[str, Any]) -> str:
    return f"{conditions['hardware']}, {conditions['runtime']}, {conditions['threads']} thread(s)"
