"""Commands that read a finished run: its best network within limits, what options are worth, and another device's front."""

from pathlib import Path
from typing import Any

import click

from hwnas.cli.generated import option_of, with_options
from hwnas.cli.options import JSON, OUT_FOLDER, RUN, written_options
from hwnas.errors import HwnasError
from hwnas.pipeline.goal import GoalRequest
from hwnas.pipeline.options import SourcesRequest
from hwnas.profiler.request import DevicesRequest
from hwnas.terminal import TerminalReporter, print_found, print_front, print_importance


@click.command()
@RUN
@with_options(GoalRequest)
@JSON
@click.pass_context
def best(context: click.Context, /, run: Path, as_json: bool, **options: Any) -> None:
    """Print the best evaluated network of a run within a latency budget, or the knee, and how to export it.

    Options that are not written are those of the run. Networks that are not on the front count, too.
    """
    from hwnas.pipeline.best import best_of_run

    print_found(*best_of_run(run, written_options(context, options)), as_json)


@click.command()
@RUN
@JSON
def importance(run: Path, as_json: bool) -> None:
    """Print what each option of each choice is worth, in the first metric and in milliseconds."""
    from hwnas.pipeline.reading import importance_of_run

    print_importance(importance_of_run(run), as_json)


@click.command()
@RUN
@option_of(DevicesRequest, "device")
@option_of(SourcesRequest, "predictor")
@option_of(SourcesRequest, "table")
@option_of(GoalRequest, "latency_budget")
@click.option(
    "--evaluations", type=click.IntRange(1), help="Architectures that the strategy asks for; default: as the run."
)
@click.option("--out", type=OUT_FOLDER, required=True, help="Folder of the new run.")
@JSON
@click.pass_context
def front(context: click.Context, /, run: Path, out: Path, as_json: bool, **options: Any) -> None:
    """Search for another device's front in a copy of a run: with its supernet, and all that it evaluated.

    Without --latency-budget there is none: the run's own are of its own devices.
    """
    from hwnas.pipeline.search import branch

    written = written_options(context, options)
    if "device" not in written:
        raise HwnasError("give the device of the front: --device NAME (`hwnas devices` lists those that are shipped)")
    result = branch(run, out, TerminalReporter(), {"latency_budget": None, **written})
    print_front(result.front, result.run.path, as_json, result.warnings)
