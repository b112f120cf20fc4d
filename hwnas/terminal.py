"""Progress bars, notes and tables on the terminal, by rich. All but tables go to stderr."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import comb
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, final

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from hwnas.profiler.device import WHOLE
from hwnas.report.examples import examples_note
from hwnas.report.front_table import front_table
from hwnas.report.importance_table import importance_table
from hwnas.runs.folder import RunFolder
from hwnas.runs.front import FrontRow
from hwnas.runs.objectives import read_goal

if TYPE_CHECKING:
    from hwnas.pipeline.best import Found
    from hwnas.pipeline.blocks import Breakdown
    from hwnas.pipeline.measured import MeasuredNetworks
    from hwnas.report.importance import Importance
    from hwnas.runs.evaluated import EvaluatedNetworks

Item = TypeVar("Item")

BASELINES: Final[Mapping[str, str]] = {
    "isolated_sum": "isolated sum",
    "affine_sum": "a + b * isolated sum",
    "flops": "a + b * FLOPs",
}
# Whole numbers from here on have their digits in groups of three.
GROUPED: Final = 10_000
# The most pieces of a network that a table for people shows.
PIECES: Final = 30


@final
class TerminalReporter:
    """Progress bars that vanish when done, and notes that stay."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)

    def track(self, items: Sequence[Item], what: str) -> Iterable[Item]:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        # Into a file, bars would be hundreds of lines; the notes tell enough.
        disabled = not self._console.is_terminal
        # No refreshing thread: it would take the interpreter's lock in the middle of a measurement.
        progress = Progress(*columns, console=self._console, transient=True, disable=disabled, auto_refresh=False)
        return self._tracked(progress, items, what)

    def _tracked(self, progress: Progress, items: Sequence[Item], what: str) -> Iterator[Item]:
        with progress:
            yield from progress.track(items, description=what)

    def note(self, text: str) -> None:
        self._console.print(text, markup=False)


def plain_table(rows: Sequence[Mapping[str, object]], title: str | None = None) -> Table:
    """Returns a table of rows with the same keys. A key without values (None, or empty) in every row has no column."""
    names = [name for name in (rows[0] if rows else ()) if any(row[name] not in (None, "") for row in rows)]
    table = Table(title=title, title_justify="left", header_style="bold")
    for name in names:
        table.add_column(name)
    for row in rows:
        table.add_row(*(_plain(row[name]) for name in names))
    return table


def _plain(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int) and abs(value) >= GROUPED:
        return f"{value:,}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def print_table(table: Table) -> None:
    """Prints on stdout. In a terminal, long cells are wrapped between words to fit; elsewhere nothing is.

    Never narrower than the longest words: a cut number is no number.
    """
    measured = Console(highlight=False, width=1000).measure(table)
    here = Console()
    least = measured.minimum if here.is_terminal else measured.maximum
    Console(highlight=False, width=max(here.width, least)).print(table)


def print_rows(lists: Mapping[str, Sequence[Mapping[str, Any]]], as_json: bool) -> None:
    """Prints lists of rows with the same keys, by name. For people they are tables, under their names where these are several;
    empty lists are left out."""
    if as_json:
        click.echo(json.dumps(lists))
        return
    for name, rows in lists.items():
        if rows:
            print_table(plain_table(rows, name if len(lists) > 1 else None))


def print_path(path: Path, as_json: bool) -> None:
    click.echo(json.dumps({"path": str(path)}) if as_json else path)


def print_facts(facts: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(facts))
        return
    for name, value in facts.items():
        if isinstance(value, tuple | list) and all(isinstance(item, str) for item in value):
            click.echo("\n  ".join([f"{name}:" if value else f"{name}: none", *map(str, value)]))
            continue
        written = (
            ", ".join(f"{k} {_short(v)}" for k, v in value.items()) if isinstance(value, Mapping) else _short(value)
        )
        click.echo(f"{name}: {written}")


def _short(value: Any) -> str:
    if isinstance(value, list | tuple) and value and all(isinstance(item, float) for item in value):
        return ", ".join(map(_plain, value))
    return _plain(value) if isinstance(value, float | int) else str(value)


