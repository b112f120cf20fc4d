"""Parquet files of encoded images and labels: a file per split, or shards as Hugging Face stores them.

A file's name is its split, perhaps with a number (`train.parquet`, `data/train-00000-of-00002.parquet`), or its folder has it.
"""

import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryFile, gettempdir
from typing import Any, Final, final
from weakref import finalize

import numpy as np
from PIL import Image

from hwnas.core.arrays import IntArray
from hwnas.data.image_files import (
    files_below,
    is_lost_link,
    is_picture,
    left_out,
    line_of,
    listed,
    named,
    picture,
    unread,
    unreadable,
)
from hwnas.data.images import ImageData, classified
from hwnas.data.layout import by_split, split_of
from hwnas.data.memory import addresses, memory_for, require_memory
from hwnas.data.request import DataRequest
from hwnas.data.sources import ClassCollection, Pictures, numbered
from hwnas.errors import DataError

# Names of the two columns, the first that a file has.
IMAGES: Final = ("image", "img")
LABELS: Final = ("label", "fine_label", "labels")
SUFFIXES: Final = (".parquet", ".parq", ".pq")  # in small or capital letters
# Suffixes of other files that may hold examples: they are named where they are not read. Documents are not.
_ROWS: Final = (".csv", ".tsv", ".jsonl", ".ndjson", ".arrow", ".feather", ".orc", ".avro", ".tfrecord")
_ARRAYS: Final = (".npy", ".npz", ".h5", ".hdf5", ".pkl")
_ARCHIVES: Final = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar")
DATA_SUFFIXES: Final = (*_ROWS, *_ARRAYS, *_ARCHIVES)
BATCH: Final = 64  # rows that are read at once
STEP: Final = 64 * 2**20  # bytes after which the memory is looked at again: that takes 0.3 ms
FEWER: Final = "use fewer rows, smaller images, or a larger machine"
# A split, and perhaps the number of a shard, the number of shards, and Hugging Face's fingerprint, which differs by shard.
_STEM: Final = re.compile(r"([A-Za-z]+)(?:-(\d+)(?:-of-0*(\d+)(?:-[0-9a-f]{16})?)?)?")


def load_parquet(request: DataRequest) -> ImageData:
    """Returns the images of tables, brought to the request's shape (C, H, W). Raises DataError as `load_images` does."""
    request.require_images()
    return classified(request, read_parquet(request.path, request.images.data_memory_gib))


def read_parquet(folder: Path, memory_gib: float | None = None) -> ClassCollection:
    """Reads the files of all splits, with a column `image` or `img` (encoded) and `label` or `fine_label`.

    Encoded images that take more than `memory_gib`, by default half of the memory that is available, go to a temporary file,
    where rows can be read in any order: a parquet file unpacks a group of rows for each.
    """
    listed(folder, Path.is_dir, "parquet")
    paths, others = files_below(folder, lambda path: path.suffix.lower() in SUFFIXES, "parquet")
    groups: dict[Path, dict[str, list[Path]]] = {}
    for path in paths:
        root, spelling = _place(path)
        groups.setdefault(root, {}).setdefault(spelling, []).append(path)
    splits = _splits(folder, groups)
    if "train" not in splits:
        names = named([str(path.relative_to(folder)) for path in paths])
        raise DataError(f"{folder}: has no train.parquet{f', only {names}' if names else ''}; rename or add it")
    needed = sum(_unpacked(path) for files in splits.values() for path in files)
    is_spilled = sys.platform == "linux" and needed > memory_for(memory_gib) and needed < addresses()
    if not is_spilled:
        require_memory(str(folder), "its images", needed, FEWER)
    parts = {split: _table(files, is_spilled=is_spilled) for split, files in splits.items()}
    used = {path for files in splits.values() for path in files}
    notes = unread(folder, [path for path in paths if path not in used], "of no split, or of another folder")
    notes += left_out(folder, [path for path in others if _may_hold_data(path)])
    return ClassCollection(parts=parts, classes=numbered(parts["train"]), notes=tuple(notes), on_disk=True)


