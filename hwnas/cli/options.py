"""Options that several commands share and no request owns, and what is made of them."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from hwnas.core.requests import checked, option_names
from hwnas.core.space import SearchSpace
from hwnas.errors import HwnasError
from hwnas.spaces.request import SpaceRequest


class OutputPath(click.ParamType[Path]):
    """A path to write to, refused before any work where nothing can be written there. `kind` is `file` or `folder`."""

    name = "path"

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> Path:
        """Returns the path. Raises HwnasError."""
        path, flag = Path(value), param.opts[0] if param else "--out"
        parent = next(parent for parent in (path / "_").resolve().parents if parent.exists())
        if self._kind == "file" and path.is_dir():
            raise HwnasError(f"{flag} {value}: is a folder; give the name of a file in it")
        if not parent.is_dir() and (self._kind == "folder" or parent != path.resolve()):
            raise HwnasError(f"{flag} {value}: {parent} is a file, not a folder; give another {flag}")
        if not os.access(parent, os.W_OK):
            raise HwnasError(f"{flag} {value}: {parent} cannot be written to; give another {flag}")
        return path


SEED = click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
PATH = click.Path(path_type=Path)
OUT_FILE, OUT_FOLDER = OutputPath("file"), OutputPath("folder")
RUN = click.argument("run", type=PATH)


def made_space(options: Mapping[str, Any]) -> SearchSpace:
    """Returns the space that the options of a `SpaceRequest` name, out of parsed options that may hold others."""
    own = {name: options[name] for name in option_names(SpaceRequest) if name in options}
    return checked(SpaceRequest, own).load()


def parsed_share(context: click.Context, option: click.Parameter, written: str | None) -> float | None:
    """Returns `2%` as 0.02. Raises HwnasError for other texts."""
    if written is None:
        return None
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*%\s*", written)
    if match is None or not 0 < float(match[1]) < 100:
        raise HwnasError(f"{option.opts[0]} {written!r} is not a share above 0 %; write 2%")
    return float(match[1]) / 100


def written_options(context: click.Context, options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the options that were written on the command line."""
    return {
        name: value
        for name, value in options.items()
        if context.get_parameter_source(name) == ParameterSource.COMMANDLINE
    }
