"""References to parts: the name of a built-in part, or `FILE.py:NAME` for an attribute of a user's file.

Every registry of hwnas is looked up here, so all parts are named in the same way and fail with the same messages.

A reference that the user gives in this very call is resolved. One that a file holds, which may be of others, is first shown to
`require_trusted`.
"""

import hashlib
import importlib
import importlib.util
import os
import shlex
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, Final

from hwnas.core.trust import closure, digest, found_elsewhere, hash_of, trust, trusted
from hwnas.errors import HwnasError, TrustError, UnknownNameError, is_the_users

IN_A_FILE: Final = "FILE.py:NAME"


def resolve(kind: str, reference: str, known: Mapping[str, Any], error: type[HwnasError]) -> Any:
    """Returns the part that a reference names. `kind` is the word for such a part in messages ("space", "data set").

    A known value that is a text "package.module:attribute" is imported only now. Raises UnknownNameError for a reference
    that is neither a known name nor `FILE.py:NAME`, and `error` for a file that cannot be loaded or lacks the name.
    """
    if reference in known:
        value = known[reference]
        return imported(value) if isinstance(value, str) else value
    path, _, name = reference.rpartition(":")
    if reference.endswith(".py") and Path(reference).is_file():
        raise error(f"{reference}: which of its names? Give {reference}:NAME, a {kind} that the file defines")
    if not is_reference(reference):
        raise UnknownNameError(kind, reference, [*known, IN_A_FILE])
    if not Path(path).is_file():
        raise error(f"{path}: no such file; give a {kind} of your own as {IN_A_FILE}")
    try:
        return getattr(_module_of_file(Path(path), error), name)
    except AttributeError:
        raise error(f"{path} has no {name!r}; {IN_A_FILE} names what the file defines") from None


def require_trusted(reference: str, where: str | Path) -> None:
    """Raises TrustError for `FILE.py:NAME` whose file is not there, or is not on this user's trust list as it is now.

    `where` is the file that holds the reference. A file that runs in this process already may run.
    """
    path = Path(reference.rpartition(":")[0])
    if not is_reference(reference):
        return
    asks = f"{_printable(where)}: names {_printable(path)} to be run"
    if not path.is_file():
        raise TrustError(f"{asks}, which is not there; put the file there, or name it in the call")
    if _module_name(path) in sys.modules:
        return
    known = trusted()
    if digest(path) in known:
        return
    said = ", which is not on your trust list; read it, and allow it"
    if str(path.resolve()) in known.values():
        said = "; it, or a module beside it that it imports, has changed since you last ran or allowed it; read it, and allow it"
    raise TrustError(f"{asks}{said} by `hwnas trust {shlex.quote(_printable(path))}`")


def _printable(path: str | Path) -> str:
    """Returns a path; one with control characters, which would steer the terminal, as Python writes it."""
    return str(path) if str(path).isprintable() else repr(str(path))


def is_reference(text: str) -> bool:
    """Returns True for `FILE.py:NAME`."""
    path, colon, name = text.rpartition(":")
    return bool(colon and name) and path.endswith(".py")


def imported(target: str) -> Any:
    """Returns the attribute that "package.module:attribute" names.

    >>> imported("math:tau") > 6
    True
    """
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


