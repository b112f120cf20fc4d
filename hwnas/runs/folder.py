"""A run folder: its files, its configuration, and the lock that keeps two processes apart."""

import itertools
import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, final
from urllib.parse import quote

from filelock import FileLock, Timeout

from hwnas.core.files import is_inside, json_of, links_out, replace_file
from hwnas.errors import RunError

SCHEMA: Final = 2
# The cost that the files of a device are named after; other costs have files of their own.
_LATENCY: Final = "latency"
_LOCK: Final = ".lock"
# The folder of a run that is given no other.
USUAL_PATH: Final = Path("runs/search")
PROVENANCE: Final = ("hwnas", "torch", "onnx", "onnxruntime", "pymoo", "numpy", "scipy")


@final
@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths inside a run folder, and `run.json`."""

    path: Path

    @property
    def json(self) -> Path:
        return self.path / "run.json"

    @property
    def database(self) -> Path:
        return self.path / "run.sqlite"

    @property
    def table(self) -> Path:
        """The measurements of the device that the run began with."""
        return self.path / "table.jsonl"

    def table_of(self, device: str) -> Path:
        """Returns the file of a device's measurements, with its energies, too."""
        return self.path / f"table{self._of_device(device)}.jsonl"

    @property
    def predictor(self) -> Path:
        """The predictor of the latency on the device that the run began with."""
        return self.path / "predictor.json"

    def predictor_of(self, kind: str, device: str) -> Path:
        """Returns the file of the predictor of a cost on a device; `kind` is the cost's name without the device."""
        stem = "predictor" if kind == _LATENCY else kind
        return self.path / f"{stem}{self._of_device(device)}.json"

    def _of_device(self, device: str) -> str:
        """Returns the part of a file's name that is for a device; empty for the one that the run began with.

        That device stays the same where a run goes on with others, so that what was measured keeps its name.
        """
        facts = self.read()
        names = [known["name"] for known in facts.get("devices", ())]
        first = facts.get("first_device", names[0] if names else device)
        return "" if device == first else f"-{quote(device, safe='')}"  # no device's name leaves the folder

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint.pt"

    @property
    def supernet(self) -> Path:
        return self.path / "supernet.safetensors"

    @property
    def teacher(self) -> Path:
        """The checkpoint of the largest network, where it was trained alone to teach the others."""
        return self.path / "teacher"

    @property
    def warm_start(self) -> Path:
        """The networks that the search begins with, copied from another run or a file."""
        return self.path / "warm_start.json"

    @property
    def searches(self) -> Path:
        """The records of gradient searches so far."""
        return self.path / "searches"

    def weights(self, arch_id: str) -> Path:
        """Returns the file of the weights that a strategy has trained for a network (`Workshop.weights`)."""
        return self.searches / f"{arch_id}.safetensors"

    @property
    def final(self) -> Path:
        """The weights of networks after final training."""
        return self.path / "final"

    def final_weights(self, arch_id: str) -> Path:
        """Returns the file of the weights of a network after final training."""
        return self.final / f"{arch_id}.safetensors"

    def final_checkpoint(self, arch_id: str) -> Path:
        """Returns the checkpoint of a network in final training."""
        return self.final / f"{arch_id}.pt"

    @property
    def front(self) -> Path:
        return self.path / "front.csv"

    @property
    def classes(self) -> Path:
        """The table of what becomes of each class, where the task has classes."""
        return self.path / "classes.csv"

    @property
    def importance(self) -> Path:
        """The table of what every option is worth."""
        return self.path / "importance.csv"

    @property
    def measured_front(self) -> Path:
        """The front as other machines measured it (`hwnas verify --measured`)."""
        return self.path / "front-measured.csv"

    def measured_of(self, device: str) -> Path:
        """Returns the copy of the table by which another machine measured the front for a device."""
        return self.path / f"measured{self._of_device(device)}.jsonl"

    @property
    def hypervolume(self) -> Path:
        """The picture of the hypervolume over evaluations."""
        return self.path / "hypervolume.png"

    @property
    def hypervolume_table(self) -> Path:
        """The table of the hypervolume over evaluations."""
        return self.path / "hypervolume.csv"

    @property
    def report(self) -> Path:
        """The page of the run."""
        return self.path / "report.html"

    def model(self, arch_id: str) -> Path:
        return self.inside(f"models/{arch_id}.onnx")

    def inside(self, name: str) -> Path:
        """Returns the path of a file of the run that one of its files names. Raises RunError where it is outside the folder."""
        if not is_inside(self.path, name):
            raise RunError(
                f"{self.path}: its files name {name!r}, which is outside the run folder; `hwnas search --resume --out "
                f"{self.path}` writes them again"
            )
        return self.path / name

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Locks the folder while it is written. Raises RunError if another process works in it."""
        lock = FileLock(self.path / _LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise RunError(f"{self.path}: another process is working in it; wait, or give another --out") from None
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Adds the wall time of its block, and the peak memory of the process so far, to run.json."""
        began = time.monotonic()
        try:
            yield
        finally:
            facts = self.read()
            before = facts.setdefault("stages", {}).get(name, {"seconds": 0.0})
            seconds = round(before["seconds"] + time.monotonic() - began, 2)
            facts["stages"][name] = {"seconds": seconds, "peak_mib": _peak_mib()}
            self.write(facts)

    def write(self, facts: Mapping[str, Any]) -> None:
        replace_file(self.json, json.dumps(facts, indent=2) + "\n")

    def read(self, *needed: str) -> dict[str, Any]:
        """Returns the content of run.json.

        Raises RunError where the file is missing, damaged, of another version of hwnas, or lacks a key that is needed, and
        where a symbolic link leads out of the folder, to files of others that would be read or written as the run's.
        """
        link = links_out(self.path)
        if link is not None:
            raise RunError(
                f"{link}: is a link out of the run folder, to {os.path.realpath(link)}; put a copy in its place"
            )
        try:
            facts = json_of(self.json.read_bytes())
        except OSError:
            raise RunError(
                f"{self.path}: no run there (no run.json); `hwnas search --out {self.path}` makes one"
            ) from None
        except ValueError:
            raise RunError(f"{self.json}: damaged; start again under another --out") from None
        if not isinstance(facts, dict) or facts.get("schema") != SCHEMA:
            raise RunError(f"{self.json}: {_refusal(facts)}; start again under another --out")
        for name in ("request", "space", *needed):
            if name not in facts:
                raise RunError(f"{self.json}: damaged (no {name}); start again under another --out")
        return facts


