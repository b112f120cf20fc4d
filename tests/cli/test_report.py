"""The command that writes the page of a run."""

import json
from collections.abc import Callable
from pathlib import Path

from click.testing import CliRunner

from hwnas.cli import cli
from hwnas.runs.folder import RunFolder


def test_report_writes_the_page_and_plot_the_same_one(made_run: Callable[..., RunFolder], tmp_path: Path) -> None:
    run = made_run(tmp_path / "run", 20)
    written = CliRunner().invoke(cli, ["report", str(run.path), "--json"])
    assert str(run.report) in json.loads(written.stdout).values()
    plotted = CliRunner().invoke(cli, ["plot", str(run.path), "--out", str(run.path / "front.html")])
    assert (written.exit_code, plotted.exit_code) == (0, 0)
    assert (run.path / "front.html").read_bytes() == run.report.read_bytes()
    chosen = CliRunner().invoke(cli, ["report", str(run.path), "--axes", "params,accuracy"])
    assert chosen.exit_code == 0
    assert '"axes":["params","accuracy"]' in run.report.read_text(encoding="utf-8")
