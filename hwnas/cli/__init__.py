"""The command line: parse, call, print. Results go to stdout, progress and notes to stderr.

Commands import what they need when they are called, so that `hwnas --help` loads no torch.
"""

import click

import hwnas
from hwnas.cli.listing import devices, spaces
from hwnas.cli.measure import bundle, merge, profile
from hwnas.cli.predictor import fit, predict
from hwnas.cli.run import export, plot, search, train, verify


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    commands=[spaces, devices, profile, bundle, merge, fit, predict, train, search, export, verify, plot],
)
@click.version_option(hwnas.__version__)
def cli() -> None:
    """Hardware-aware neural architecture search, down to ONNX models timed on your own device."""
