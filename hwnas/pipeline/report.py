"""The page of a run, and the command that starts its search again."""

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from hwnas.core.files import replace_file
from hwnas.core.requests import default_of, flag
from hwnas.pipeline.request import PARTS, plain
from hwnas.report.run_page import links_from, run_html
from hwnas.report.run_report import read_report
from hwnas.runs.folder import RunFolder

# Options that a command has although their values are the defaults: they say what was searched.
_ALWAYS: Final = ("space", "data")


def write_report(run: RunFolder, out: Path | None = None, axes: tuple[str, str] | None = None) -> Path:
    """Writes the page of a finished run, by default as report.html in its folder, and returns its path.

    `axes` name the two metrics or costs that the page begins with. Raises RunError where the run has no front,
    UnknownNameError for axes that it does not have.
    """
    out = run.report if out is None else out
    report = read_report(run, command_of(run.read()["request"]), axes)
    replace_file(out, run_html(report, links_from(out, run.path, report)))
    return out


def command_of(request: Mapping[str, Any], out: str = "RUN") -> str:
    """Returns the command that starts a search by a request of run.json, without options that have their defaults.

    The options of the strategy are all written: their defaults are the strategy's own.
    """
    words = ["hwnas", "search"]
    for part, kind in PARTS.items():
        defaults = {field.name: default_of(field) for field in fields(kind)}
        for name, value in request.get(part, {}).items():
            if name == "space" and request[part].get("model"):
                continue
            if name in _ALWAYS or plain(value) != plain(defaults.get(name)):
                words += _words(name, value)
    strategy = request.get("strategy", {})
    words += _words("strategy", strategy.get("name"))
    for name, value in strategy.get("options", {}).items():
        words += _words(name, value)
    words += _words("seed", request.get("seed"))
    return shlex.join([*words, "--out", out])


def _words(name: str, value: Any) -> Iterator[str]:
    """Yields the words of an option; none for one that is left out."""
    if value is None or value is False:
        return
    if value is True:
        yield flag(name)
    elif isinstance(value, Mapping):
        for key, one in value.items():
            yield from (flag(name), f"{key}={one if isinstance(one, str) else json.dumps(one)}")
    elif isinstance(value, list | tuple):
        for one in value:
            yield from (flag(name), str(one))
    else:
        yield from (flag(name), str(value))