def print_front(front: Sequence[FrontRow], folder: Path, as_json: bool, warnings: Sequence[str] = ()) -> None:
    """Prints the front of a run folder, its files, and on stderr its warnings."""
    if as_json:
        printed = {"run": str(folder), "front": [row.cells for row in front]}
        click.echo(json.dumps(printed | ({"warnings": [*warnings]} if warnings else {})))
        return
    console = Console()
    print_table(front_table(front, read_goal(RunFolder(folder)), console.width if console.is_terminal else None))
    note = examples_note(front, RunFolder(folder).read().get("data", {}))
    if note:
        click.echo(note)
    click.echo(
        f"report {folder / 'report.html'}; plot {folder / 'front.png'}; table {folder / 'front.csv'}; models {folder / 'models'}/"
    )
    for warning in warnings:
        click.secho(f"warning: {warning}", err=True, bold=True)


def print_found(found: Sequence["Found"], networks: "EvaluatedNetworks", as_json: bool) -> None:
    """Prints the networks that were chosen from a run, with all that is known of each."""
    if as_json:
        printed = {"run": str(networks.run.path), "networks": len(networks.rows)}
        click.echo(json.dumps(printed | {"best": [one.describe() for one in found]}))
        return
    for one in found:
        click.echo("\n".join(one.lines(networks)))


def print_measured(measured: "MeasuredNetworks", as_json: bool) -> None:
    """Prints networks that were timed side by side, which of them the measurement cannot tell apart, and where their time
    goes."""
    if as_json:
        click.echo(json.dumps(measured.describe()))
        return
    rows = [
        {
            "model": network.name,
            "median ms": f"{network.timing.median_ms:.4g}",
            "p10": f"{network.timing.p10_ms:.4g}",
            "p90": f"{network.timing.p90_ms:.4g}",
            "noise": f"± {100 * network.timing.half_width:.1f} %",
            "ratio": f"{network.ratio:.3f}",
            "MiB": f"{network.mib:.2f}",
            "params": None if network.params is None else f"{network.params:,}",
        }
        for network in measured.networks
    ]
    print_table(plain_table(rows))
    for line in _measured_lines(measured):
        click.echo(line)
    for network in measured.networks:
        if network.breakdowns:
            click.echo(f"\n{network.name}")
            for breakdown in network.breakdowns:
                print_table(_breakdown_table(breakdown))
            click.echo(_sum_line(network.breakdowns[-1]))


def _measured_lines(measured: "MeasuredNetworks") -> Iterator[str]:
    conditions = measured.conditions
    threads = f"{conditions.threads} thread{'' if conditions.threads == 1 else 's'}"
    step = "" if conditions.step == WHOLE else f", {conditions.step}"
    yield f"{conditions.hardware}; {conditions.runtime}, {threads}, batch {conditions.batch}, {conditions.precision}{step}"
    yield f"the first network differs from itself, loaded again, by {100 * measured.repeat:.1f} %"
    ties = list(measured.ties())
    for tie in ties:
        yield (
            f"within noise: {' and '.join(tie.names)} are {100 * tie.difference:.1f} % apart, and {100 * tie.noise:.1f} % can be "
            "noise"
        )
    if len(ties) < comb(len(measured.networks), 2):
        yield f"all {'other ' if ties else ''}differences are larger than the noise"


def _breakdown_table(breakdown: "Breakdown") -> Table:
    """Returns a table of the pieces of a network; of many, the largest in their order, and the others in a row."""
    least_ms = sorted((share.ms for share in breakdown.shares), reverse=True)[:PIECES][-1]
    shown = [share for share in breakdown.shares if share.ms >= least_ms][:PIECES]
    others = [share for share in breakdown.shares if share not in shown]
    lines = [(share.name, share.ms, share.share) for share in shown]
    if others:
        lines.append((f"{len(others)} others", sum(share.ms for share in others), sum(share.share for share in others)))
    rows = [{breakdown.by: piece, "ms": f"{ms:.4g}", "share": f"{100 * share:.1f} %"} for piece, ms, share in lines]
    return plain_table(rows)


