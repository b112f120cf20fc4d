"""Files that are either whole or absent."""

import os
from pathlib import Path


def replace_file(path: Path, content: bytes | str) -> None:
    """Writes a file beside `path`, then renames it: readers and crashes leave the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        beside.write_bytes(content.encode() if isinstance(content, str) else content)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)  # only there where writing failed, for example on a full disk
