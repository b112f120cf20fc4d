"""The trust list: the Python files that this user has run by naming them, or has allowed, by the SHA-256 of their closure.

A file's closure is the file itself, and the modules beside it that it imports. Only whole closures are on the list: a module
that one file imports may not run by itself, nor as a part of another's closure.

The list is a file of JSON lines in the user's data folder, or wherever the environment variable HWNAS_TRUST says.
"""

import ast
import hashlib
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from importlib.machinery import ModuleSpec, all_suffixes
from pathlib import Path
from typing import Final

from hwnas.core.files import json_of
from hwnas.errors import HwnasError

VARIABLE: Final = "HWNAS_TRUST"
SUFFIXES: Final = tuple(all_suffixes())
# An attribute of a module, as operators name their torch modules: "package.module:Class".
_NAME: Final = r"[^\W\d]\w*"
_ATTRIBUTE: Final = re.compile(rf"({_NAME})(\.{_NAME})*:{_NAME}")


def trust_list(environment: Mapping[str, str] = os.environ) -> Path:
    """Returns the path of the trust list, which need not exist."""
    if environment.get(VARIABLE):
        return Path(environment[VARIABLE])
    from platformdirs import user_data_path  # boards have no such package, and run no files of users

    return user_data_path("hwnas", appauthor=False) / "trusted.jsonl"


def trusted() -> dict[str, str]:
    """Returns the path that each trusted closure was last seen at, by its digest. Lines that cannot be read are left out."""
    try:
        lines = trust_list().read_bytes().splitlines()
    except OSError:
        return {}
    found: dict[str, str] = {}
    for line in lines:
        try:
            entry = json_of(line)
            found[str(entry["sha256"])] = str(entry["path"])
        except (ValueError, TypeError, KeyError):
            continue
    return found


def trust(path: Path, contents: Mapping[str, str] | None = None) -> None:
    """Adds a Python file, with the modules beside it that it imports, to the list; `contents` are its closure, where known.

    Raises HwnasError where the list cannot be written.
    """
    entry, where = {"sha256": _digest_of(contents or closure(path)), "path": str(path.resolve())}, trust_list()
    if trusted().get(entry["sha256"]) == entry["path"]:
        return
    try:
        where.parent.mkdir(parents=True, exist_ok=True)
        with where.open("ab") as file:
            file.write(json.dumps(entry).encode() + b"\n")
    except OSError as error:
        raise HwnasError(
            f"{where}: the trust list cannot be written ({error.strerror}); name a file that can by the environment variable "
            f"{VARIABLE}"
        ) from None


def forget() -> None:
    """Empties the list."""
    trust_list().unlink(missing_ok=True)


def digest(path: Path) -> str:
    """Returns the SHA-256 of a Python file's closure, over every relative path and content in it."""
    return _digest_of(closure(path))


def _digest_of(contents: Mapping[str, str]) -> str:
    return hash_of(json.dumps(contents, sort_keys=True).encode())


def closure(path: Path) -> dict[str, str]:
    """Returns the SHA-256 of a Python file (its name is ".") and of the modules and packages in its folder that it imports,
    or names as "module:attribute", and theirs in turn, by relative path."""
    path = path.resolve()
    contents, modules, waiting = dict[str, str](), set[str](), [path]
    while waiting:
        file = waiting.pop(0)
        name = "." if file == path else file.relative_to(path.parent).as_posix()
        if name not in contents:
            content = file.read_bytes()
            contents[name] = hash_of(content)
            if file.suffix == ".py":
                new = _imported(content) - modules
                modules |= new
                waiting += [beside for module in sorted(new) for beside in _beside(path.parent, module)]
    return contents


def _imported(source: bytes) -> set[str]:
    """Returns the first part of every module that import statements and constants "module:attribute" name; none of a file that
    Python cannot read."""
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level]
    texts = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    names += [text for text in texts if _ATTRIBUTE.fullmatch(text)]
    return {re.split("[.:]", name)[0] for name in names} - {"hwnas"}


def _beside(folder: Path, name: str) -> Iterator[Path]:
    """Yields the files in a folder that `import name` may load: sources, bytecode without a source, and extension modules."""
    files = list(folder.glob(f"{name}.*"))
    if _is_package(folder / name):
        seen = set[str]()
        for path, folders, names in os.walk(folder / name, followlinks=True):
            if os.path.realpath(path) in seen:
                folders.clear()
                continue
            seen.add(os.path.realpath(path))
            folders.sort()
            files += [Path(path, file) for file in names]
    for file in sorted(files):
        is_cached = file.suffix == ".pyc" and file.parent.name == "__pycache__"
        if file.name.endswith(SUFFIXES) and not is_cached and file.is_file():
            yield file


def _is_package(folder: Path) -> bool:
    """Returns True for a folder that `import` takes: one with an `__init__`, or any where no other module has its name."""
    if any((folder / f"__init__{suffix}").is_file() for suffix in SUFFIXES):
        return True
    spec = found_elsewhere(folder.name) if folder.is_dir() else None
    return folder.is_dir() and (spec is None or spec.origin is None)


def found_elsewhere(name: str) -> ModuleSpec | None:
    """Returns how Python finds a top-level module by itself, modules beside users' files aside; None where it does not."""
    for finder in sys.meta_path:
        if not isinstance(finder, type) and type(finder).__module__.startswith("hwnas."):
            continue
        spec: ModuleSpec | None = finder.find_spec(name, None)
        if spec is not None:
            return spec
    return None


def hash_of(content: bytes) -> str:
    """Returns the SHA-256 of a file's content."""
    return hashlib.sha256(content).hexdigest()