def _may_hold_data(path: Path) -> bool:
    """Returns True for files that may hold examples, by their names, and for links that are not followed."""
    name, suffix = path.name.lower(), path.suffix.lower()
    return suffix in DATA_SUFFIXES or "parquet" in name or is_picture(path) or is_lost_link(path)


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
    """Raises DataError where shards are missing, or a split is there twice: whole and in shards, or in two sets of shards."""
    sets: dict[tuple[int, bool, str], list[str]] = {}
    numbers = list[int]()
    for path in files:
        matched = _STEM.fullmatch(path.stem)
        shards = int(matched.group(3) or 0) if matched else 0
        numbers.append(int(matched.group(2) or 0) if matched else 0)
        sets.setdefault((shards, split_of(path.stem) is not None, path.suffix), []).append(path.name)
    if len(sets) > 1:
        first, second, *_ = map(named, sets.values())
        raise DataError(
            f"{files[0].parent}: has {first} beside {second}, both for {split}; remove the one that is not wanted"
        )
    ((shards, _, _), names), *_ = sets.items()
    if shards and not any(_are_once_among(numbers, range(first, first + shards)) for first in (0, 1)):
        wanted = "the number 0" if shards == 1 else f"each number from 0 to {shards - 1}"
        raise DataError(
            f"{files[0].parent}: has {named(names)} for {split}, which should have {wanted} once; remove those of another "
            f"download"
        )
    if len(files) < shards:
        raise DataError(f"{files[0]}: is one of {shards} shards, {len(files)} of {split} are there; fetch the others")


def _are_once_among(numbers: Sequence[int], wanted: range) -> bool:
    return len(set(numbers)) == len(numbers) and set(numbers) <= set(wanted)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Opens a parquet file. Raises DataError for one that is damaged or does not fit into memory."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            yield file
    except MemoryError as error:
        raise DataError(f"{path}: its images do not fit into memory; {FEWER}") from error
    except (pa.ArrowException, OSError, ValueError) as error:
        raise unreadable(path, "parquet", error) from error


def _unpacked(path: Path) -> int:
    """Returns the bytes of a file's images and labels when unpacked, as the file declares them."""
    with _opened(path) as file:
        groups = [file.metadata.row_group(number) for number in range(file.num_row_groups)]
        columns = [group.column(number) for group in groups for number in range(group.num_columns)]
        chosen = _chosen(path, file.schema_arrow.names)
        used = [part for part in columns if part.path_in_schema.partition(".")[0] in chosen]
        return sum(part.total_uncompressed_size for part in used)


def _chosen(path: Path, columns: Sequence[str]) -> list[str]:
    """Returns the names of the columns of images and of labels. Raises DataError where one is missing."""
    chosen = list[str]()
    for names in (IMAGES, LABELS):
        found = [name for name in names if name in columns]
        if not found:
            raise DataError(f"{path}: has no column {names[0]!r}, only {', '.join(columns)}; rename or add it")
        chosen.append(found[0])
    return chosen


def _table(paths: Sequence[Path], *, is_spilled: bool) -> Pictures:
    """Returns the pictures of one split, whose rows follow each other through its files."""
    columns = [_columns(path, is_spilled=is_spilled) for path in paths]
    labels = np.concatenate([labels for _, labels in columns])
    ends = np.cumsum([len(own) for _, own in columns])
    return Pictures(str(paths[0]), labels, FromTables(tuple(paths), [images for images, _ in columns], ends))


@dataclass(frozen=True, slots=True, eq=False)
class FromTables:
    """Decodes the image of a row from the encoded images of each file; `ends` are the numbers of rows up to a file's end."""

    paths: tuple[Path, ...]
    images: Sequence[Any]
    ends: IntArray

    def __call__(self, row: int) -> Image.Image:
        number = int(np.searchsorted(self.ends, row, side="right"))
        images = self.images[number]
        inside = row - int(self.ends[number]) + len(images)
        return picture(BytesIO(images[inside].as_py() or b""), f"{self.paths[number]}: the image of row {inside}")


