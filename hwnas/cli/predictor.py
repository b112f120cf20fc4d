"""Predictors of latency, and of energy: fitted, and asked."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from io import BufferedReader, TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from hwnas.cli.generated import option_of, parsed
from hwnas.cli.options import JSON, OUT_FILE, PATH, OutputOption, made_space
from hwnas.core.files import encoding_of
from hwnas.errors import HwnasError
from hwnas.spaces.request import SpaceRequest
from hwnas.terminal import TerminalReporter, cold_note, print_report

if TYPE_CHECKING:
    from hwnas.core.space import SearchSpace


@click.command()
@click.option("--table", type=PATH, required=True, help="A table, or DEVICE/SPACE of a shipped one.")
@click.option(
    "--space",
    help="Of which space, where not of the table's own: a part of it, or another one, whose operators are then estimated.",
)
@option_of(SpaceRequest, "space_options")
@option_of(SpaceRequest, "precisions")
@option_of(SpaceRequest, "fix")
@option_of(SpaceRequest, "drop")
@option_of(SpaceRequest, "tie")
@click.option(
    "--from",
    "known",
    multiple=True,
    type=PATH,
    metavar="PREDICTOR",
    help="A predictor of another device for the same space, or DEVICE/SPACE of a shipped one, once or more: then 5 to 20 "
    "networks are enough.",
)
@click.option("--cost", default="latency", show_default=True, help="What of the table: latency, or energy.")
@click.option("--allow-unconverged", is_flag=True, help="Also of measurements that are not precise.")
@click.option("--out", cls=OutputOption, type=OUT_FILE, default="predictor.json", show_default=True)
@click.option(
    "--plot", cls=OutputOption, type=OUT_FILE, help="Also plot predicted against measured: fit.png, .svg, .pdf or .html"
)
@JSON
def fit(
    table: Path,
    space: str | None,
    known: tuple[Path, ...],
    cost: str,
    allow_unconverged: bool,
    out: Path,
    plot: Path | None,
    as_json: bool,
    **written: Sequence[str],
) -> None:
    """Fit a predictor of latency, or energy, to a table; prints its held-out errors beside those of simpler predictions."""
    from hwnas.pipeline.predict import fit_table
    from hwnas.predict.related import estimated_words
    from hwnas.predict.shipped import predictor_file, shipped_devices, table_file
    from hwnas.report.plots import PICTURES, draw_held_out_to, require_format

    devices = shipped_devices()
    table, known = table_file(table, devices), tuple(predictor_file(each, devices) for each in known)
    files = {"predictor": out}
    if plot:
        require_format(plot, PICTURES)  # before any file is written
        files["plot"] = plot
    asked = _asked_space(space, written)
    predictor = fit_table(table, asked, cost=cost, allow_unconverged=allow_unconverged, known=known)
    if predictor.report.get("cold"):
        TerminalReporter().note(cold_note(predictor.report))
    elif predictor.report.get("estimated_operators"):
        TerminalReporter().note(estimated_words(predictor))
    predictor.save(out)
    if plot:
        draw_held_out_to(predictor, plot)
    print_report(files, predictor.report, predictor.interval, as_json)


def _asked_space(space: str | None, written: Mapping[str, Sequence[str]]) -> "SearchSpace | None":
    """The space that `--space` and its options say. Raises HwnasError where there are only options."""
    if space is not None:
        return made_space(parsed({"space": space, **written}))
    alone = next((name for name, values in written.items() if values), None)
    if alone is not None:
        flag = "--space-option" if alone == "space_options" else f"--{alone}"
        raise HwnasError(f"{flag} is of a space; give --space, too")
    return None


@click.command()
@click.option("--predictor", type=PATH, required=True, help="A predictor, or DEVICE/SPACE of a shipped one.")
@click.option(
    "--arch",
    required=True,
    help="A JSON object, a file of one or of JSON lines, or - for JSON lines on standard input; largest or smallest; front.csv, "
    "the folder of a run, or an ONNX file of one; an id of the predictor's run.",
)
@click.option("--json", is_flag=True, expose_value=False, help="Changes nothing: the output is JSON lines either way.")
def predict(predictor: Path, arch: str) -> None:
    """Predict latencies, or energies, as the predictor does: one JSON line per architecture."""
    from hwnas.pipeline.predictions import answers, lines_named
    from hwnas.predict.predictor import LatencyPredictor
    from hwnas.predict.shipped import predictor_file, shipped_devices
    from hwnas.spaces import reload_space

    path = predictor_file(predictor, shipped_devices())
    loaded = LatencyPredictor.load(path)
    space = reload_space(loaded.space, path)
    lines = _piped() if arch == "-" else lines_named(space, arch, path)
    for answer in answers(loaded, space, lines):
        click.echo(json.dumps(answer))


def _piped() -> Iterator[str]:
    """Yields the lines of standard input as they come. Raises HwnasError for bytes that are no text."""
    stream = cast(BufferedReader, sys.stdin.buffer)
    try:
        yield from TextIOWrapper(stream, encoding=encoding_of(stream.peek(4)))
    except UnicodeDecodeError as error:
        raise HwnasError(f"--arch -: standard input is no {error.encoding.upper()}; give JSON lines in UTF-8") from None
