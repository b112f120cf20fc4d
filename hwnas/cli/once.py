"""Options of one value that are written twice are refused: the last one would silently win. Loads nothing heavy."""

from collections.abc import Sequence

import click

from hwnas.errors import HwnasError


def require_once(params: Sequence[click.Parameter], args: Sequence[str]) -> None:
    """Raises HwnasError where an option that takes one value is written twice: the last one would silently win."""
    single = {
        name for param in params if isinstance(param, click.Option) and not _may_repeat(param) for name in param.opts
    }
    written: dict[str, str] = {}
    for number, arg in enumerate(args):
        if arg == "--":
            break
        name, equals, value = arg.partition("=")
        if name not in single:
            continue
        value = value if equals else " ".join(args[number + 1 : number + 2])
        if name in written:
            raise HwnasError(f"{name} is given twice, {written[name]} and {value}; give it once")
        written[name] = value


class OnceGroup(click.Group):
    """A group of commands that take each option of one value once."""

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Returns the command with its arguments. Raises HwnasError for an option of one value that is given twice."""
        name, command, rest = super().resolve_command(context, args)
        if command is not None:
            require_once(command.params, rest)
        return name, command, rest


def _may_repeat(option: click.Option) -> bool:
    return option.multiple or option.is_flag or option.count
