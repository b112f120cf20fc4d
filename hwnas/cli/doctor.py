"""The command that says what works on this machine, what does not, and what to do about it."""

import click

from hwnas.cli.options import JSON
from hwnas.terminal import TerminalReporter, print_rows


@click.command()
@click.option("--seconds", type=click.FloatRange(0), default=10.0, show_default=True, help="Time for the steadiness.")
@JSON
def doctor(seconds: float, as_json: bool) -> None:
    """Tell what is installed, which devices work here and why not, and how steady this machine measures."""
    from hwnas.pipeline.doctor import examine

    sections = examine(TerminalReporter(), seconds)
    if as_json:
        print_rows({name: [finding.describe() for finding in findings] for name, findings in sections.items()}, True)
        return
    for name, findings in sections.items():
        click.echo(f"{name}:")
        for finding in findings:
            advice = f" -> {finding.advice}" if finding.advice else ""
            click.echo(f"  {'' if finding.fine else 'PROBLEM '}{finding.what}: {finding.found}{advice}")
