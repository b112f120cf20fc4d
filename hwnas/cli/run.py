"""Runs: their supernet, their search, and what is done with a finished one."""

from pathlib import Path
from typing import Any

import click

from hwnas.cli.generated import parsed, with_options
from hwnas.cli.options import JSON, OUT_FILE, OUT_FOLDER, PATH, RUN, SEED, OutputOption, written_options
from hwnas.cli.strategies import StrategyCommand
from hwnas.data.options import DataOptions
from hwnas.errors import HwnasError, WorthError
from hwnas.pipeline.options import TrackingRequest
from hwnas.pipeline.request import DEFAULT_STRATEGY, PARTS
from hwnas.spaces.request import SpaceRequest
from hwnas.strategies.registry import STRATEGIES
from hwnas.terminal import TerminalReporter, print_front, print_path, print_rows
from hwnas.train.request import TrainingRequest


@click.command()
@with_options(SpaceRequest, DataOptions, TrainingRequest, TrackingRequest, without=["vary"])
@SEED
@click.option("--out", type=OUT_FOLDER, required=True)
@click.option("--resume", is_flag=True, help="Go on with the run in --out.")
@click.pass_context
def train(context: click.Context, /, out: Path, resume: bool, **options: Any) -> None:
    """Train a supernet, for searches that share it."""
    from hwnas.pipeline.fitting import fitted_to_data
    from hwnas.pipeline.request import search_request
    from hwnas.pipeline.train import resume_training
    from hwnas.pipeline.train import train as run_training

    if resume:
        weights = resume_training(out, TerminalReporter(), parsed(written_options(context, options)))
    else:
        request = fitted_to_data(search_request(parsed(options)))
        weights = run_training(request, request.space.load(), out, TerminalReporter())
    click.echo(weights)


