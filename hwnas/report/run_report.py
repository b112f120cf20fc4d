"""All that the page of a run shows, as plain values read from the run folder. No Python of a space is run.

Shapes: N evaluated networks; those of the front come first, in the order of front.csv.
"""

import csv
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, final

from hwnas.errors import RunError
from hwnas.report.columns import Column, columns_of, first_axes, values_of
from hwnas.report.confidence import Confidence, confidence_in
from hwnas.report.described import described
from hwnas.report.front import FrontPlot
from hwnas.report.layer_times import LayerTimes
from hwnas.report.plots import front_plot
from hwnas.report.report_card import Criterion, duration, report_card
from hwnas.report.run_layers import layers_of, predictors_of
from hwnas.runs.evaluated import EvaluatedNetworks
from hwnas.runs.folder import RunFolder
from hwnas.runs.front import FrontRow
from hwnas.runs.objectives import named

# Choices that the page draws the effects of; all are in importance.csv.
MOST_CHOICES: Final = 12
# Digits of the numbers of networks that are not on the front, of which there may be thousands.
_DIGITS: Final = 6


@final
@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class RunReport:
    """The content of a run's page.

    `rows` are the evaluated networks, of which the first `fronted` are the front, `words` what is known of these, line by line.
    `values` holds every column's value of each network, (N,). `layers` is empty where a prediction does not add up layer by
    layer. `hypervolume` and `importance` are the tables of hypervolume.csv and importance.csv, as columns by name, and `notes`
    how far each can be relied on; they are empty where the run has none. `history` holds the numbers of the evaluations that
    found a better first metric, and its values. `command` starts the search again.
    """

    plot: FrontPlot
    axes: tuple[str, str]
    columns: tuple[Column, ...]
    rows: tuple[FrontRow, ...]
    fronted: int
    values: Mapping[str, Sequence[float]]
    words: tuple[tuple[str, ...], ...]
    layers: tuple[LayerTimes, ...]
    confidence: tuple[Confidence, ...]
    card: tuple[Criterion, ...]
    hypervolume: Mapping[str, Sequence[float]]
    importance: Mapping[str, Sequence[Any]]
    notes: Mapping[str, Sequence[str]]
    history: tuple[tuple[int, float], ...]
    files: tuple[str, ...]
    facts: Mapping[str, Any]
    command: str

    @property
    def evaluations(self) -> int:
        """The number of evaluated networks."""
        return len(self.plot.evaluated)

    def describe(self) -> dict[str, Any]:
        """Returns the content as JSON has it; numbers that are not finite are None."""
        content = {
            "title": self.plot.title,
            "subtitle": self.plot.subtitle.split("\n"),
            "warnings": self.plot.warnings,
            "evaluations": self.evaluations,
            "axes": self.axes,
            "latency_kind": self.plot.latency_kind,
            "columns": [column.describe() for column in self.columns],
            "front": [self._front_point(number) for number in range(self.fronted)],
            "networks": self._networks(),
            "layers": [layer.describe() for layer in self.layers],
            "devices": [confidence.describe() for confidence in self.confidence],
            "card": [criterion.describe() for criterion in self.card],
            "hypervolume": self.hypervolume,
            "importance": self.importance,
            "notes": self.notes,
            "history": {"metric": self.plot.goal.metrics[0].name, "best": self.history},
            "reproduce": {
                "command": self.command,
                "seed": self.facts["request"].get("seed"),
                "started": self.facts.get("started", ""),
                "versions": self.facts.get("versions", {}),
                "space": self.facts["space"].get("fingerprint", ""),
                "data": self.facts.get("data", {}).get("digest", ""),
                "stages": {name: duration(stage["seconds"]) for name, stage in self.facts.get("stages", {}).items()},
            },
            "files": self.files,
        }
        return dict(_finite(content))

    def _front_point(self, number: int) -> dict[str, Any]:
        row = self.rows[number]
        names = {point.arch_id: name for name, point in named(self.plot.points, self.plot.goal.objectives).items()}
        cells = {name: value for name, value in row.cells.items() if name != "arch"}
        return {
            "name": names.get(row.arch_id, ""),
            "within_budget": row.within_budget,
            "words": self.words[number],
            "cells": cells,
        }

    def _networks(self) -> dict[str, Any]:
        """Returns the networks column by column. An architecture is a text with one character per choice: its option's number."""
        networks = [json.loads(row.arch) for row in self.rows]
        names = list(networks[0])
        options = {name: list(dict.fromkeys(network.get(name) for network in networks)) for name in names}
        numbers = {name: {option: number for number, option in enumerate(options[name])} for name in names}
        latencies = self.rows[0].latencies
        return {
            "ids": [row.arch_id for row in self.rows],
            "choices": [{"name": name, "options": options[name]} for name in names],
            "archs": ["".join(chr(48 + numbers[name][network.get(name)]) for name in names) for network in networks],
            "values": {name: self._rounded(values) for name, values in self.values.items()},
            "predicted": [
                self._rounded([row.latencies[at].predicted_ms for row in self.rows]) for at in range(len(latencies))
            ],
            "intervals": [
                (latency.interval_low_ms / latency.predicted_ms, latency.interval_high_ms / latency.predicted_ms)
                for latency in latencies
            ],
            "measured": [
                {
                    number: (one.measured_ms, one.measured_median_ms, one.measured_p90_ms)
                    for number, row in enumerate(self.rows)
                    if (one := row.latencies[at]).measured_ms is not None
                }
                for at in range(len(latencies))
            ],
        }

    def _rounded(self, values: Sequence[float]) -> list[float]:
        """Returns the values of the front as they are, and those of other networks with a few digits."""
        rounded = [float(f"{value:.{_DIGITS}g}") for value in values[self.fronted :]]
        return [*values[: self.fronted], *rounded]


