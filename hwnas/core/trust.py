"""The trust list: the Python files that this user has run by naming them, or has allowed, by the SHA-256 of their content.

The list is a file of JSON lines in the user's data folder, or wherever the environment variable HWNAS_TRUST says.
"""

import ast
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from importlib.machinery import all_suffixes
from pathlib import Path
from typing import Final

from hwnas.errors import HwnasError

VARIABLE: Final = "HWNAS_TRUST"
SUFFIXES: Final = tuple(all_suffixes())


def trust_list(environment: Mapping[str, str] = os.environ) -> Path:
    """Returns the path of the trust list, which need not exist."""
    if environment.get(VARIABLE):
        return Path(environment[VARIABLE])
    from platformdirs import user_data_path  # boards have no such package, and run no files of users

    return user_data_path("hwnas", appauthor=False) / "trusted.jsonl"


def trusted() -> dict[str, str]:
    """Returns the path that each trusted content was last seen at, by its SHA-256. Lines that cannot be read are left out."""
    try:
        lines = trust_list().read_bytes().splitlines()
    except OSError:
        return {}
    found: dict[str, str] = {}
    for line in lines:
        try:
            entry = json.loads(line)
            found[str(entry["sha256"])] = str(entry["path"])
        except (ValueError, TypeError, KeyError, RecursionError):
            continue
    return found


def trust(path: Path) -> None:
    """Adds the content of a Python file, and of the modules beside it that it imports, to the list.

    Raises HwnasError where the list cannot be written.
    """
    known, where = trusted(), trust_list()
    entries = [{"sha256": _hash(content), "path": str(file)} for file, content in content_of(path).items()]
    new = [entry for entry in entries if known.get(entry["sha256"]) != entry["path"]]
    if not new:
        return
    try:
        where.parent.mkdir(parents=True, exist_ok=True)
        with where.open("ab") as file:
            file.write(b"".join(json.dumps(entry).encode() + b"\n" for entry in new))
    except OSError as error:
        raise HwnasError(
            f"{where}: the trust list cannot be written ({error.strerror}); name a file that can by the environment variable "
            f"{VARIABLE}"
        ) from None


def forget() -> None:
    """Empties the list."""
    trust_list().unlink(missing_ok=True)


def untrusted(path: Path) -> tuple[Path, bool] | None:
    """Returns the first of a file and the modules beside it that it imports whose content is not on the list, and True where
    the list has other content of it; None where all are on the list."""
    known = trusted()
    for file, content in content_of(path).items():
        if _hash(content) not in known:
            return file, str(file) in known.values()
    return None


def content_of(path: Path) -> dict[Path, bytes]:
    """Returns the content of a Python file and of the modules and packages beside it that its import statements name, and
    theirs in turn, by resolved path; the file itself is first."""
    path = path.resolve()
    found, waiting = dict[Path, bytes](), [path]
    while waiting:
        file = waiting.pop(0)
        if file not in found:
            found[file] = file.read_bytes()
            if file.suffix == ".py":
                waiting += [module for name in _imported(found[file]) for module in _beside(path.parent, name)]
    return found


def _imported(source: bytes) -> list[str]:
    """Returns the first part of every name that import statements name; none of a file that Python cannot read."""
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level]
    return [name.partition(".")[0] for name in names if name.partition(".")[0] != "hwnas"]


def _beside(folder: Path, name: str) -> Iterator[Path]:
    """Yields the files in a folder that `import name` may load, sources and extension modules."""
    for file in sorted([*folder.glob(f"{name}.*"), *(folder / name).rglob("*")]):
        if file.name.endswith(SUFFIXES) and file.suffix != ".pyc" and file.is_file():
            yield file.resolve()


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
