"""Requests: frozen values that their owners define and pydantic checks, made from flat options by name.

A request is a pydantic dataclass whose fields carry their description: the command line's flags are made from them, so that
a default, a bound or a help text is written once.
"""

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from typing import Any, TypeVar

from pydantic import ValidationError

from hwnas.errors import HwnasError, UnknownNameError

Request = TypeVar("Request")


def flag(name: str) -> str:
    """Returns the command line's flag of an option.

    >>> flag("final_epochs")
    '--final-epochs'
    """
    return f"--{name.replace('_', '-')}"


def option_names(request: type[Any]) -> tuple[str, ...]:
    """Returns the names of a request's options, in order."""
    return tuple(field.name for field in fields(request))


def checked(request: type[Request], options: Mapping[str, Any]) -> Request:
    """Returns the request of these options; what is left out has its default.

    Raises UnknownNameError for an option that the request has not, and HwnasError for a value that cannot be, in one line
    that names the flag.
    """
    known = option_names(request)
    for name in options:
        if name not in known:
            raise UnknownNameError(f"option of {request.__name__}", name, list(known))
    try:
        return request(**options)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else known[0]
        said = first["msg"].removeprefix("Input ").removeprefix("Value error, ")
        raise HwnasError(f"{flag(name)} {said[:1].lower()}{said[1:]}, not {options.get(name)!r}") from None


def differences(asked: Mapping[str, Any], stored: Mapping[str, Any]) -> list[str]:
    """Returns the names of options whose asked value differs from the stored one."""
    return [name for name, value in asked.items() if name in stored and stored[name] != value]


def default_of(field: "Field[Any]") -> Any:
    """Returns the default of a dataclass field; None where it has none."""
    if field.default is not MISSING:
        return field.default
    return field.default_factory() if field.default_factory is not MISSING else None
