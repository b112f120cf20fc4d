"""The command line: parse, call, print. Results go to stdout, progress and notes to stderr.

A command's module is imported when the command is used, so that `hwnas --help` loads no torch.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Final

import click

import hwnas
from hwnas.cli.once import OnceGroup

# Every command, with the module that has it and what it does, in the order of `hwnas --help`.
COMMANDS: Final[Mapping[str, tuple[str, str]]] = {
    "spaces": ("listing", "List the built-in search spaces, and one of your own."),
    "data": ("data", "Print what is read of a data set: counts, sizes, duplicates, and what is left out."),
    "devices": ("listing", "List the devices, and those that searches can be for without having them."),
    "device": ("device", "Add a device that is not here, by tables that were measured there."),
    "doctor": ("doctor", "Tell what is installed, which devices work here, and how steady this machine measures."),
    "elasticize": ("elastic", "Show what of a trained network can be made smaller, before a search with --model."),
    "check": ("check", "Check a space of your own against the laws of spaces, operators and networks."),
    "measure": ("measure", "Time given networks side by side on a device, and say where their time goes."),
    "profile": ("measure", "Measure a space's operators and some whole networks on a device."),
    "bundle": ("measure", "Pack a space's models, or a run's winners, for a board without torch."),
    "merge": ("measure", "Merge tables of the same space and conditions."),
    "fit": ("predictor", "Fit a predictor of latency, or energy, to a table."),
    "predict": ("predictor", "Predict latencies, or energies: one JSON line per architecture."),
    "train": ("run", "Train a supernet, for searches that share it."),
    "search": ("run", "Search for the best networks within a latency budget, and measure them."),
    "export": ("run", "Write the ONNX model of one architecture of a run."),
    "verify": ("run", "Measure the front again: predicted against measured."),
    "plot": ("run", "Plot the front of a run, the fronts of several, or networks as blocks."),
    "report": ("run", "Write the page of a run: its front, networks side by side, and how far to trust it."),
    "best": ("reading", "Print the best evaluated network of a run within a latency budget, and how to export it."),
    "importance": ("reading", "Print what each option of each choice is worth, in the metric and in milliseconds."),
    "front": ("reading", "Search for another device's front, with all that a run has trained and evaluated."),
    "trust": ("trust", "List the Python files that tables, predictors and runs may run; add some, or empty the list."),
}


class LazyGroup(OnceGroup):
    """A group that imports a command when it is asked for."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module, _ = COMMANDS[name]
        command: click.Command = getattr(import_module(f"hwnas.cli.{module}"), name)
        return command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the list of commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, words) for name, (_, words) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(hwnas.__version__)
def cli() -> None:
    """Hardware-aware neural architecture search, down to ONNX models timed on your own device."""
