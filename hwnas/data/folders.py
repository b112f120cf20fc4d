"""A folder of images or recordings: a folder per class, or such folders inside `train/`, `val/`, `test/`, as
`hwnas.data.layout` spells them."""

import os
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import numpy as np

from hwnas.data.image_files import any_below, files_below, is_picture, left_out, listed, named, picture, unread
from hwnas.data.layout import by_split, looks_like_split, split_of
from hwnas.data.sources import ClassCollection, Pictures
from hwnas.errors import DataError


@dataclass(frozen=True, slots=True)
class Files:
    """The files that a folder's examples are: the reference's `kind`, what they hold, which files, and how one is read."""

    kind: str
    things: str
    accepts: Callable[[Path], bool]
    read: Callable[[Path, str], Any]

    def below(self, folder: Path) -> tuple[list[Path], list[Path]]:
        """Returns the examples of a folder and of its subfolders, and the other files there; hidden ones in neither."""
        return files_below(folder, self.accepts, self.kind)

    def are_in(self, folder: Path) -> bool:
        """Returns True where a folder or its subfolders hold an example."""
        return any_below(folder, self.accepts, self.kind)


@final
class Paths:
    """Paths below a folder in little memory, as bytes that worker processes share: `Path` objects take ten times as much."""

    def __init__(self, folder: Path) -> None:
        self._before = str(folder / "_")[:-1]
        self._names, self._ends = bytearray(), array("q", [0])

    def extend(self, paths: Sequence[Path]) -> None:
        """Adds paths of files below the folder."""
        for path in paths:
            self._names += os.fsencode(str(path).removeprefix(self._before))
            self._ends.append(len(self._names))

    def __getitem__(self, row: int) -> Path:
        return Path(self._before + os.fsdecode(bytes(self._names[self._ends[row] : self._ends[row + 1]])))


@dataclass(frozen=True, slots=True)
class FromFiles:
    """Reads the example of a row from its file."""

    paths: Paths
    read: Callable[[Path, str], Any]

    def __call__(self, row: int) -> Any:
        path = self.paths[row]
        return self.read(path, str(path))


IMAGE_FILES: Final = Files("imagefolder", "images", is_picture, picture)


def read_folder(folder: Path, files: Files = IMAGE_FILES) -> ClassCollection:
    """Reads a folder with a folder per class, or with such folders in folders of splits.

    Subfolders of a class belong to it. Raises DataError where a folder could be a split or a class.
    """
    inside = _folders(folder, files)
    splits = _splits(folder, inside, files) or {"train": folder}
    classes = tuple(path.name for path in _folders(splits["train"], files))
    notes = _joined(folder, inside, files) if splits["train"] == folder else []
    parts = dict[str, Pictures]()
    for split, path in splits.items():
        parts[split], others = _pictures(path, classes, files)
        outside = listed(path, files.accepts, files.kind)
        notes += [*left_out(path, others), *unread(path, outside, "outside the folders of classes")]
    if splits["train"] != folder:
        rest = [str(path.relative_to(folder)) for path in inside if path not in splits.values()]
        notes += unread(folder, rest, "without folders of classes")
    return ClassCollection(parts=parts, things=files.things, classes=classes, notes=tuple(notes), on_disk=True)


def _folders(folder: Path, files: Files) -> list[Path]:
    return listed(folder, Path.is_dir, files.kind)


def _splits(folder: Path, inside: Sequence[Path], files: Files) -> Mapping[str, Path]:
    """Returns the folders of splits by split; none where all folders are classes."""
    names = by_split(str(folder), [path.name for path in inside])
    splits = {split: folder / name for split, name in names.items() if _holds_classes(folder / name, files)}
    others = [path.name for path in inside if split_of(path.name) is None and files.are_in(path)]
    if splits and others:
        raise DataError(
            f"{folder}: {named([path.name for path in splits.values()])} with folders inside could be splits or classes, beside "
            f"{named(others)}; rename them if they are classes, else move {named(others)} elsewhere"
        )
    if names and not others and "train" not in splits:
        first = names.get("train", next(iter(names.values())))
        raise DataError(
            f"{folder}: has {named(list(names.values()))}, but no train with a folder of {files.things} per class; store "
            f"{first}/CLASS/FILE, or a folder per class that is not named as a split"
            if "train" in names
            else f"{folder}: has {named(list(names.values()))} but no train; name the training folder train"
        )
    return splits


def _holds_classes(folder: Path, files: Files) -> bool:
    return any(files.are_in(path) for path in _folders(folder, files))


def _pictures(folder: Path, classes: Sequence[str], files: Files) -> tuple[Pictures, list[Path]]:
    """Returns the examples of a folder of classes, and the files there that are left out."""
    paths, labels, others = Paths(folder), array("q"), list[Path]()
    for class_folder in _folders(folder, files):
        if class_folder.name not in classes:
            raise DataError(f"{folder}: class {class_folder.name!r} is not in the training data; leave it out")
        _refuse_splits_of_a_class(class_folder, files)
        kept, rest = files.below(class_folder)
        others += rest
        paths.extend(kept)
        labels.extend([classes.index(class_folder.name)] * len(kept))
    return Pictures(str(folder), np.array(labels, dtype=np.int64), FromFiles(paths, files.read)), others


def _refuse_splits_of_a_class(folder: Path, files: Files) -> None:
    """Raises DataError where a class holds folders of splits, which would be joined."""
    for path in _folders(folder, files):
        if split_of(path.name) is not None and files.are_in(path):
            raise DataError(
                f"{path}: is a split inside the class {folder.name!r}; store {path.name}/{folder.name}/ instead"
            )


def _joined(folder: Path, inside: Sequence[Path], files: Files) -> list[str]:
    """Returns the note on classes that all hold the same folders, such as views. Raises DataError where half of the classes
    or more are named like splits."""
    below = _same_folders(inside, files)
    if not below:
        return []
    text = f"{folder}: {named([path.name for path in inside])} all hold the folders {named(below)}"
    if 2 * sum(looks_like_split(path.name) for path in inside) < len(inside):
        return [f"{text}; the {files.things} of these are joined"]
    raise DataError(
        f"{text}; if they are splits, name them train, val or test; if they are classes, store their {files.things} without "
        f"subfolders"
    )


def _same_folders(inside: Sequence[Path], files: Files) -> list[str]:
    """Returns the two folders of examples or more that all of these hold, without examples of their own; none where they
    differ."""
    below = list[str]()
    for path in inside:
        names = [part.name for part in _folders(path, files) if files.are_in(part)]
        if len(names) < 2 or names != (below or names) or listed(path, files.accepts, files.kind):
            return []
        below = names
    return below if len(inside) > 1 else []
