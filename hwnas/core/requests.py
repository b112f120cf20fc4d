"""Requests: frozen values that their owners define and pydantic checks, made from flat options by name.

A request is a pydantic dataclass whose fields carry their description: the command line's flags are made from them, so that
a default, a bound or a help text is written once.
"""

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from os import PathLike, fspath
from typing import Annotated, Any, Final, TypeVar

from pydantic import BeforeValidator, ValidationError

from hwnas.errors import HwnasError, UnknownNameError

Request = TypeVar("Request")


def path_text(value: Any) -> Any:
    """Returns a path as a text, and any other value as it is."""
    return fspath(value) if isinstance(value, PathLike) else value


def _texts(value: Any) -> Any:
    """Returns one text or path as a tuple, and paths as texts."""
    values = (value,) if isinstance(value, str | PathLike) else value
    return tuple(map(path_text, values))


# Several texts; one text alone will do, and paths, too.
Texts = Annotated[tuple[str, ...], BeforeValidator(_texts)]

# What a value must be, by the type of pydantic's error.
BOUNDS: Final[Mapping[str, str]] = {
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be above {gt}",
    "finite_number": "must be a finite number",
    "missing": "must be given",
}


# Options whose flag is given once per item, and is named in the singular.
SINGULAR: Final[Mapping[str, str]] = {"space_options": "space_option", "runtime_options": "runtime_option"}


def flag(name: str) -> str:
    """Returns the command line's flag of an option.

    >>> flag("final_epochs")
    '--final-epochs'
    """
    return f"--{SINGULAR.get(name, name).replace('_', '-')}"


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
        raise HwnasError(f"{flag(name)} {_bound(first)}, not {options.get(name)!r}") from None


def _bound(error: Any) -> str:
    """Returns what a value must be, in words, from pydantic's description of an error."""
    words = BOUNDS.get(error["type"])
    if words is not None:
        return words.format(**{name: f"{value:g}" for name, value in error.get("ctx", {}).items()})
    message = error["msg"].removeprefix("Input should").removeprefix("Value error,").strip()
    return f"must {message[:1].lower()}{message[1:]}"


def default_of(field: "Field[Any]") -> Any:
    """Returns the default of a dataclass field; None where it has none."""
    if field.default is not MISSING:
        return field.default
    return field.default_factory() if field.default_factory is not MISSING else None
