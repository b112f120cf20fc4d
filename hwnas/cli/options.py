"""Options that several commands share and no request owns, and what is made of them."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from hwnas.core.files import require_regular
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
        if self._kind == "file":
            require_regular(path, flag)
        return path


class OutputOption(click.Option):
    """An option for a file that a command makes: neither a file that the same call reads, nor one of a run folder's own."""

    def handle_parse_result(
        self, context: click.Context, opts: Mapping[str, Any], args: list[str]
    ) -> tuple[Any, list[str]]:
        """Parses the option. Raises HwnasError, except while a shell completes a line."""
        out, args = super().handle_parse_result(context, opts, args)
        if isinstance(out, Path) and not context.resilient_parsing:
            for param in context.command.params:
                if param is not self:
                    self._require_other(out, param, opts.get(param.name or ""))
            self._require_no_own_file(out)
        return out, args

    def _require_other(self, out: Path, param: click.Parameter, value: object) -> None:
        """Raises HwnasError where another output, or a file that another parameter names, is `out`."""
        flag = self.opts[0]
        for text in _texts(value):
            if isinstance(param, OutputOption):
                is_same = _is_same(Path(text), out)
            else:
                # A file may be a part of the text: FILE.py:NAME, npz:FILE, NAME=FILE.
                names = (text, text.partition(":")[2], text.rpartition(":")[0], text.partition("=")[2])
                is_same = any(name and _is_file(Path(name)) and _is_same(Path(name), out) for name in names)
            if is_same:
                raise HwnasError(f"{flag} {out}: the same call names that file as {text!r}; give another {flag}")

    def _require_no_own_file(self, out: Path) -> None:
        from hwnas.runs.own_files import require_no_own_file

        require_no_own_file(out, self.opts[0])


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str | Path):
        yield str(value)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a text that is no path, such as a long JSON object
        return False


def _is_same(path: Path, out: Path) -> bool:
    try:
        return os.path.realpath(path) == os.path.realpath(out) or (path.exists() and os.path.samefile(path, out))
    except (OSError, ValueError):
        return False


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