def read_report(run: RunFolder, command: str, axes: tuple[str, str] | None = None) -> RunReport:
    """Returns the report of a finished run; `axes` name the two metrics or costs that the page begins with.

    Raises RunError where the run has no front, UnknownNameError for axes that it does not have.
    """
    plot, facts, networks = front_plot(run, axes), run.read(), EvaluatedNetworks.of(run)
    rows = tuple(networks.rows.values())
    columns, latencies = columns_of(plot), networks.latency_names
    predictors = predictors_of(run, networks)
    importance, notes = _importance(run), facts.get("reading", {})
    return RunReport(
        plot=plot,
        axes=first_axes(plot),
        columns=columns,
        rows=rows,
        fronted=len(networks.front),
        values={column.name: values_of(column, plot, rows) for column in columns},
        words=tuple(tuple(described(row, plot.goal.metrics)) for row in networks.front.values()),
        layers=layers_of(predictors, latencies, rows),
        confidence=tuple(
            confidence_in(
                name,
                device,
                predictors.get(name),
                [row.latencies[at] for row in networks.front.values()],
                [session for session in facts.get("sessions", ()) if session["device"] == device["name"]],
            )
            for at, (name, device) in enumerate(zip(latencies, facts["devices"], strict=True))
        ),
        card=report_card(
            plot, facts, len(networks.searched), " ".join(notes.get("importance", ())) if importance else ""
        ),
        hypervolume=_hypervolume(run),
        importance=importance,
        notes=notes,
        history=_history(networks),
        files=tuple(
            name
            for name in ("front.csv", "importance.csv", "hypervolume.csv", "classes.csv", "run.json")
            if (run.path / name).exists()
        ),
        facts=facts,
        command=command,
    )


def _history(networks: EvaluatedNetworks) -> tuple[tuple[int, float], ...]:
    """Returns the evaluations that found a better first metric than all before: number and value."""
    metric, found = networks.goal.metrics[0], list[tuple[int, float]]()
    least = math.inf
    for number, evaluation in enumerate(networks.searched.values(), start=1):
        value = evaluation.metrics.get(metric.name, math.nan)
        if metric.minimised(value) < least:
            least = metric.minimised(value)
            found.append((number, value))
    return tuple(found)


def _hypervolume(run: RunFolder) -> dict[str, list[float]]:
    """Returns the columns of hypervolume.csv; none where the run has no such file."""
    lines = _lines(run, "hypervolume.csv", lambda _, text: float(text) if text else None)
    return {name: [line[name] for line in lines] for name in (lines[0] if lines else {}) if lines[0][name] is not None}


def _importance(run: RunFolder) -> dict[str, list[Any]]:
    """Returns the columns of importance.csv for the choices that matter most; none where the run has no such file."""
    lines = _lines(run, "importance.csv", _cell)
    shown = set(islice(dict.fromkeys(line["choice"] for line in lines), MOST_CHOICES))
    kept = [line for line in lines if line["choice"] in shown]
    return {name: [line[name] for line in kept] for name in (kept[0] if kept else {})}


def _cell(column: str, text: str) -> Any:
    if column == "choice":
        return text
    return json.loads(text) if column == "option" else float(text)


def _lines(run: RunFolder, name: str, read: Callable[[str, str], Any]) -> list[dict[str, Any]]:
    """Returns the lines of a table of the run, whose cells `read(column, text)` reads. Raises RunError for a damaged table."""
    path = run.path / name
    if not path.exists():
        return []
    try:
        lines = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")), strict=True))
        if any(None in line or None in line.values() for line in lines):
            raise ValueError("lines of different lengths")
        return [{column: read(column, text) for column, text in line.items()} for line in lines]
    except (ValueError, csv.Error) as error:
        raise RunError(
            f"{path}: damaged ({error}); delete it, and `hwnas search --resume --out {run.path}` writes it again"
        ) from None


def _finite(value: Any) -> Any:
    """Returns a value with None in the place of numbers that JSON has not."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return value
