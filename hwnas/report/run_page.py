"""The page of a run: one file that opens from disk. The template, the style and the script are files in `page/`."""

import json
import os
import re
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

from hwnas.core.files import is_inside
from hwnas.report.run_report import RunReport


def run_html(report: RunReport, links: Mapping[str, str]) -> str:
    """Returns the page as text. `links` are addresses of files of the run, by the names that front.csv has for them.

    The page loads nothing: style, script and data are in it. Equal reports give equal pages.
    """
    data = json.dumps({**report.describe(), "links": dict(links)}, separators=(",", ":"), allow_nan=False)
    parts = {
        "title": escape(report.plot.title),
        "style": _file("page.css"),
        "script": _file("page.js"),
        "data": data.replace("<", "\\u003c"),  # no text of the data ends the script
    }
    return re.sub(r"@(title|style|script|data)@", lambda found: parts[found[1]], _file("page.html"))


def links_from(page: Path, run: Path, report: RunReport) -> dict[str, str]:
    """Returns the addresses, relative to the page, of the run's files that the page names and that are there."""
    models = [name for row in report.rows[: report.fronted] for name in (row.onnx, *row.further_onnx.values())]
    start = page.resolve().parent
    return {
        name: quote(f"./{Path(os.path.relpath((run / name).resolve(), start)).as_posix()}")
        for name in (*models, *report.files)
        if name and is_inside(run, name) and (run / name).is_file()
    }


def _file(name: str) -> str:
    return (files("hwnas.report") / "page" / name).read_text(encoding="utf-8")
