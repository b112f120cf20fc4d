"""Options that several commands share and no request owns, and what is made of them."""

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

SEED = click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
PATH = click.Path(path_type=Path)
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
