"""Plots of a finished run, and of a fit."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final, cast

from hwnas.core.files import json_of, replace_file
from hwnas.errors import HwnasError, RunError, UnknownNameError
from hwnas.predict.measurements import STATISTIC_OF
from hwnas.predict.predictor import LatencyPredictor
from hwnas.report.front import FrontPlot, Pair
from hwnas.report.fronts import FrontsPlot, NamedFront
from hwnas.report.held_out import HeldOutPlot
from hwnas.report.network_plot import NetworksPlot
from hwnas.report.progress import SearchCurve, SearchPlot
from hwnas.report.run_layers import layers_of, predictors_of
from hwnas.runs.database import RunDatabase
from hwnas.runs.evaluated import EvaluatedNetworks
from hwnas.runs.folder import RunFolder
from hwnas.runs.front import FrontRow, fronts_text, read_front
from hwnas.runs.objectives import LATENCY, Objective, RunGoal, known_names, named, read_goal

PICTURES: Final = ("png", "svg", "pdf", "html")
FORMATS: Final = (*PICTURES, "csv")


def front_plot(run: RunFolder, axes: tuple[str, str] | None = None) -> FrontPlot:
    """Returns the front of a run as values to draw; `axes` name the two metrics or costs to draw, x and y.

    Raises UnknownNameError for axes that the front does not have.
    """
    run.read()  # a folder that is no run says so before it misses a front
    points = tuple(read_front(run.front))
    goal, facts = read_goal(run), run.read("title", "devices")
    return FrontPlot(
        title=facts["title"],
        points=points,
        goal=goal,
        devices=tuple(_device({**device, **device.get("conditions", {})}) for device in facts["devices"]),
        evaluated=tuple(_evaluated(run).values()),
        axes=None if axes is None else _axes(goal, points[0], axes),
        warnings=tuple(facts.get("warnings", ())),
    )


def fronts_plot(runs: Sequence[RunFolder], axes: tuple[str, str] | None = None) -> FrontsPlot:
    """Returns the fronts of several runs as values to draw on two axes, by default the first two objectives of the first run.

    Runs are named by their folders. Raises HwnasError for axes that a front does not have.
    """
    names = _names([run.path for run in runs])
    plots = [front_plot(run) for run in runs]
    first = plots[0].pairs[0]
    asked = axes or (first.x.name, first.y.name)
    pairs = [Pair(plot, *_axes_of(run, plot, asked)) for run, plot in zip(runs, plots, strict=True)]
    digests = [run.read().get("data", {}).get("digest", "") for run in runs]
    return FrontsPlot(
        tuple(
            NamedFront(name=name, pair=pair, data=digest)
            for name, pair, digest in zip(names, pairs, digests, strict=True)
        )
    )


def _axes_of(run: RunFolder, plot: FrontPlot, names: tuple[str, str]) -> tuple[Objective, Objective]:
    """Returns the axes of one of several runs, whose first device may be named, too. Raises HwnasError, with the run's name."""
    own = f"{LATENCY}@{plot.device_names[0]}"
    x, y = (LATENCY if name == own else name for name in names)
    try:
        return _axes(plot.goal, plot.points[0], (x, y))
    except UnknownNameError as error:
        raise HwnasError(
            f"{run.path}: {error}; plot runs that have the same axes, or give --axes that all have"
        ) from None


def _names(paths: Sequence[Path]) -> list[str]:
    """Returns the names of folders, with their parents where two are called the same.

    Raises HwnasError for one folder given twice.

    >>> _names([Path("runs/a"), Path("runs/b")]), _names([Path("one/a"), Path("two/a")])
    (['a', 'b'], ['one/a', 'two/a'])
    """
    resolved = [path.resolve() for path in paths]
    for path in resolved:
        if resolved.count(path) > 1:
            raise HwnasError(f"{path} is given twice; give each run once")
    names = [path.name for path in resolved]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]


def draw_fronts_to(runs: Sequence[RunFolder], path: Path, axes: tuple[str, str] | None = None) -> None:
    """Draws the fronts of several runs in one picture, in the format of the path's suffix: png, svg, pdf, or csv (one table).

    `axes` name the metrics or costs of the axes x and y, by default the first two objectives of the first run. Raises
    HwnasError for html: a page is of one run.
    """
    require_format(path, FORMATS)
    if path.suffix == ".csv":
        plot = fronts_plot(runs, axes)
        replace_file(path, fronts_text({front.name: front.pair.plot.points for front in plot.fronts}))
    elif path.suffix == ".html":
        raise HwnasError(f"{path}: a page is of one run; give one RUN, or --out fronts.svg, .png, .pdf or .csv")
    else:
        from hwnas.report.figures import save_figure
        from hwnas.report.fronts_figure import draw_fronts

        save_figure(draw_fronts(fronts_plot(runs, axes)), path)


def _evaluated(run: RunFolder) -> dict[str, dict[str, float]]:
    """Returns the metrics and predicted costs of every evaluated architecture, by name."""
    database = RunDatabase.existing(run.database)
    with closing(database):
        costs = database.costs()
        evaluations = database.evaluations()
    return {arch_id: {**one.metrics, **costs.get(arch_id, {})} for arch_id, one in evaluations.items()}


