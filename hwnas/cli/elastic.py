"""The command that shows what of a trained network can be made smaller."""

from typing import Any

import click

from hwnas.cli.generated import option_of, parsed
from hwnas.cli.options import JSON, PATH, made_space
from hwnas.spaces.request import SpaceRequest
from hwnas.terminal import TerminalReporter, print_rows


@click.command()
@click.argument("model")
@option_of(SpaceRequest, "weights")
@option_of(SpaceRequest, "space_options")
@option_of(SpaceRequest, "fix")
@option_of(SpaceRequest, "drop")
@option_of(SpaceRequest, "tie")
@click.option("--predictor", type=PATH, help="A predictor of the model's space: also shows shares of latency.")
@JSON
def elasticize(model: str, predictor: Any, as_json: bool, **written: Any) -> None:
    """Show what of a trained network can be made smaller: FILE.py:NAME, timm:NAME, torchvision:NAME or hf:DIR.

    Sizes that blocks share stay, unless --space-option streams=true.
    """
    space = made_space(parsed({"model": model, **written}))
    from hwnas.elastic.report import elastic_rows
    from hwnas.predict.predictor import LatencyPredictor

    for note in space.notes:
        TerminalReporter().note(note)

    milliseconds = None
    if predictor is not None:
        milliseconds = LatencyPredictor.load(predictor).breakdown_ms(space.encode([space.largest()])[0])
    facts = {"choices": len(space.choices), "networks": space.size, "operators to measure": len(space.operators())}
    print_rows({"parts": elastic_rows(space, milliseconds), "space": [facts]}, as_json)
