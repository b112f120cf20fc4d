"""A command whose options depend on the strategy: those of the one that is asked for, and of no other."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import click

from hwnas.cli.generated import options_of
from hwnas.cli.once import require_once
from hwnas.core.requests import flag, option_names
from hwnas.errors import HwnasError
from hwnas.pipeline.request import PARTS
from hwnas.strategies.registry import STRATEGIES, load_strategy_class

EXAMPLES: Final = (
    "hwnas search --data imagefolder:photos --latency-budget 60%",
    "hwnas search --device amd-epyc --latency-budget 0.1ms --evaluations 200",
    "hwnas search --resume --out runs/search --evaluations 300",
)
COMMON: Final = (
    *("space", "space_options", "data", "device", "latency_budget", "objectives", "strategy", "evaluations", "epochs"),
    *("seed", "out", "resume", "source", "as_json", "help"),
)
# The sections of the other options, with the part of a request that each one shows.
TITLES: Final[Mapping[str, str]] = {
    "Space": "space",
    "Data": "data",
    "Devices": "devices",
    "Objectives and limits": "goal",
    "Measurements": "sources",
    "Training": "training",
    "Start": "start",
    "Final training": "final",
}


class StrategyCommand(click.Command):
    """Adds the options of the strategy that `--strategy` names, before anything else is parsed."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        """Parses the arguments. Raises HwnasError for a flag that only other strategies have."""
        reference = self._strategy(args)
        context.obj = load_strategy_class(reference)
        require_once(options_of(context.obj), args)
        try:
            return super().parse_args(context, args)
        except click.NoSuchOption as error:
            name = error.option_name.lstrip("-").replace("-", "_")
            owners = [known for known in STRATEGIES if name in option_names(load_strategy_class(known))]
            if not owners:
                raise
            raise HwnasError(
                f"{flag(name)} only applies to --strategy {' or '.join(owners)}; leave it out with --strategy {reference}"
            ) from None

    def get_params(self, context: click.Context) -> list[click.Parameter]:
        """Returns the command's parameters, then those of the strategy."""
        own: list[click.Parameter] = [] if context.obj is None else list(options_of(context.obj))
        *params, help_option = super().get_params(context)
        return [*params, *own, help_option]

    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes examples, the common options, then all others by what they are about."""
        with formatter.section("Examples"):
            for example in EXAMPLES:
                formatter.write_text(example)
        records = {
            param.name: record for param in self.get_params(context) if (record := param.get_help_record(context))
        }
        groups: dict[str, Sequence[str]] = {"Common options": COMMON}
        groups |= {title: option_names(PARTS[part]) for title, part in TITLES.items()}
        if context.obj is not None:
            groups["Strategy (others: --strategy NAME --help)"] = option_names(context.obj)
        groups["Other options"] = tuple(records)
        for title, names in groups.items():
            rows = [records.pop(name) for name in names if name in records]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)

    def _strategy(self, args: list[str]) -> str:
        default: Any = next(param.default for param in self.params if param.name == "strategy")
        for number, arg in enumerate(args):
            name, equals, value = arg.partition("=")
            if name == "--strategy" and equals:
                default = value
            elif name == "--strategy" and number + 1 < len(args):
                default = args[number + 1]
        return str(default)
