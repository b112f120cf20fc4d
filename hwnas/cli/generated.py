"""Options of the command line, made from the requests of their owners, where names, defaults and help are written once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any, Final, Literal, TypeVar, get_args, get_origin

import click
from pydantic.fields import FieldInfo

from hwnas.core.files import json_of
from hwnas.core.requests import default_of, flag
from hwnas.errors import HwnasError

Command = TypeVar("Command", bound=Callable[..., Any])

METAVARS: Final[Mapping[str, str]] = {
    "space_options": "NAME=VALUE",
    "runtime_options": "NAME=VALUE",
    "fix": "PATTERN=OPTION",
    "drop": "PATTERN=OPTION",
    "tie": "PATTERN",
    "vary": "PART=OPTION,...",
}


def options_of(request: type[Any]) -> list[click.Option]:
    """Returns the options of a request, in the order of its fields."""
    described: Mapping[str, FieldInfo] = request.__pydantic_fields__
    return [_option(field.name, described[field.name], default_of(field)) for field in fields(request)]


def with_options(*requests: type[Any], without: Sequence[str] = ()) -> Callable[[Command], Command]:
    """Returns a decorator that adds the options of requests to a command, in this order, but for those named in `without`."""

    def decorate(command: Command) -> Command:
        # Click reverses the list, because decorators run from the last to the first.
        params = [option for request in requests for option in options_of(request) if option.name not in without]
        command.__click_params__ = [*getattr(command, "__click_params__", []), *reversed(params)]  # type: ignore[attr-defined]
        return command

    return decorate


def option_of(request: type[Any], name: str) -> Callable[[Command], Command]:
    """Returns a decorator that adds one option of a request to a command."""

    def decorate(command: Command) -> Command:
        option = next(option for option in options_of(request) if option.name == name)
        command.__click_params__ = [*getattr(command, "__click_params__", []), option]  # type: ignore[attr-defined]
        return command

    return decorate


def _option(name: str, field: FieldInfo, default: Any) -> click.Option:
    words = flag(name)
    shared: dict[str, Any] = {"help": field.description, "metavar": METAVARS.get(name)}
    if field.annotation is bool:
        return click.Option([words, name], is_flag=True, default=default, help=field.description)
    if _is_repeated(field.annotation):
        shown = list(default) if isinstance(default, Sequence) and default else None
        return click.Option([words, name], multiple=True, default=shown, show_default=shown is not None, **shared)
    kind = _kind(field.annotation)
    return click.Option([words, name], type=kind, default=default, show_default=default is not None, **shared)


def _is_repeated(annotation: Any) -> bool:
    return get_origin(annotation) is tuple or getattr(get_origin(annotation), "__name__", "") in ("Mapping", "dict")


def _kind(annotation: Any) -> Any:
    """The type of a value, of those that a value may have besides None."""
    if get_origin(annotation) is Literal:
        return click.Choice(list(get_args(annotation)))
    members = [member for member in get_args(annotation) or (annotation,) if member is not type(None)]
    return {int: click.INT, float: click.FLOAT}.get(members[0], click.STRING)


def parsed(options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns options as requests take them: NAME=VALUE texts as mappings, space options as JSON where they can be."""
    result = dict(options)
    if "space_options" in result:
        result["space_options"] = parsed_options(result["space_options"])
    if "runtime_options" in result:
        result["runtime_options"] = parsed_texts("--runtime-option", result["runtime_options"])
    return result


def parsed_options(written: Sequence[str]) -> dict[str, Any]:
    """Returns NAME=VALUE texts as a mapping; values are JSON where they can be, else strings."""
    result: dict[str, Any] = {}
    for name, value in parsed_texts("--space-option", written).items():
        try:
            result[name] = json_of(value)
        except ValueError:
            result[name] = value
    return result


def parsed_texts(words: str, written: Sequence[str]) -> dict[str, str]:
    """Returns NAME=VALUE texts as a mapping of texts. Raises HwnasError for other texts."""
    result: dict[str, str] = {}
    for item in written:
        name, equals, value = item.partition("=")
        if not equals or not name:
            raise HwnasError(f"{words} {item!r} is not NAME=VALUE; see --help")
        name = name.replace("-", "_")
        if name in result:
            raise HwnasError(f"{words} {name} is given twice, {result[name]} and {value}; give it once")
        result[name] = value
    return result
