"""Options that several commands share and no request owns, and what is made of them."""

import os
import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final

import click
from click.core import ParameterSource

from hwnas.core.requests import checked, option_names
from hwnas.core.space import SearchSpace
from hwnas.errors import HwnasError
from hwnas.spaces.request import SpaceRequest

# The files of a run folder that commands read again, of which no command but the run's own may write one.
OWN_FILES: Final = (
    *("run.json", "run.sqlite*", "front.csv", "classes.csv", "table*.jsonl", "predictor*.json", "energy*.json"),
    *("*.safetensors", "*.pt", "searches/*", "final/*"),
)


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
        if path.exists() and not path.is_file() and self._kind == "file":
            raise HwnasError(f"{flag} {value}: is not a regular file; give another {flag}")
        return path


class OutputOption(click.Option):
    """An option for a file that a command makes: neither a file that the same call reads, nor one of a run folder's own."""

    def handle_parse_result(
        self, context: click.Context, opts: Mapping[str, Any], args: list[str]
    ) -> tuple[Any, list[str]]:
        """Parses the option. Raises HwnasError."""
        out, args = super().handle_parse_result(context, opts, args)
        if isinstance(out, Path):
            self._require_free(
                out, [text for name, value in opts.items() if name != self.name for text in _texts(value)]
            )
        return out, args

    def _require_free(self, out: Path, others: list[str]) -> None:
        flag = self.opts[0]
        for text in others:
            # A file may be a part of the text: FILE.py:NAME, npz:FILE, NAME=FILE.
            names = (text, text.partition(":")[2], text.rpartition(":")[0], text.partition("=")[2])
            if any(name and _is_same(Path(name), out) for name in names):
                raise HwnasError(f"{flag} {out}: the same call names that file as {text!r}; give another {flag}")
        real = Path(os.path.realpath(out))
        for run in (real.parent, real.parent.parent):
            inside = real.relative_to(run).as_posix()
            is_own = any(fnmatch(inside, name) for name in OWN_FILES) or (
                inside.startswith("models/") and real.exists()
            )
            if is_own and (run / "run.json").exists():
                raise HwnasError(f"{flag} {out}: is a file of the run in {run}; give another {flag}")


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str | Path):
        yield str(value)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)


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
