"""The control groups of this process, with which containers limit memory and CPU time (Linux, versions 1 and 2)."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

ROOT: Final = Path("/")


def control_groups(controller: str, root: Path = ROOT) -> Iterator[tuple[Path, int]]:
    """Yields the folder and the version of each of the process's groups that may limit `controller`, and of their parents.

    Some of the folders may not exist: a container sees its own group as the root. `root` is where the system's files are.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        mounted, group = root / "sys/fs/cgroup" / controllers, PurePosixPath(path)
        for folder in (group, *group.parents):
            yield mounted / folder.relative_to("/"), 1 if controllers else 2
