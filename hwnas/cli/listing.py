"""Lists of spaces and devices."""

import json
from typing import TYPE_CHECKING, Any

import click

from hwnas.cli.generated import option_of, parsed
from hwnas.cli.options import JSON, made_space
from hwnas.spaces.request import SpaceRequest
from hwnas.terminal import TerminalReporter, print_facts, print_rows

if TYPE_CHECKING:
    from hwnas.core.space import SearchSpace


@click.command()
@click.argument("name", required=False)
@click.option("--space", help="List this one, too: FILE.py:FUNCTION, or a built-in space with other options.")
@option_of(SpaceRequest, "space_options")
@option_of(SpaceRequest, "precisions")
@option_of(SpaceRequest, "fix")
@option_of(SpaceRequest, "drop")
@option_of(SpaceRequest, "tie")
@option_of(SpaceRequest, "vary")
@JSON
def spaces(name: str | None, space: str | None, as_json: bool, **written: Any) -> None:
    """List the built-in search spaces, and one of your own, or a part of one.

    With NAME, a built-in space or FILE.py:FUNCTION, tell all of that one: options, choices and what switches them on, size, the
    smallest, largest and fastest network, an architecture as JSON, and how a network looks.
    """
    if name is not None:
        if space:
            raise click.UsageError(f"{name} and --space {space} are two spaces; give one.")
        _print_space(made_space(parsed({"space": name, **written})), name, as_json)
        return
    from hwnas.spaces import SPACES, load_space

    if any(written.values()) and not space:
        raise click.UsageError(
            "--space-option, --precisions, --fix, --drop, --tie and --vary need a --space that they are about."
        )
    listed = {name: load_space(name) for name in SPACES}
    if space:
        told = [f"--{name} {text}" for name in ("fix", "drop", "tie", "vary") for text in written[name]]
        told = ([f"--precisions {written['precisions']}"] if written["precisions"] else []) + told
        listed[" ".join([space, *written["space_options"], *told])] = made_space(parsed({"space": space, **written}))
    rows = [
        {
            "space": name,
            "architectures": made.size,
            "choices": len(made.choices),
            "operators": len(made.operators()),
            "fingerprint": made.fingerprint,
        }
        for name, made in listed.items()
    ]
    print_rows({"spaces": rows}, as_json)


def _print_space(space: "SearchSpace", reference: str, as_json: bool) -> None:
    from hwnas.pipeline.describing import described

    facts = described(space, reference)
    if as_json:
        click.echo(json.dumps(facts))
        return
    print_facts(facts["space"], False)
    lists = {name: rows for name, rows in facts.items() if isinstance(rows, list)}
    print_rows(lists, False)
    click.echo(f"the smallest as an architecture: {json.dumps(facts['example'])}")


@click.command()
@JSON
def devices(as_json: bool) -> None:
    """List the devices, whether they can be used here, and those that searches can be for without having them."""
    from hwnas.predict.shipped import missing_folders, shipped_devices
    from hwnas.profiler.device import devices as known

    for missing in missing_folders():
        TerminalReporter().note(missing)
    shipped = [device.describe() for device in shipped_devices().values()]
    print_rows({"devices": known(), "shipped": shipped}, as_json)
