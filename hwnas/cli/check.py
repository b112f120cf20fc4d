"""Checking a space of your own, with its operators and networks."""

import json
from typing import TYPE_CHECKING, Any

import click

from hwnas.cli.generated import option_of, parsed
from hwnas.cli.options import JSON, made_space
from hwnas.errors import ConformanceError
from hwnas.spaces.request import SpaceRequest
from hwnas.terminal import TerminalReporter

if TYPE_CHECKING:
    from hwnas.testing.check import Report


@click.command()
@click.argument("space")
@option_of(SpaceRequest, "space_options")
@option_of(SpaceRequest, "precisions")
@option_of(SpaceRequest, "fix")
@option_of(SpaceRequest, "drop")
@option_of(SpaceRequest, "tie")
@JSON
def check(space: str, as_json: bool, **options: Any) -> None:
    """Check a space, FILE.py:NAME or a built-in one: its operators, choices and networks; one verdict per law.

    Exit code 2 where a law is broken. Small options (few pixels, few channels) make it faster.
    """
    loaded = made_space(parsed({"space": space, **options}))
    from hwnas.testing.check import check_space  # after the space, which may be refused without loading torch

    report = check_space(loaded, TerminalReporter())
    click.echo(json.dumps(report.describe()) if as_json else _written(report))
    if report.broken:
        raise ConformanceError(f"{space} breaks {len(report.broken)} of {len(report.verdicts)} laws")


def _written(report: "Report") -> str:
    """One line per law, then one of what was looked at."""
    lines = []
    for verdict in report.verdicts:
        detail = f": {verdict.detail}" if verdict.detail else ""
        lines.append(f"{verdict.verdict:<11} {verdict.part}: {verdict.law}{detail}")
    sampled = "" if report.looked_at == report.operators else ", drawn from all kinds"
    holding = sum(verdict.verdict == "holds" for verdict in report.verdicts)
    lines.append(
        f"{holding} of {len(report.verdicts)} laws hold; built and ran {report.looked_at:,} of {report.operators:,} "
        f"operators{sampled}"
    )
    return "\n".join(lines)
