"""Messages in the words of the caller: the names of arguments for those who call from Python, flags for the command line.

Messages are written once, with flags; a call from Python has no flags.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from hwnas.core.requests import SINGULAR
from hwnas.errors import HwnasError

_COMMAND: Final = re.compile(r"(`[^`]*`)")  # a command line stays as it is
_SPACE_OPTION: Final = re.compile(r"--space-option (\w+=[^\s;,)]+)")
# A flag, and a value where the next word is one: quoted, a number, or a word before the end of a clause.
_VALUE: Final = r"'[^']*'|[+-]?\d[\w.%]*(?![\w.%]|[,/]\S)|\w+(?=[;,)]|:(?!\S)|$)"
_FLAG: Final = re.compile(rf"(?<![\w-])--([a-z][a-z0-9]*(?:-[a-z0-9]+)*)(?: ({_VALUE}))?")
_NO_VALUES: Final = frozenset({"out", "too", "it", "again", "first", "alone", "here"})
_SWITCHES: Final = frozenset({"resume", "back", "strict", "skip_damaged", "allow_unconverged"})
_PLURAL: Final = {singular: plural for plural, singular in SINGULAR.items()}


@contextmanager
def python_words() -> Iterator[None]:
    """Words the messages of errors inside as `in_python` does."""
    try:
        yield
    except HwnasError as error:
        error.args = (in_python(str(error)), *error.args[1:])
        raise


def in_python(message: str) -> str:
    """Returns a message with arguments in the place of flags; commands in backquotes stay.

    >>> in_python("--epochs must be at least 0, not -1")
    'epochs must be at least 0, not -1'
    >>> in_python("digits has 10 classes, the space 3; give --space-option classes=10, or --train-on cpu")
    "digits has 10 classes, the space 3; give classes=10 as an option of the space, or train_on='cpu'"
    >>> in_python("give --data text:FILE, or --normalise 0.5,0.4/0.2")
    'give data text:FILE, or normalise 0.5,0.4/0.2'
    """
    parts = _COMMAND.split(message)
    return "".join(part if part.startswith("`") else _in_python(part) for part in parts)


def _in_python(text: str) -> str:
    return _FLAG.sub(_argument, _SPACE_OPTION.sub(r"\1 as an option of the space", text))


def _argument(match: re.Match[str]) -> str:
    name, value = match[1].replace("-", "_"), match[2]
    name = _PLURAL.get(name, name)
    if value is None or value in _NO_VALUES:
        return f"{name}=True{_after(value)}" if name in _SWITCHES else f"{name}{_after(value)}"
    is_plain = value.startswith("'") or re.fullmatch(r"[+-]?\d+(\.\d+)?", value)
    return f"{name}={value if is_plain else repr(value)}"


def _after(word: str | None) -> str:
    return f" {word}" if word else ""