def _sum_line(breakdown: "Breakdown") -> str:
    if breakdown.alone:
        return (
            f"each block alone; their sum is {breakdown.sum_to_whole:.2f} times the whole network's time: isolated times "
            "need not add up to it"
        )
    return (
        f"by ONNX Runtime's profiler, fused operations as one; the sum of these times is {breakdown.sum_to_whole:.2f} times the "
        "network's"
    )


def print_importance(importance: "Importance", as_json: bool) -> None:
    """Prints what each option is worth; an effect within two deviations of 0 has a question mark."""
    if as_json:
        facts = {"metric": importance.metric, "networks": importance.networks, "explained": importance.explained}
        click.echo(json.dumps(facts | {"effects": importance.rows()}))
        return
    print_table(importance_table(importance))
    better = "higher" if importance.highest else "lower"
    click.echo(
        f"differences from the mean of the choice's options; {importance.metric}: {better} is better, ± one standard deviation, "
        f"? where 0 is within two; {importance.reliability}"
    )


def print_report(
    files: Mapping[str, Path], report: Mapping[str, Any], interval: tuple[float, float], as_json: bool
) -> None:
    """Prints the report of a fit, without its points, and the files that it wrote."""
    if as_json:
        printed = {name: value for name, value in report.items() if name != "points"}
        click.echo(json.dumps({**{name: str(path) for name, path in files.items()}, **printed, "interval": interval}))
        return
    print_table(errors_table(report))
    for line in _fit_lines(report, interval):
        click.echo(line)
    click.echo("; ".join(f"{name} {path}" for name, path in files.items()))


def cold_note(report: Mapping[str, Any]) -> str:
    """Says what a predictor of a space that was not measured has estimated."""
    kinds = f"; kinds of which none was measured: {', '.join(report['new_kinds'])}" if report["new_kinds"] else ""
    return (
        f"the table is of {report['source']}: {report['estimated_operators']} of {report['operators']} operators are "
        f"estimated by what they cost{kinds}"
    )


def errors_table(report: Mapping[str, Any]) -> Table:
    """Returns a table of the errors of held-out predictions, and of the baselines."""
    table = Table(header_style="bold")
    table.add_column("")
    for header in ("MAPE", "within 5 %", "within 10 %", "Spearman", "Kendall"):
        table.add_column(header, justify="right", no_wrap=True)
    for name, errors in {"held_out": report["held_out"], **report["baselines"]}.items():
        shares = (f"{100 * errors[share]:.1f} %" for share in ("within_5", "within_10"))
        ranks = ("none" if errors[rank] is None else f"{errors[rank]:.3f}" for rank in ("spearman", "kendall"))
        table.add_row(BASELINES.get(name, "held-out prediction"), f"{100 * errors['mape']:.2f} %", *shares, *ranks)
    return table


def _fit_lines(report: Mapping[str, Any], interval: tuple[float, float]) -> Iterator[str]:
    if report.get("cold"):
        yield (
            f"{report['networks']} networks of {report['source']}, each predicted as if nothing of them or their operators "
            "were measured; the errors on networks of the asked space are not known, and may be several times as large"
        )
    else:
        known = f", given {report['known_devices']} known devices" if report.get("known_devices") else ""
        yield f"{report['networks']} networks, each predicted by a fit to others{known}"
        if report.get("trees"):
            yield f"{report['trees']} trees on what the additive model leaves"
    if report["repeat_noise"] is None:
        yield "repeat noise unknown: no network was measured twice"
    else:
        yield f"repeat noise {100 * report['repeat_noise']:.2f} %: how far two measurements of one network differ"
    if "session_noise" in report:  # older predictors have none
        yield f"session noise {100 * report['session_noise']:.2f} %: how far two sessions differ on all networks alike"
    low, high = (100 * (end - 1) for end in interval)
    yield (
        f"interval {low:+.1f} % to {high:+.1f} %: meant for {100 * report['interval_coverage']:.0f} % of networks, "
        f"kept for {100 * report['covered']:.0f} % of the held-out ones"
    )
