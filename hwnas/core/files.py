"""Files that are either whole or absent, text in any encoding that programs save, and names that stay in their folder."""

import codecs
import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PureWindowsPath
from typing import Any, Final

from hwnas.errors import HwnasError

# UTF-32's mark begins with that of UTF-16, so UTF-32 stands first.
_ENCODINGS: Final = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def replace_file(path: Path, content: bytes | str) -> None:
    """Writes a file beside `path`, then renames it: readers and crashes leave the old file or the new one, never a part.

    Raises HwnasError where a device, a pipe or a socket is at `path`: the new file would stand in its place.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    require_regular(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with names_file(path):
            beside.write_bytes(content.encode() if isinstance(content, str) else content)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)  # only there where writing failed, for example on a full disk


def require_regular(path: Path, flag: str = "") -> None:
    """Raises HwnasError where a device, a pipe, a socket or a folder is at `path`, which `flag` names."""
    if path.exists() and not path.is_file():
        raise HwnasError(f"{flag} {path}: is not a regular file; give another {flag or 'path'}".lstrip())


def json_of(text: str | bytes) -> Any:
    """Returns the value of a JSON text. Raises ValueError where it is damaged, or nested more deeply than Python can read.

    >>> json_of("[1]")
    [1]
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def is_inside(folder: Path, name: str) -> bool:
    """Returns True where a name that a file holds stays in `folder` on every system: no absolute path, no `..` and no symbolic
    link, nor a circle of links, leads out of it.

    >>> [is_inside(Path("run"), name) for name in ("models/a.onnx", "../a.onnx", "/a.onnx", "C:/a.onnx", "..\\\\a.onnx")]
    [True, False, False, False, False]
    """
    written = PureWindowsPath(name)  # it separates by both slashes, and knows drives
    if written.anchor or ".." in written.parts or "\0" in name:
        return False
    return not _leads_out(folder / name, Path(os.path.realpath(folder)))


def links_out(folder: Path) -> Path | None:
    """Returns the first symbolic link in a folder that leads out of it, or in a circle; None where there is none."""
    root = Path(os.path.realpath(folder))  # `resolve` raises RuntimeError for a circle before Python 3.13
    for path, folders, files in os.walk(root):
        for name in sorted((*folders, *files)):
            file = Path(path, name)
            if file.is_symlink() and _leads_out(file, root):
                return folder / file.relative_to(root)
    return None


def _leads_out(path: Path, root: Path) -> bool:
    try:
        path.stat()
    except OSError as error:
        if error.errno == errno.ELOOP:
            return True
    return not Path(os.path.realpath(path)).is_relative_to(root)


@contextmanager
def names_file(path: Path) -> Iterator[None]:
    """Adds the file to an OSError of its block: that of a write, as on a full disk, has no file name."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def decoded(content: bytes) -> str:
    """Returns the text of UTF-8, or of the encoding of the byte-order mark, without the mark. Raises UnicodeDecodeError.

    >>> [decoded("{}".encode(encoding)) for encoding in ("utf-8", "utf-8-sig", "utf-16")]
    ['{}', '{}', '{}']
    """
    return content.decode(encoding_of(content))


def encoding_of(beginning: bytes) -> str:
    """Returns the encoding of a text by its byte-order mark, which decoding then removes; UTF-8 without one."""
    return next((name for mark, name in _ENCODINGS.items() if beginning.startswith(mark)), "utf-8")