@click.command(cls=StrategyCommand)
@with_options(*PARTS.values())
@click.option(
    "--strategy",
    default=DEFAULT_STRATEGY,
    show_default=True,
    help=f"{', '.join(STRATEGIES)}, or FILE.py:NAME.",
)
@SEED
@click.option(
    "--out",
    type=OUT_FOLDER,
    help="Folder of the run; default: runs/search, or runs/search-2 and so on; with --resume the last of these.",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Go on with the run in --out, perhaps with more evaluations, other budgets, limits, objectives, devices.",
)
@click.option("--back", is_flag=True, help="With --resume: go on by the request before the last change.")
@click.option("--from", "source", metavar="RUN", type=PATH, help="Go on with a copy of that run, in --out.")
@click.option("--strict", is_flag=True, help="Refuse a front that is no better than guessing: exit code 4.")
@JSON
@click.pass_context
def search(
    context: click.Context,
    /,
    out: Path | None,
    resume: bool,
    back: bool,
    source: Path | None,
    strict: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Search for the networks that are best within a latency budget, and measure them, where their device is here."""
    from hwnas.pipeline.fitting import fitted_to_data
    from hwnas.pipeline.request import search_request
    from hwnas.pipeline.search import branch, start
    from hwnas.pipeline.search import resume as resume_search
    from hwnas.runs.folder import folder_for

    if resume and source is not None:
        raise HwnasError(f"--resume goes on in --out, --from {source} in a copy; give one of the two")
    if back and not resume:
        raise HwnasError("--back goes on with the run in --out: give --resume, too")
    with folder_for(out, resume) as path:
        if source is not None:
            result = branch(source, path, TerminalReporter(), parsed(written_options(context, options)))
        elif resume:
            result = resume_search(path, TerminalReporter(), parsed(written_options(context, options)), back=back)
        else:
            request = fitted_to_data(search_request(parsed(options)))
            result = start(request, request.space.load(), path, TerminalReporter())
    print_front(result.front, result.run.path, as_json, result.warnings)
    if strict and result.warnings:
        raise WorthError(
            f"{result.run.path}: refused by --strict, for the warnings above; they are in its run.json, too"
        )


@click.command()
@RUN
@click.option("--arch", default="knee", show_default=True, help="fastest, knee, best, or an id.")
@click.option(
    "--out",
    cls=OutputOption,
    type=OUT_FILE,
    help="The ONNX file to write; default ID.onnx here. FILE.py: Python source that needs torch alone, its weights beside it.",
)
@click.option("--batch", type=click.IntRange(1), help="Batch size of the file; default: that of the run.")
@click.option("--dynamic-batch", is_flag=True, help="The file takes any batch size.")
@click.option(
    "--with-preprocessing", is_flag=True, help="The file takes images as they are: uint8, of any size; it resizes them."
)
@JSON
def export(
    run: Path,
    arch: str,
    out: Path | None,
    batch: int | None,
    dynamic_batch: bool,
    with_preprocessing: bool,
    as_json: bool,
) -> None:
    """Write the ONNX model of one architecture of a run, or its Python source and weights."""
    from hwnas.pipeline.winners import export as export_arch
    from hwnas.profiler.export import Batch

    if dynamic_batch and batch is not None:
        raise HwnasError(f"--batch {batch} and --dynamic-batch exclude each other; give one of the two")
    size: Batch | None = "dynamic" if dynamic_batch else batch
    print_path(export_arch(run, arch, out, batch=size, preprocessing=with_preprocessing), as_json)


@click.command()
@RUN
@click.option("--claims", is_flag=True, help="Check every claim of the run from its files instead: nothing is timed.")
@click.option(
    "--measured", type=PATH, metavar="TABLE", help="Take the measurements of a bundle of the run's winners instead."
)
@JSON
def verify(run: Path, claims: bool, measured: Path | None, as_json: bool) -> None:
    """Measure the front again: predicted against measured."""
    from hwnas.pipeline.boards import verify_measured
    from hwnas.pipeline.claims import check_claims
    from hwnas.pipeline.winners import verify as verify_run

    if claims and measured is not None:
        raise HwnasError("--claims checks files, and --measured takes measurements; give one of the two")
    if claims:
        print_rows({"claims": check_claims(run)}, as_json)
        return
    reporter = TerminalReporter()
    verified = verify_run(run, reporter) if measured is None else verify_measured(run, measured, reporter)
    rows = [verification.describe() for verification in verified]
    if not as_json:
        rows = [row | {"error": f"{100 * row['error']:+.1f} %"} for row in rows]
    print_rows({"verified": rows}, as_json)


@click.command()
@click.argument("runs", type=PATH, nargs=-1, required=True, metavar="RUN...")
@click.option("--out", cls=OutputOption, type=OUT_FILE, required=True, help="front.png, .svg, .pdf, .html or .csv")
@click.option(
    "--axes", metavar="X,Y", help="Two metrics or costs; default: all pairs of objectives, the first of several runs."
)
@click.option(
    "--network",
    "networks",
    multiple=True,
    metavar="NAME",
    help="Draw a network as blocks with their milliseconds instead: fastest, knee, best or an id; repeatable.",
)
@JSON
def plot(runs: tuple[Path, ...], out: Path, axes: str | None, networks: tuple[str, ...], as_json: bool) -> None:
    """Plot the front of a run, the fronts of several, or networks as blocks.

    FILE.csv has the numbers of the picture, FILE.html is the page of `hwnas report`.
    """
    from hwnas.pipeline.report import write_report
    from hwnas.report.plots import draw_fronts_to, draw_networks_to, draw_to
    from hwnas.runs.folder import RunFolder

    folders, pair = [RunFolder(run) for run in runs], None if axes is None else _pair(axes)
    if networks:
        if len(folders) > 1 or pair is not None:
            raise HwnasError("--network draws networks of one run, without --axes; give one RUN, and leave --axes out")
        draw_networks_to(folders[0], networks, out)
    elif len(folders) > 1:
        draw_fronts_to(folders, out, pair)
    else:
        (write_report if out.suffix == ".html" else draw_to)(folders[0], out, pair)
    print_path(out, as_json)


@click.command()
@RUN
@click.option("--out", cls=OutputOption, type=OUT_FILE, help="The page; default: report.html in the run's folder.")
@click.option("--axes", metavar="X,Y", help="The two metrics or costs that the page begins with; default: objectives.")
@JSON
def report(run: Path, out: Path | None, axes: str | None, as_json: bool) -> None:
    """Write the page of a run: its front, networks side by side, and how far to trust it.

    The page is one file that opens from disk. A search writes it, too, as report.html in the run's folder.
    """
    from hwnas.pipeline.report import write_report
    from hwnas.runs.folder import RunFolder

    print_path(write_report(RunFolder(run), out, None if axes is None else _pair(axes)), as_json)


def _pair(axes: str) -> tuple[str, str]:
    """Returns the names of `X,Y`. Raises HwnasError for other texts."""
    x, comma, y = axes.replace(" ", "").partition(",")
    if not comma or not x or not y or "," in y:
        raise HwnasError(f"--axes {axes!r}: give two names with a comma between them, such as latency,loss")
    return x, y
