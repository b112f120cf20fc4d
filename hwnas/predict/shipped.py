"""Shipped devices: predictors and tables of devices that are not at hand, by the names of device and space.

A folder of devices has `predictors/DEVICE/SPACE.json` and `latency_tables/DEVICE/SPACE.jsonl`. One such folder is part of
hwnas: the package itself once it is installed, the top level of the repository in a checkout (pyproject.toml moves the
files). The environment variable HWNAS_DEVICES names further folders, for a user's own devices. All spaces of a device are
measured under the same conditions (`scripts/ship_device.py` refuses others).
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, final

from platformdirs import user_data_path

from hwnas.errors import PredictorError, TableError
from hwnas.predict.predictor import LatencyPredictor

FOLDERS: Final = "HWNAS_DEVICES"
PREDICTORS: Final = "predictors"
TABLES: Final = "latency_tables"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ShippedDevice:
    """A device by name, the folder that knows it, and the spaces of which that has a predictor."""

    name: str
    folder: Path
    spaces: tuple[str, ...]

    @property
    def tables(self) -> tuple[str, ...]:
        """The spaces of which the folder has a table."""
        return tuple(sorted(path.stem for path in table_path(self.folder, self.name, "").parent.glob("*.jsonl")))

    @property
    def conditions(self) -> Mapping[str, Any]:
        """All that its latencies depend on besides the model. Raises PredictorError where its file is damaged."""
        return LatencyPredictor.load(self.predictor(self.spaces[0])).conditions

    def predictor(self, space: str) -> Path:
        """The predictor's file. Raises PredictorError where there is none of that space."""
        if space not in self.spaces:
            raise PredictorError(f"device {self.name} has no predictor of {space!r}; it has {', '.join(self.spaces)}")
        return predictor_path(self.folder, self.name, space)

    def table(self, space: str) -> Path:
        """The table's file. Raises TableError where there is none of that space."""
        path = table_path(self.folder, self.name, space)
        if not path.is_file():
            raise TableError(f"device {self.name} has no table of {space!r} ({path})")
        return path

    def describe(self) -> dict[str, Any]:
        """For a list of devices; of a damaged one, `detail` is the error, and else empty."""
        detail, conditions = "", dict[str, Any]()
        try:
            conditions.update(self.conditions)
        except PredictorError as error:
            detail = str(error)
        said = {name: conditions.get(name) for name in ("hardware", "runtime", "precision")}
        return {"device": self.name, **said, "spaces": list(self.spaces), "detail": detail}


def file_name(reference: str) -> str:
    """Returns the name of a space's files, without a suffix, from the space's reference.

    >>> file_name("mobilenet"), file_name("own/network.py:build")
    ('mobilenet', 'network-build')
    """
    path, colon, name = reference.rpartition(":")
    return f"{Path(path).stem}-{name}" if colon else reference


def predictor_path(folder: Path, device: str, space: str) -> Path:
    """Returns the path of a device's predictor for a space within a folder."""
    return folder / PREDICTORS / device / f"{space}.json"


def table_path(folder: Path, device: str, space: str) -> Path:
    """Returns the path of a device's latency table for a space within a folder."""
    return folder / TABLES / device / f"{space}.jsonl"


def known_folders(environment: Mapping[str, str] = os.environ) -> tuple[Path, ...]:
    """Returns hwnas's own folder, the folders that HWNAS_DEVICES names, separated as in PATH, and the user's, if there is one."""
    named = [Path(folder) for folder in environment.get(FOLDERS, "").split(os.pathsep) if folder]
    users = [user_folder()] if user_folder().is_dir() else []
    return (own_folder(Path(str(files("hwnas")))), *named, *users)


def user_folder() -> Path:
    """Returns the folder of the devices that this user has added, which need not exist."""
    return user_data_path("hwnas", appauthor=False) / "devices"


def own_folder(package: Path) -> Path:
    """Returns the folder that holds hwnas's own devices: the installed package, or the repository around a checkout.

    An installed package has them inside, whatever stands beside it.
    """
    return package if (package / PREDICTORS).is_dir() else package.parent


def missing_folders(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Those of `known_folders` that are not there, each in a sentence: what they are to know is not found."""
    missing = [folder for folder in known_folders(environment) if not folder.is_dir()]
    return [f"{FOLDERS} names {folder}, which is no folder; correct it, or leave it out" for folder in missing]


def shipped_devices(folders: Sequence[Path] | None = None) -> dict[str, ShippedDevice]:
    """The devices of `known_folders`, or of these, by name; where two folders have one of a name, the first one's."""
    found: dict[str, ShippedDevice] = {}
    for folder in known_folders() if folders is None else folders:
        for path in sorted((folder / PREDICTORS).glob("*")):
            spaces = tuple(sorted(each.stem for each in path.glob("*.json")))
            if spaces:
                found.setdefault(path.name, ShippedDevice(name=path.name, folder=folder, spaces=spaces))
    return found


def predictor_file(written: str | Path, devices: Mapping[str, ShippedDevice]) -> Path:
    """The file as written; or, where there is none and a device is named as in `h200/mobilenet`, that one's predictor."""
    path = Path(written)
    device = devices.get(str(path.parent))
    return path if device is None or path.exists() else device.predictor(path.name)


def table_file(written: str | Path, devices: Mapping[str, ShippedDevice]) -> Path:
    """The file as written; or, where there is none and a device is named as in `h200/mobilenet`, that one's table."""
    path = Path(written)
    device = devices.get(str(path.parent))
    return path if device is None or path.exists() else device.table(path.name)
