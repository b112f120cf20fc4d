"""A folder of images: a folder per class, or such folders inside `train/`, `val/`, `test/`, as `hwnas.data.layout` spells
them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from hwnas.data.image_files import holds_pictures, is_picture, left_out, listed, named, picture, pictures_below, unread
from hwnas.data.layout import by_split, looks_like_split, split_of
from hwnas.data.sources import ClassCollection, Pictures
from hwnas.errors import DataError

KIND: Final = "imagefolder"


def read_image_folder(folder: Path) -> ClassCollection:
    """Reads a folder with a folder per class, or with such folders in folders of splits.

    Subfolders of a class belong to it. Raises DataError where a folder could be a split or a class.
    """
    inside = _folders(folder)
    splits = _splits(folder, inside) or {"train": folder}
    classes = tuple(path.name for path in _folders(splits["train"]))
    notes = _joined(folder, inside) if splits["train"] == folder else []
    parts = {split: _pictures(path, classes) for split, path in splits.items()}
    notes += [note for path in splits.values() for note in _unread(path)]
    if splits["train"] != folder:
        rest = [str(path.relative_to(folder)) for path in inside if path not in splits.values()]
        notes += unread(folder, rest, "without folders of classes")
    return ClassCollection(parts=parts, classes=classes, notes=tuple(notes))


def _folders(folder: Path) -> list[Path]:
    return listed(folder, Path.is_dir, KIND)


def _splits(folder: Path, inside: Sequence[Path]) -> Mapping[str, Path]:
    """Returns the folders of splits by split; none where all folders are classes."""
    names = by_split(str(folder), [path.name for path in inside])
    splits = {split: folder / name for split, name in names.items() if _holds_classes(folder / name)}
    others = [path.name for path in inside if split_of(path.name) is None and holds_pictures(path, KIND)]
    if splits and others:
        raise DataError(
            f"{folder}: {named([path.name for path in splits.values()])} with folders inside could be splits or classes, beside "
            f"{named(others)}; rename them if they are classes, else move {named(others)} elsewhere"
        )
    if names and not others and "train" not in splits:
        first = names.get("train", next(iter(names.values())))
        raise DataError(
            f"{folder}: has {named(list(names.values()))}, but no train with a folder of images per class; store "
            f"{first}/CLASS/IMAGE, or a folder per class that is not named as a split"
            if "train" in names
            else f"{folder}: has {named(list(names.values()))} but no train; name the training folder train"
        )
    return splits


def _holds_classes(folder: Path) -> bool:
    return any(holds_pictures(path, KIND) for path in _folders(folder))


def _pictures(folder: Path, classes: Sequence[str]) -> Pictures:
    paths, labels = list[Path](), list[int]()
    for class_folder in _folders(folder):
        if class_folder.name not in classes:
            raise DataError(f"{folder}: class {class_folder.name!r} is not in the training data; leave it out")
        _refuse_splits_of_a_class(class_folder)
        files, _ = pictures_below(class_folder, KIND)
        paths += files
        labels += [classes.index(class_folder.name)] * len(files)
    return Pictures(str(folder), np.array(labels, dtype=np.int64), lambda row: picture(paths[row], str(paths[row])))


def _refuse_splits_of_a_class(folder: Path) -> None:
    """Raises DataError where a class holds folders of splits, which would be joined."""
    for path in _folders(folder):
        if split_of(path.name) is not None and holds_pictures(path, KIND):
            raise DataError(
                f"{path}: is a split inside the class {folder.name!r}; store {path.name}/{folder.name}/ instead"
            )


def _joined(folder: Path, inside: Sequence[Path]) -> list[str]:
    """Returns the note on classes that all hold the same folders, such as views. Raises DataError where half of the classes
    or more are named like splits."""
    below = _same_folders(inside)
    if not below:
        return []
    text = f"{folder}: {named([path.name for path in inside])} all hold the folders {named(below)}"
    if 2 * sum(looks_like_split(path.name) for path in inside) < len(inside):
        return [f"{text}; the images of these are joined"]
    raise DataError(
        f"{text}; if they are splits, name them train, val or test; if they are classes, store their images without subfolders"
    )


def _same_folders(inside: Sequence[Path]) -> list[str]:
    """Returns the two folders of images or more that all of these hold, without images of their own; none where they differ."""
    below = list[str]()
    for path in inside:
        names = [part.name for part in _folders(path) if holds_pictures(part, KIND)]
        if len(names) < 2 or names != (below or names) or listed(path, is_picture, KIND):
            return []
        below = names
    return below if len(inside) > 1 else []


def _unread(folder: Path) -> list[str]:
    """Returns the notes on files in a folder of classes that are left out."""
    others = [path for class_folder in _folders(folder) for path in pictures_below(class_folder, KIND)[1]]
    outside = listed(folder, is_picture, KIND)
    return [*left_out(folder, others), *unread(folder, outside, "outside the folders of classes")]