def _axes(goal: RunGoal, row: FrontRow, names: tuple[str, str]) -> tuple[Objective, Objective]:
    known = known_names(row, goal.metrics)
    for name in names:
        if name not in known:
            raise UnknownNameError("axis", name, known)
    return goal.objective(names[0]), goal.objective(names[1])


def draw(run: RunFolder, *formats: str) -> None:
    """Draws the front into the run folder, as front.FORMAT, and gradient searches, where there were any, as search.png."""
    for name in formats:
        draw_to(run, run.path / f"front.{name}")
    if any(run.searches.glob("*.json")):
        draw_searches(run)


def draw_to(run: RunFolder, path: Path, axes: tuple[str, str] | None = None) -> None:
    """Draws the front in the format of the path's suffix: png, svg, pdf, or csv (the table itself).

    `axes` name the metrics or costs of the axes x and y; without them every pair of objectives is drawn. Raises HwnasError for
    html, which is the page of the whole run.
    """
    require_format(path, FORMATS)
    if path.suffix == ".csv":
        read_front(run.front)
        replace_file(path, run.front.read_bytes())
    elif path.suffix == ".html":
        raise HwnasError(f"{path}: pages are written by `hwnas report {run.path} --out {path}`")
    else:
        from hwnas.report.figures import save_figure
        from hwnas.report.front_figure import draw_front

        save_figure(draw_front(front_plot(run, axes)), path)


def networks_plot(run: RunFolder, names: Sequence[str]) -> NetworksPlot:
    """Returns networks of a run as values to draw: `fastest`, `knee` or `best` of the front, or ids of evaluated networks.

    Raises UnknownNameError for a network that the run did not evaluate, HwnasError where its prediction is not known layer by
    layer.
    """
    networks, plot = EvaluatedNetworks.of(run), front_plot(run)
    known = {**networks.rows, **named(plot.points, plot.goal.objectives)}
    for name in names:
        if name not in known:
            raise UnknownNameError(
                "network", name, [*named(plot.points, plot.goal.objectives), "the id of an evaluated one"]
            )
    by_id: dict[str, list[str]] = {}  # one network may have several names
    for name in names:
        by_id.setdefault(known[name].arch_id, []).append(name)
    rows = [networks.rows[arch_id] for arch_id in by_id]
    layers = layers_of(predictors_of(run, networks), networks.latency_names, rows)
    if not layers:
        raise HwnasError(
            f"{run.path}: its predictor does not say how long each layer takes, so networks cannot be drawn"
        )
    words = tuple(", ".join(dict.fromkeys(given)) for given in by_id.values())
    return NetworksPlot(plot.title, plot.devices[0], words, tuple(rows), layers, plot.goal)


def draw_networks_to(run: RunFolder, names: Sequence[str], path: Path) -> None:
    """Draws networks of a run as blocks, in the format of the path's suffix: png, svg, pdf, or csv (milliseconds by layer).

    Raises HwnasError for html: the page of the run draws every network.
    """
    require_format(path, FORMATS)
    if path.suffix == ".csv":
        replace_file(path, networks_plot(run, names).csv())
    elif path.suffix == ".html":
        raise HwnasError(
            f"{path}: the page of `hwnas report {run.path} --out {path}` draws every network; click one there"
        )
    else:
        from hwnas.report.figures import save_figure
        from hwnas.report.network_figure import draw_networks

        save_figure(draw_networks(networks_plot(run, names)), path)


def search_plot(run: RunFolder) -> SearchPlot:
    """Returns the gradient searches of a run as values to draw."""
    facts = run.read("title")
    options = facts["request"].get("strategy", {}).get("options", {})
    curves = [_curve(_facts(path, run)) for path in run.searches.glob("*.json")]
    return SearchPlot(
        title=", ".join([facts["title"], *(str(options[name]) for name in ("sampler",) if name in options)]),
        searches=tuple(sorted(curves, key=lambda curve: curve.label)),
    )


def _facts(path: Path, run: RunFolder) -> Mapping[str, Any]:
    """Returns the record of a gradient search. Raises RunError where it is damaged."""
    try:
        facts = json_of(path.read_bytes())
    except ValueError as error:
        raise RunError(f"{path}: damaged ({error}); start again under another --out than {run.path}") from None
    return cast(Mapping[str, Any], facts)


def _curve(facts: Mapping[str, Any]) -> SearchCurve:
    epochs = facts["epochs"]
    return SearchCurve(
        label=facts["label"],
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
    """Returns the held-out predictions of a fit as values to draw."""
    report = predictor.report
    measured, predicted = (
        report["points"][f"{column}_{predictor.unit.lower()}"] for column in ("measured", "predicted")
    )
    return HeldOutPlot(
        title=f"{report.get('source') or Path(predictor.space['reference']).name}: {predictor.cost}, predicted against measured",
        device=_device(predictor.conditions),
        points=tuple(zip(measured, predicted, strict=True)),
        mape=report["held_out"]["mape"],
        kendall=report["held_out"]["kendall"],
        repeat_noise=report["repeat_noise"],
        cost=predictor.cost,
        statistic=STATISTIC_OF[predictor.cost],
        unit=predictor.unit,
    )


def draw_held_out_to(predictor: LatencyPredictor, path: Path) -> None:
    """Draws the held-out predictions in the format of the path's suffix: png, svg, pdf or html."""
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