def create_run(
    path: Path,
    request: Mapping[str, Any],
    space: Mapping[str, Any],
    data: Mapping[str, Any] | None = None,
    **facts: Any,
) -> RunFolder:
    """Makes a run folder; run.json has `facts`, too. Raises RunError if there is something at `path` already."""
    run = RunFolder(path)
    require_free(path)
    path.mkdir(parents=True, exist_ok=True)
    run.write(
        {
            "schema": SCHEMA,
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "request": dict(request),
            "space": dict(space),
            "data": dict(data or {}),
            "versions": {"python": platform.python_version(), **{name: _version(name) for name in PROVENANCE}},
            **facts,
        }
    )
    return run


def require_free(path: Path) -> None:
    """Raises RunError if there is something at `path` already."""
    if RunFolder(path).json.exists():
        raise RunError(f"{path} holds a run already; go on with it by --resume, or give another --out")
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise RunError(f"{path} exists and is not empty; give another --out")


@contextmanager
def folder_for(out: Path | None, resume: bool, usual: Path = USUAL_PATH) -> Iterator[Path]:
    """Gives the folder of a search: `out`, with `resume` by default the last run, and without by default a new folder.

    A new folder is the usual one, or the first of `NAME-2`, `NAME-3`, ... where nothing is yet. It is made at once, so that no
    other process takes it, and removed again where it is left empty.
    """
    if out is not None or resume:
        yield out or last_path(usual)
        return
    had_parent = usual.parent.exists()
    path = next(path for path in _numbered(usual) if not data_beside(path).exists() and _is_made(path))
    try:
        yield path
    finally:
        with suppress(OSError):  # not empty
            path.rmdir()
            if not had_parent:
                path.parent.rmdir()


