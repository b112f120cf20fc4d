"""The command that shows what of a trained network can be made smaller."""

from pathlib import Path
from typing import Any

import click

from hwnas.cli.generated import parsed, with_options
from hwnas.cli.options import JSON, OUT_FILE, PATH, OutputOption, made_space, written_options
from hwnas.core.requests import flag, option_names
from hwnas.data.options import DataOptions
from hwnas.errors import HwnasError
from hwnas.spaces.request import SpaceRequest
from hwnas.terminal import TerminalReporter, print_rows


@click.command()
@click.argument("model")
@with_options(SpaceRequest, without=["space", "model", "vary"])
@click.option(
    "--gradients",
    cls=OutputOption,
    type=OUT_FILE,
    help="Write FILE.safetensors: the gradients of the loss on 256 training examples of --data, for --importance FILE.",
)
@with_options(DataOptions, without=["augmentation"])
@click.option("--predictor", type=PATH, help="A predictor of the model's space: also shows shares of latency.")
@JSON
@click.pass_context
def elasticize(
    context: click.Context, /, model: str, predictor: Any, gradients: Path | None, as_json: bool, **values: Any
) -> None:
    """Show what of a trained network can be made smaller: FILE.py:NAME, timm:NAME, torchvision:NAME or hf:DIR.

    Sizes that blocks share stay, unless --space-option streams=true.
    """
    own = [name for name in option_names(DataOptions) if name in written_options(context, values)]
    if own and gradients is None:
        raise HwnasError(f"{flag(own[0])} is for the data of --gradients; add --gradients FILE, or leave it out")
    options = parsed({"model": model, **values})
    space = made_space(options)
    from hwnas.elastic.report import elastic_rows
    from hwnas.predict.predictor import LatencyPredictor

    for note in space.notes:
        TerminalReporter().note(note)

    if gradients is not None:
        from hwnas.pipeline.gradients import write_gradients
        from hwnas.pipeline.request import search_request

        write_gradients(search_request(options), space, gradients)
    milliseconds = None
    if predictor is not None:
        milliseconds = LatencyPredictor.load(predictor).breakdown_ms(space.encode([space.largest()])[0])
    facts = {"choices": len(space.choices), "networks": space.size, "operators to measure": len(space.operators())}
    print_rows({"parts": elastic_rows(space, milliseconds), "space": [facts]}, as_json)
