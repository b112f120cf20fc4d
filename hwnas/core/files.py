"""Files that are whole or not there."""

import os
from pathlib import Path


def replace_file(path: Path, content: bytes | str) -> None:
    """Writes beside, then replaces: a reader, or a crash, sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        beside.write_bytes(content.encode() if isinstance(content, str) else content)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)  # left over only where writing failed, on a full disk for one