def _is_made(path: Path) -> bool:
    """Makes a folder. Returns False where something is there."""
    try:
        path.mkdir(parents=True)
    except FileExistsError:
        return False
    return True


def last_path(usual: Path = USUAL_PATH) -> Path:
    """Returns the run that was started last among those that `folder_for` names, or the usual path where there is none."""
    paths = [usual, *usual.parent.glob(f"{usual.name}-[0-9]*")]
    runs = [run for run in map(RunFolder, paths) if run.json.exists()]
    return max(runs, key=lambda run: str(run.read().get("started", ""))).path if runs else usual


def data_beside(path: Path) -> Path:
    """Returns the file that holds the data of a run at `path` that was given data in memory."""
    return path.resolve().with_name(f"{path.name}.npz")


def _numbered(usual: Path) -> Iterator[Path]:
    yield usual
    yield from (usual.with_name(f"{usual.name}-{number}") for number in itertools.count(2))


def discard_new(run: RunFolder, is_new: bool) -> None:
    """Deletes what a run has left behind that was refused before anything was measured; the folder, too, where it is new.

    Nothing is deleted where another process works in the folder.
    """
    try:
        with run.locked():
            for child in run.path.iterdir():
                if child.is_dir():
                    shutil.rmtree(child, ignore_errors=True)
                else:
                    child.unlink(missing_ok=True)
    except RunError:
        return
    if is_new:
        shutil.rmtree(run.path, ignore_errors=True)


def copy_run(source: RunFolder, path: Path) -> RunFolder:
    """Copies a run that no process works in; `copy_of` in the copy's run.json names it. The copy is a run when it is whole.

    Raises RunError if there is something at `path` already, or in the run itself, or `source` is no run.
    """
    facts, path = source.read(), path.resolve()
    require_free(path)
    if path.is_relative_to(source.path.resolve()):
        raise RunError(f"{path} is in the run that is to be copied; give another --out")
    path.parent.mkdir(parents=True, exist_ok=True)
    is_writable = os.access(source.path, os.W_OK)  # a run of others may be for reading alone
    with TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        unfinished = RunFolder(Path(folder) / path.name)
        with source.locked() if is_writable else nullcontext():
            shutil.copytree(source.path, unfinished.path, ignore=shutil.ignore_patterns(_LOCK))
        unfinished.write(facts | {"copy_of": str(source.path.resolve())})
        if not path.exists():
            unfinished.path.replace(path)
        else:  # an empty folder, which a process may be in
            for child in sorted(unfinished.path.iterdir(), key=lambda child: child.name == unfinished.json.name):
                child.replace(path / child.name)
    return RunFolder(path)


def _refusal(facts: object) -> str:
    """Returns why facts are not those of a run that this version reads."""
    if not isinstance(facts, dict) or not isinstance(facts.get("schema"), int):
        return "not a run of this version of hwnas"
    versions = facts.get("versions")
    made_by = versions.get("hwnas", "") if isinstance(versions, dict) else ""
    return f"a run of hwnas {made_by or 'of another version'} (schema {facts['schema']}), not of this version (schema {SCHEMA})"


def _peak_mib() -> float | None:
    """Returns the most memory that this process has had, where the system tells."""
    if sys.platform == "win32":
        return None
    import resource

    unit = 2**20 if sys.platform == "darwin" else 2**10
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed as a package"
