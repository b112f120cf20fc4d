"""The files of a run folder that commands read again: no command but the run's own replaces one."""

import os
from fnmatch import fnmatchcase
from pathlib import Path, PurePath
from typing import Final

from hwnas.errors import RunError
from hwnas.runs.folder import RunFolder
from hwnas.runs.front import read_front

# A pattern has as many parts as the path inside the run folder.
_RESUMED: Final = ("predictor*.json", "energy*.json", "table*.jsonl", "warm_start.json")
_OWN: Final = (
    *("run.json", "run.sqlite*", "front.csv", "classes.csv", "*.safetensors", "*.pt", "searches/*", "final/*"),
    "measured*.jsonl",
    *_RESUMED,
)


def require_no_own_file(path: Path, flag: str = "") -> None:
    """Raises RunError where an existing file of a run, or a model of its front, is at `path`, which `flag` names."""
    real = Path(os.path.realpath(path))
    if not real.exists():
        return
    for folder in (real.parent, real.parent.parent):
        inside = real.relative_to(folder)
        if (folder / "run.json").exists() and (_is_any(inside, _OWN) or _is_model(RunFolder(folder), inside)):
            reason = ", and a resumed search reads it" if _is_any(inside, _RESUMED) else ""
            raise RunError(
                f"{flag} {path}: is a file of the run in {folder}{reason}; give another {flag or '--out'}".lstrip()
            )


def _is_any(inside: PurePath, patterns: tuple[str, ...]) -> bool:
    splits = (pattern.split("/") for pattern in patterns)
    return any(len(parts) == len(inside.parts) and all(map(fnmatchcase, inside.parts, parts)) for parts in splits)


def _is_model(run: RunFolder, inside: PurePath) -> bool:
    """Returns True for a model of the front; for every model while there is no front that can be read."""
    if not _is_any(inside, ("models/*",)):
        return False
    try:
        rows = read_front(run.front)
    except RunError:
        return True
    return any(inside == PurePath(name) for row in rows for name in (row.onnx, *row.further_onnx.values()))