@contextmanager
def _room() -> Iterator[None]:
    """Raises DataError where the disk is full."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{gettempdir()}: has no room for images that do not fit into memory ({line_of(error)}); set TMPDIR to a folder "
            "with more, on a disk, or give a larger --data-memory-gib"
        ) from error


@final
class Spilled:
    """Encoded images in a temporary file without a name, which the system removes with the process, however that ends."""

    def __init__(self, path: str, file: Any = None) -> None:
        import pyarrow as pa

        self._path = path
        if file is not None:
            finalize(self, file.close)
        with pa.memory_map(path) as mapped:
            self._images = pa.ipc.open_file(mapped).read_all()["image"]

    @classmethod
    def of(cls, batches: Iterator[Any], schema: Any) -> "Spilled":
        """Writes images as they are read, and maps them. Raises DataError where the disk is full."""
        import pyarrow as pa

        file = TemporaryFile(prefix="hwnas-")  # noqa: SIM115  (closed when the images are no longer used)
        with pa.ipc.new_file(pa.PythonFile(file, mode="w"), schema) as writer:
            for batch in batches:
                with _room():
                    writer.write_batch(batch)
            with _room():
                writer.close()
                file.flush()
        return cls(f"/proc/{os.getpid()}/fd/{file.fileno()}", file)

    def __reduce__(self) -> tuple[type, tuple[str]]:
        return Spilled, (self._path,)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, row: int) -> Any:
        return self._images[row]


def _columns(path: Path, *, is_spilled: bool) -> tuple[Any, Any]:
    """Returns the encoded images of a file, and its labels (N,)."""
    import pyarrow as pa

    with _opened(path) as file:
        chosen = _chosen(path, file.schema_arrow.names)
        if is_spilled:
            return _spilled(path, file, chosen)
        batches, unchecked = list[pa.RecordBatch](), 0
        for batch in file.iter_batches(BATCH, columns=chosen):
            # A dictionary makes many images of the bytes of one, which the declared sizes do not tell.
            unchecked += batch.nbytes
            if unchecked >= STEP:
                require_memory(str(path), "its next images", unchecked, FEWER)
                unchecked = 0
            batches.append(batch.select(chosen))  # the file may have them in another order
        table = pa.Table.from_batches(batches, pa.schema([file.schema_arrow.field(name) for name in chosen]))
    labels = table[chosen[1]]
    _require_labels(path, chosen[1], labels.type, labels.null_count)
    return _bytes(path, chosen[0], table[chosen[0]]), labels.to_numpy().astype(np.int64)


def _spilled(path: Path, file: Any, chosen: Sequence[str]) -> tuple[Spilled, IntArray]:
    """Writes the images of a file to a temporary one; returns them, and the labels (N,)."""
    import pyarrow as pa

    labels = list[IntArray]()

    def batches() -> Iterator[Any]:
        for batch in file.iter_batches(BATCH, columns=chosen):
            label = batch[chosen[1]]
            _require_labels(path, chosen[1], label.type, label.null_count)
            labels.append(label.to_numpy(zero_copy_only=False).astype(np.int64))
            images = _bytes(path, chosen[0], pa.chunked_array([batch[chosen[0]]])).combine_chunks()
            yield pa.record_batch([images.cast(pa.large_binary())], ["image"])

    images = Spilled.of(batches(), pa.schema([("image", pa.large_binary())]))
    return images, np.concatenate([np.empty(0, np.int64), *labels])


def _bytes(path: Path, name: str, images: Any) -> Any:
    """Returns a column of encoded images as bytes. Raises DataError for another type."""
    import pyarrow as pa

    if pa.types.is_struct(images.type) and images.type.get_field_index("bytes") >= 0:
        (images,) = pa.Table.from_arrays([images], ["image"]).flatten().select(["image.bytes"])
    if not (pa.types.is_binary(images.type) or pa.types.is_large_binary(images.type)):
        raise DataError(f"{path}: column {name!r} holds {images.type}; store encoded images (PNG, JPEG) as bytes")
    return images


def _require_labels(path: Path, name: str, kind: Any, gaps: int) -> None:
    import pyarrow as pa

    if not pa.types.is_integer(kind) or gaps:
        raise DataError(f"{path}: column {name!r} holds {kind} or gaps; store integers from 0")
