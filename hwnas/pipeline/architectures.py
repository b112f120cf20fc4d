"""Architectures that people write: JSON objects of option by choice name, one per line, or one over several lines."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from hwnas.core.arch import Arch
from hwnas.core.files import decoded, json_of
from hwnas.core.space import SearchSpace
from hwnas.errors import ArchError, HwnasError


def lines_of(path: Path, flag: str) -> list[str]:
    """Returns one line per architecture of a file, also where the file is one object over several lines.

    Raises HwnasError, with the flag that names the file.
    """
    try:
        text = decoded(path.read_bytes())
    except (OSError, UnicodeDecodeError):
        raise HwnasError(f"{flag} {path}: neither a JSON object nor a readable file of them") from None
    try:
        return [json.dumps(json_of(text))]
    except ValueError:
        return text.splitlines()


def architectures(space: SearchSpace, lines: Iterable[str]) -> Iterator[Arch]:
    """Yields the architecture of each line that is not empty. Raises ArchError with the number of the line."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            options = json_of(line)
            if not isinstance(options, dict):
                raise ArchError(f"{line.strip()} is not a JSON object of option by choice name")
            arch = space.arch(options)
        except (ValueError, TypeError, ArchError) as error:
            raise ArchError(f"architecture {number}: {error}") from None
        yield arch
