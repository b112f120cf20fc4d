"""Loads a search space by built-in name or from a user's file, and again from the description in a file."""

import hashlib
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from hwnas.core.choice import Argument
from hwnas.core.operations import replayed
from hwnas.core.space import SearchSpace
from hwnas.errors import HwnasError, SpaceError, UnknownNameError

SPACES: Final[Mapping[str, str]] = {
    "mobilenet": "hwnas.spaces.mobilenet:mobilenet",
    "fbnet": "hwnas.spaces.fbnet:fbnet",
    "proxyless": "hwnas.spaces.proxyless:proxyless",
    "ofa": "hwnas.spaces.ofa:ofa",
    "nasbench201": "hwnas.spaces.nasbench201:nasbench201",
    "conv_macro": "hwnas.spaces.conv_macro:conv_macro",
    "vit": "hwnas.spaces.vit:vit",
    "gpt": "hwnas.spaces.gpt:gpt",
}


def load_space(reference: str, options: Mapping[str, Argument] | None = None) -> SearchSpace:
    """Returns the space of a built-in name or `FILE.py:FUNCTION`, made with keyword options.

    Raises UnknownNameError for a reference that is neither, SpaceError for a file or an option that does not work.
    """
    options = dict(options or {})
    build = _builder(reference)
    if not callable(build):
        raise SpaceError(f"{reference} is a {type(build).__name__}, not a function that returns a SearchSpace")
    accepted = inspect.signature(build).parameters
    unknown = sorted(set(options) - set(accepted))
    if unknown:
        raise SpaceError(f"space {reference!r} has no option {unknown[0]!r}; it has {', '.join(accepted) or 'none'}")
    try:
        space = build(**options)
        if not isinstance(space, SearchSpace):
            raise SpaceError(f"{reference} returned {type(space).__name__}, not a SearchSpace")
        space = replace(space, reference=reference, options=options)
        _ = space.fingerprint  # makes every operator, so a wrong scope fails here and not in the middle of a search
    except HwnasError:
        raise
    except (Exception, SystemExit) as error:
        file = Path(reference.rpartition(":")[0])
        raise SpaceError(f"{reference} with {options or 'no options'}: {_located(error, file)}") from error
    return space


def reload_space(description: Mapping[str, Any]) -> SearchSpace:
    """Returns the space that a file was made with, from `SearchSpace.describe()`.

    Raises SpaceError where the space has changed since.
    """
    if not description["reference"]:
        raise SpaceError(
            "this file's space was made in Python, not by name; define the space in FILE.py and use FILE.py:FUNCTION"
        )
    made = load_space(description["reference"], description["options"])
    space = replayed(made, description.get("operations", ()))
    if space.fingerprint != description["fingerprint"]:
        raise SpaceError(
            f"space {space.reference} has changed since this file was made (fingerprint {space.fingerprint}, "
            f"then {description['fingerprint']}); restore the space, or start again under another name"
        )
    return space


def _builder(reference: str) -> Callable[..., object]:
    if reference in SPACES:
        module, _, function = SPACES[reference].partition(":")
        return getattr(importlib.import_module(module), function)  # type: ignore[no-any-return]
    path, colon, function = reference.rpartition(":")
    if not colon or not path.endswith(".py"):
        raise UnknownNameError("space", reference, [*SPACES, "FILE.py:FUNCTION"])
    return _function_of_file(Path(path), function)


def _function_of_file(path: Path, function: str) -> Callable[..., object]:
    if not path.is_file():
        raise SpaceError(f"{path}: no such file; write a space of your own as FILE.py:FUNCTION")
    # A unique name in sys.modules, so that the file's operators can name their modules by reference.
    name = f"hwnas_space_{hashlib.blake2s(str(path.resolve()).encode()).hexdigest()[:8]}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except (Exception, SystemExit) as error:
            del sys.modules[name]
            raise SpaceError(f"{path}: cannot be loaded: {_located(error, path)}") from error
    try:
        return getattr(sys.modules[name], function)  # type: ignore[no-any-return]
    except AttributeError:
        raise SpaceError(f"{path} has no function {function!r}") from None


def _located(error: BaseException, file: Path) -> str:
    """Returns the error's type and text, with the last line of `file` in its traceback, if any."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{type(error).__name__}: {error.msg} ({Path(error.filename).name}, line {error.lineno})"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename).resolve() == file.resolve()]
    return f"{type(error).__name__}: {error}" + (f" ({file.name}, line {lines[-1]})" if lines else "")
