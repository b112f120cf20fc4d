"""The one look-up of references: a known name, or `FILE.py:NAME` of a user's file."""

import hashlib
import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hwnas.errors import HwnasError, UnknownNameError


def resolve(kind: str, reference: str, known: Mapping[str, Any], error: type[HwnasError]) -> Any:
    """Returns the known value of a name, or the object NAME of FILE.py.

    Raises UnknownNameError for a reference that is neither, and `error` for a file that cannot be loaded.
    """
    if reference in known:
        return known[reference]
    file, colon, name = reference.rpartition(":")
    if not colon or not file.endswith(".py"):
        raise UnknownNameError(kind, reference, [*known, "FILE.py:NAME"])
    path = Path(file)
    if not path.is_file():
        raise error(f"{path}: no such file; give FILE.py:NAME")
    module_name = f"hwnas_file_{hashlib.blake2s(str(path.resolve()).encode()).hexdigest()[:8]}"
    if module_name not in sys.modules:
        spec = importlib.util.spec_from_file_location(module_name, path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[module_name] = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(sys.modules[module_name])
        except (Exception, SystemExit) as problem:
            del sys.modules[module_name]
            raise error(f"{path}: cannot be loaded: {type(problem).__name__}: {problem}") from problem
    try:
        return getattr(sys.modules[module_name], name)
    except AttributeError:
        raise error(f"{path} has no {name!r}; define it, or check what follows the colon") from None
