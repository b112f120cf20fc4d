"""A command whose options depend on the strategy: those of the one that is asked for, and of no other."""

from typing import Any

import click

from hwnas.cli.generated import options_of
from hwnas.core.requests import flag, option_names
from hwnas.errors import HwnasError
from hwnas.strategies.registry import STRATEGIES, load_strategy_class


class StrategyCommand(click.Command):
    """Adds the options of the strategy that `--strategy` names, before anything else is parsed."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        """Parses the arguments. Raises HwnasError for a flag that only other strategies have."""
        reference = self._strategy(args)
        context.obj = load_strategy_class(reference)
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

    def _strategy(self, args: list[str]) -> str:
        default: Any = next(param.default for param in self.params if param.name == "strategy")
        for number, arg in enumerate(args):
            name, equals, value = arg.partition("=")
            if name == "--strategy" and equals:
                default = value
            elif name == "--strategy" and number + 1 < len(args):
                default = args[number + 1]
        return str(default)
