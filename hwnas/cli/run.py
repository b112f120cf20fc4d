"""Runs: their supernet, their search, and what is done with a finished one."""

from pathlib import Path
from typing import Any

import click

from hwnas.cli.options import (
    CONDITIONS,
    DATA,
    ENERGY,
    GRADIENT,
    JSON,
    NETWORKS,
    PATH,
    POSITIVE,
    RUN,
    SPACE,
    given,
    parsed_options,
    parsed_texts,
)
from hwnas.terminal import TerminalReporter, print_front, print_path, print_rows


@click.command()
@SPACE
@DATA
@click.option("--out", type=PATH, required=True)
@click.option("--resume", is_flag=True, help="Go on with the run in --out.")
@click.pass_context
def train(context: click.Context, /, out: Path, resume: bool, **options: Any) -> None:
    """Train a supernet, for searches that share it."""
    from hwnas.pipeline.config import SearchConfig
    from hwnas.pipeline.request import configured
    from hwnas.pipeline.train import resume_training
    from hwnas.pipeline.train import train as run_training

    options["space_options"] = parsed_options(options["space_options"])
    if resume:
        weights = resume_training(out, TerminalReporter(), given(context, options))
    else:
        config = SearchConfig(**options)
        weights = run_training(config, configured(config.space, config), out, TerminalReporter())
    click.echo(weights)


@click.command()
@SPACE
@DATA
@click.option(
    "--runtime", help="What runs models: onnxruntime, or torch; default onnxruntime, a shipped device's its own."
)
@CONDITIONS
@click.option(
    "--latency-budget",
    default="100%",
    show_default=True,
    help="0.4ms, 250us, or a share of the largest network, 60%; of --strategy gradient several, with commas.",
)
@click.option(
    "--budget-on", default="median", show_default=True, help="Statistic the budget is judged on: median, p10 or p90."
)
@click.option("--max-params", type=POSITIVE, help="Most parameters.")
@click.option("--max-model-mib", type=float, help="Most MiB of weights and statistics, float32.")
@click.option("--max-peak-mib", type=float, help="Most MiB of activations alive at once, of one sample, float32.")
@ENERGY
@click.option("--strategy", default="nsga2", show_default=True, help="nsga2, random or gradient.")
@click.option(
    "--evaluations",
    type=POSITIVE,
    default=200,
    show_default=True,
    help="Architectures judged on the validation split.",
)
@NETWORKS
@click.option("--table", help="A table measured before, or DEVICE/SPACE of a shipped one, instead of profiling.")
@click.option("--predictor", help="A predictor fitted before, or DEVICE/SPACE of a shipped one, instead of profiling.")
@click.option("--supernet", help="Folder of `hwnas train`, instead of training.")
@GRADIENT
@click.option("--out", type=PATH, default="runs/search", show_default=True)
@click.option("--resume", is_flag=True, help="Go on with the run in --out.")
@JSON
@click.pass_context
def search(context: click.Context, /, out: Path, resume: bool, as_json: bool, **options: Any) -> None:
    """Search for the networks that are best within a latency budget, and measure them, where their device is here."""
    from hwnas.pipeline.config import SearchConfig
    from hwnas.pipeline.request import configured
    from hwnas.pipeline.search import resume as resume_search
    from hwnas.pipeline.search import start

    options["space_options"] = parsed_options(options["space_options"])
    options["runtime_options"] = parsed_texts("--runtime-option", options["runtime_options"])
    if resume:
        result = resume_search(out, TerminalReporter(), given(context, options))
    else:
        config = SearchConfig(**options)
        result = start(config, configured(config.space, config), out, TerminalReporter())
    print_front(result.front, result.run.path, as_json)


@click.command()
@RUN
@click.option("--arch", default="knee", show_default=True, help="fastest, knee, best, or an id.")
@click.option("--out", type=PATH, help="The ONNX file to write; default ID.onnx here.")
@JSON
def export(run: Path, arch: str, out: Path | None, as_json: bool) -> None:
    """Write the ONNX model of one architecture of a run."""
    from hwnas.pipeline.winners import export as export_arch

    print_path(export_arch(run, arch, out), as_json)


@click.command()
@RUN
@JSON
def verify(run: Path, as_json: bool) -> None:
    """Measure the front again: predicted against measured."""
    from hwnas.pipeline.winners import verify as verify_run

    rows = [verification.describe() for verification in verify_run(run, TerminalReporter())]
    print_rows({"verified": rows}, as_json)


@click.command()
@RUN
@click.option("--out", type=PATH, required=True, help="front.png, .svg, .html or .csv")
@JSON
def plot(run: Path, out: Path, as_json: bool) -> None:
    """Plot the front of a run."""
    from hwnas.pipeline.plots import draw_to
    from hwnas.runs.folder import RunFolder

    draw_to(RunFolder(run), out)
    print_path(out, as_json)
