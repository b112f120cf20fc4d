"""Files that are either whole or absent, and names that stay in their folder."""

import os
from pathlib import Path, PureWindowsPath


def replace_file(path: Path, content: bytes | str) -> None:
    """Writes a file beside `path`, then renames it: readers and crashes leave the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        beside.write_bytes(content.encode() if isinstance(content, str) else content)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)  # only there where writing failed, for example on a full disk


def is_inside(folder: Path, name: str) -> bool:
    """Returns True where a name that a file holds stays in `folder` on every system: no absolute path, no `..` and no symbolic
    link leads out of it.

    >>> [is_inside(Path("run"), name) for name in ("models/a.onnx", "../a.onnx", "/a.onnx", "C:/a.onnx", "..\\\\a.onnx")]
    [True, False, False, False, False]
    """
    written = PureWindowsPath(name)  # it separates by both slashes, and knows drives
    if written.anchor or ".." in written.parts or "\0" in name:
        return False
    return (folder / name).resolve().is_relative_to(folder.resolve())


def links_out(folder: Path) -> Path | None:
    """Returns the first symbolic link in a folder that leads out of it; None where there is none."""
    root = folder.resolve()
    for path, folders, files in os.walk(root):
        for name in sorted((*folders, *files)):
            file = Path(path, name)
            if file.is_symlink() and not file.resolve().is_relative_to(root):
                return folder / file.relative_to(root)
    return None