def cause(error: BaseException, file: str | Path) -> str:
    """Returns the kind and message of an error, and the last line of `file` that the error passed through, if any."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{type(error).__name__}: {error.msg} ({Path(error.filename).name}, line {error.lineno})"
    lines = lines_in(error, file)
    message = " ".join(str(error).split())  # messages of torch may have several lines
    return f"{type(error).__name__}: {message}" + (f" ({Path(file).name}, line {lines[-1]})" if lines else "")


def lines_in(error: BaseException, file: str | Path) -> list[int | None]:
    """Returns the lines of a file that an error passed through, the innermost last."""
    path, frames = Path(file).resolve(), traceback.extract_tb(error.__traceback__)
    return [frame.lineno for frame in frames if Path(frame.filename).resolve() == path]


def file_of(module: str) -> str:
    """Returns the file of an imported module; empty where it has none."""
    return getattr(sys.modules.get(module), "__file__", None) or ""


def run_file(reference: str, error: type[HwnasError]) -> None:
    """Runs the file of `FILE.py:NAME`, which the user names in this very call; does nothing for other names."""
    if is_reference(reference):
        path = Path(reference.rpartition(":")[0])
        if path.is_file():
            _module_of_file(path, error)


def _module_name(path: Path) -> str:
    # Each file has a module name of its own, so that its operators can name their torch modules by f"{__name__}:Class".
    return f"hwnas_file_{hashlib.blake2s(os.path.realpath(path).encode()).hexdigest()[:8]}"


class _Beside(MetaPathFinder):
    """Finds the modules beside a file that belong to its closure, each with the content that is trusted, and no others.

    A module of that name that Python finds elsewhere comes first. Sources are compiled, as the file itself is.
    """

    def __init__(self, folder: Path, contents: Mapping[str, str]) -> None:
        self._folder, self._contents = folder, contents
        self._names = {name.partition("/")[0].partition(".")[0] for name in contents} - {""}

    def require_names(self, file: Path, error: type[HwnasError]) -> None:
        """Raises `error` where a module beside another file has the name of one beside this file: Python knows one of a name."""
        for other in sys.meta_path:
            if isinstance(other, _Beside) and other._folder != self._folder:
                for name in sorted(self._names & other._names):
                    raise error(
                        f"{file}: {name}, beside it, has the name of a module in {other._folder}; rename one of the two"
                    )

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Returns the specification of a module. Raises ImportError where its file is not what is trusted."""
        if name.partition(".")[0] not in self._names:
            return None
        elsewhere = found_elsewhere(name) if path is None else None
        if elsewhere is not None and elsewhere.loader is not None:
            return None
        spec = PathFinder.find_spec(name, [str(self._folder)] if path is None else path)
        if spec is None or spec.origin is None or not Path(spec.origin).is_relative_to(self._folder):
            return spec
        relative = Path(spec.origin).relative_to(self._folder).as_posix()
        content = Path(spec.origin).read_bytes()
        if self._contents.get(relative) != hash_of(content):
            why = "has changed since it was" if relative in self._contents else "is not part of what was"
            raise ImportError(f"{spec.origin} {why} allowed to run; start again, and read what it says")
        if isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Compiled(spec.loader.name, str(spec.loader.path), content)
        return spec


class _Compiled(SourceFileLoader):
    """Compiles a module from the source that was checked: the bytecode in __pycache__ is not in the closure."""

    def __init__(self, name: str, path: str, content: bytes) -> None:
        super().__init__(name, path)
        self._content = content

    def get_code(self, fullname: str) -> CodeType:
        return compile(self._content, self.path, "exec", dont_inherit=True)


def _module_of_file(path: Path, error: type[HwnasError]) -> ModuleType:
    """Returns the file as a module, executed once per process, and adds it to the trust list.

    The module is that of the file behind a symbolic link, whose neighbours it may import.
    """
    name, file = _module_name(path), path.resolve()
    if name in sys.modules:
        return sys.modules[name]
    try:
        contents, source = closure(file), file.read_bytes()
    except OSError as failure:
        raise error(f"{path}: cannot be loaded: {cause(failure, path)}") from failure
    with suppress(HwnasError, OSError):  # without a list that can be written, later calls ask
        trust(file, contents)
    beside = _Beside(file.parent, contents)
    beside.require_names(file, error)
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.meta_path.insert(0, beside)
    try:
        # Compiled here: Python's loader would run the bytecode in __pycache__, which is nobody's to read.
        exec(compile(source, str(file), "exec", dont_inherit=True), vars(module))
    except BaseException as failure:
        del sys.modules[name]
        sys.meta_path.remove(beside)
        if is_the_users(failure):
            advice = "; install it, or put it beside the file and import it by a statement"
            advice = advice if isinstance(failure, ModuleNotFoundError) else ""
            raise error(f"{path}: cannot be loaded: {cause(failure, path)}{advice}") from failure
        raise
    return module
