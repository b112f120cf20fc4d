"""Parquet files of encoded images and labels: a file per split, or shards as Hugging Face stores them.

A file's name is its split, perhaps with a number (`train.parquet`, `data/train-00000-of-00002.parquet`), or its folder has it.
"""

import re
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np

from hwnas.data.image_files import listed, named, picture, unread, unreadable
from hwnas.data.layout import by_split, split_of
from hwnas.data.memory import require_memory
from hwnas.data.sources import ClassCollection, Pictures, numbered
from hwnas.errors import DataError

# Names of the two columns, the first that a file has.
IMAGES: Final = ("image", "img")
LABELS: Final = ("label", "fine_label", "labels")
# A split, and perhaps the number of a shard, the number of shards, and Hugging Face's fingerprint.
_STEM: Final = re.compile(r"([A-Za-z]+)(?:-\d+(?:-of-0*(\d+)(?:-[0-9a-f]{16})?)?)?")


def read_parquet(folder: Path) -> ClassCollection:
    """Reads the files of all splits, with a column `image` or `img` (encoded) and `label` or `fine_label`."""
    listed(folder, Path.is_dir, "parquet")
    paths = [path for path in sorted(folder.rglob("*.parquet")) if not _is_hidden(path.relative_to(folder))]
    groups: dict[Path, dict[str, list[Path]]] = {}
    for path in paths:
        root, spelling = _place(path)
        groups.setdefault(root, {}).setdefault(spelling, []).append(path)
    splits = _splits(folder, groups)
    if "train" not in splits:
        names = named([str(path.relative_to(folder)) for path in paths])
        raise DataError(f"{folder}: has no train.parquet{f', only {names}' if names else ''}; rename or add it")
    require_memory(str(folder), "its files", sum(path.stat().st_size for files in splits.values() for path in files))
    parts = {split: _table(files) for split, files in splits.items()}
    used = {path for files in splits.values() for path in files}
    notes = unread(folder, [path for path in paths if path not in used], "of no split, or of another folder")
    return ClassCollection(parts=parts, classes=numbered(parts["train"]), notes=notes)


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _place(path: Path) -> tuple[Path, str]:
    """Returns the folder that a file's splits are in, and the name that may spell its split."""
    matched = _STEM.fullmatch(path.stem)
    name = matched.group(1) if matched else ""
    if split_of(name) is None and split_of(path.parent.name) is not None:
        return path.parent.parent, path.parent.name
    return path.parent, name


def _splits(folder: Path, groups: Mapping[Path, Mapping[str, list[Path]]]) -> dict[str, list[Path]]:
    """Returns the files by split of the one folder that has them, the uppermost."""
    found = {root: by_split(str(root), names) for root, names in groups.items()}
    roots = sorted((root for root, names in found.items() if names), key=lambda root: len(root.parts))
    level = [root for root in roots if len(root.parts) == len(roots[0].parts)]
    if len(level) > 1:
        raise DataError(f"{folder}: has splits in {named([root.name for root in level])}; give parquet:{level[0]}")
    splits = {split: groups[root][name] for root in level for split, name in found[root].items()}
    for split, files in splits.items():
        _require_all_shards(split, files)
    return splits


def _require_all_shards(split: str, files: Sequence[Path]) -> None:
    for path in files:
        matched = _STEM.fullmatch(path.stem)
        shards = matched.group(2) if matched else None
        if shards and int(shards) != len(files):
            raise DataError(f"{path}: is one of {shards} shards, {len(files)} of {split} are there; fetch the others")


def _table(paths: Sequence[Path]) -> Pictures:
    """Returns the pictures of one split, whose rows follow each other through its files."""
    columns = [_columns(path) for path in paths]
    ends = np.cumsum([len(labels) for _, labels in columns])

    def image(row: int) -> Any:
        number = int(np.searchsorted(ends, row, side="right"))
        images, labels = columns[number]
        inside = row - int(ends[number]) + len(labels)
        return picture(BytesIO(images[inside].as_py() or b""), f"{paths[number]}: the image of row {inside}")

    return Pictures(str(paths[0]), np.concatenate([labels for _, labels in columns]), image)


def _columns(path: Path) -> tuple[Any, Any]:
    """Returns the encoded images of a file, and its labels (N,)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            types = {field.name: field.type for field in file.schema_arrow}
            chosen = [next((name for name in names if name in types), None) for names in (IMAGES, LABELS)]
            for name, names in zip(chosen, (IMAGES, LABELS), strict=True):
                if name is None:
                    raise DataError(f"{path}: has no column {names[0]!r}, only {', '.join(types)}; rename or add it")
            table = file.read(columns=chosen)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise unreadable(path, "parquet", error) from error
    images, labels = (table[name] for name in chosen)
    if pa.types.is_struct(images.type) and images.type.get_field_index("bytes") >= 0:
        (images,) = pa.Table.from_arrays([images], ["image"]).flatten().select(["image.bytes"])
    if not (pa.types.is_binary(images.type) or pa.types.is_large_binary(images.type)):
        raise DataError(f"{path}: column {chosen[0]!r} holds {images.type}; store encoded images (PNG, JPEG) as bytes")
    if not pa.types.is_integer(labels.type) or labels.null_count:
        raise DataError(f"{path}: column {chosen[1]!r} holds {labels.type} or gaps; store integers from 0")
    return images, labels.to_numpy().astype(np.int64)
