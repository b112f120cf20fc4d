"""The form of a law: a function of a subject that returns where the law holds, and raises ConformanceError where it does not."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from hwnas.core.references import cause
from hwnas.errors import ConformanceError, Terminated

Subject = TypeVar("Subject")
# Laws by their words, which are the names of tests and of lines of a verdict.
Laws = Mapping[str, Callable[[Subject], None]]


class NotApplicableError(Exception):
    """A law that says nothing about a subject. The message is the reason."""


def require(holds: Any, message: str) -> None:
    """Raises ConformanceError with the message where the condition does not hold."""
    if not holds:
        raise ConformanceError(message)


@contextmanager
def naming(place: str, file: str = "") -> Iterator[None]:
    """Turns any error of a user's code into a ConformanceError that begins with a place; ConformanceErrors pass unchanged."""
    try:
        yield
    except (ConformanceError, Terminated):
        raise
    except (Exception, SystemExit) as error:
        raise ConformanceError(f"{place}: {cause(error, file)}") from error
