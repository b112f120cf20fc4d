"""Data that can be read, but not as its owner meant: each is refused with what to do, or said in the first lines of a run."""

import io
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from hwnas.data import folders
from hwnas.data.dataset import Dataset, load_data
from hwnas.data.options import ImageOptions
from hwnas.errors import DataError

GREY, RGB = (1, 8, 8), (3, 8, 8)


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def squares(count: int, first: int = 0) -> list[bytes]:
    return [encoded(Image.new("L", (8, 8), number)) for number in range(first, first + count)]


Splits = dict[str, Sequence[bytes]]


def as_folder(folder: Path, splits: Splits, suffix: str = ".png") -> str:
    for split, contents in splits.items():
        for number, content in enumerate(contents):
            path = folder / "pictures" / split / "ab"[number % 2] / f"{number:03}{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return f"imagefolder:{folder / 'pictures'}"


def as_parquet(folder: Path, splits: Splits, suffix: str = ".png") -> str:
    for split, contents in splits.items():
        write_table(folder / f"table/{split}.parquet", contents)
    return f"parquet:{folder / 'table'}"


def as_masks(folder: Path, splits: Splits, suffix: str = ".png") -> str:
    for split, contents in splits.items():
        for kind in ("images", "masks"):
            (folder / "masked" / split / kind).mkdir(parents=True)
        for number, content in enumerate(contents):
            (folder / "masked" / split / f"images/{number:03}{suffix}").write_bytes(content)
            Image.fromarray(np.eye(8, dtype=np.uint8)).save(folder / "masked" / split / f"masks/{number:03}.png")
    return f"masks:{folder / 'masked'}"


def as_npz(folder: Path, splits: Splits, suffix: str = ".png") -> str:
    arrays = {}
    for split, contents in splits.items():
        arrays[f"x_{split}"] = np.stack([np.asarray(Image.open(io.BytesIO(content))) for content in contents])
        arrays[f"y_{split}"] = np.arange(len(contents)) % 2
    np.savez(folder / "a.npz", **arrays)
    return f"npz:{folder / 'a.npz'}"


def write_table(path: Path, contents: Sequence[object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"image": contents, "label": np.arange(len(contents)) % 2}), path)


READERS = pytest.mark.parametrize("write", [as_folder, as_parquet, as_masks])
Writer = Callable[..., str]


def notes(data: Dataset) -> str:
    return "\n".join(data.describe()["notes"])


# ---- colours of more than 8 bits


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png_of_16_bits(low: int, high: int, kind: int) -> bytes:
    """A PNG whose columns rise from `low` to `high`, of kind 2 (RGB), 4 (grey and opacity) or 6 (RGBA)."""
    channels = {2: 3, 4: 2, 6: 4}[kind]
    ramp = np.repeat(np.linspace(low, high, 8).astype(">u2"), channels).reshape(8, channels)
    if kind != 2:
        ramp[:, -1] = 65535
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 16, kind, 0, 0, 0))
    rows = chunk(b"IDAT", zlib.compress((b"\0" + ramp.tobytes()) * 8))
    return b"\x89PNG\r\n\x1a\n" + header + rows + chunk(b"IEND", b"")


def ppm(low: int, high: int, largest: int) -> bytes:
    ramp = np.repeat(np.linspace(low, high, 8).astype(">u2"), 3).tobytes()
    return b"P6 8 8 %d\n" % largest + ramp * 8


DIM = {
    "RGB": (png_of_16_bits(800, 840, 2), ".png"),
    "grey and opacity": (png_of_16_bits(800, 840, 4), ".png"),
    "RGBA": (png_of_16_bits(800, 840, 6), ".png"),
    "PPM": (ppm(800, 840, 65535), ".ppm"),
    "PPM of 12 bits": (ppm(50, 90, 4095), ".ppm"),
}
FULL = {
    "RGB": (png_of_16_bits(0, 65535, 2), ".png"),
    "grey and opacity": (png_of_16_bits(0, 65535, 4), ".png"),
    "PPM of 12 bits": (ppm(0, 4095, 4095), ".ppm"),
}


@READERS
@pytest.mark.parametrize("kind", DIM)
def test_colours_of_16_bits_that_8_bits_would_flatten_are_refused(tmp_path: Path, write: Writer, kind: str) -> None:
    content, suffix = DIM[kind]
    with pytest.raises(DataError, match=r"hold 16 bits per colour and use only values from 768 to .*; store them as 8"):
        load_data(write(tmp_path, {"train": [content] * 12}, suffix), RGB)


@READERS
@pytest.mark.parametrize("kind", FULL)
def test_colours_of_16_bits_that_are_cut_are_said(tmp_path: Path, write: Writer, kind: str) -> None:
    content, suffix = FULL[kind]
    data = load_data(write(tmp_path, {"train": [content] * 12}, suffix), RGB)
    assert "colours of 16 bits: 12 of 12 images; their upper 8 bits are read" in notes(data)
    row = data.train.raw[0, 0, 0].tolist()
    assert (row[0], row[-1], len(set(row))) == (0, 255, 8)


@READERS
def test_a_few_blank_colours_of_16_bits_among_others_are_said(tmp_path: Path, write: Writer) -> None:
    data = load_data(write(tmp_path, {"train": [*squares(11), png_of_16_bits(800, 800, 2)]}), RGB)
    assert (
        "colours of 16 bits: 1 of 12 images; their upper 8 bits are read, and they use only values from 768 to 1023 of 65,535"
    ) in notes(data)


def test_colours_of_8_bits_in_a_ppm_are_read_as_they_are(tmp_path: Path) -> None:
    content = b"P6 8 8 255\n" + bytes(range(3, 11)) * 24
    data = load_data(as_folder(tmp_path, {"train": [content] * 12}, ".ppm"), RGB)
    assert "16 bits" not in notes(data)


# ---- deep grey outside the range of the training images


def ramp(low: int, high: int) -> bytes:
    values = np.linspace(low, high, 8).round().astype(np.uint16)
    return encoded(Image.fromarray(np.broadcast_to(values, (8, 8)).copy()))


@READERS
@pytest.mark.parametrize("split", ["val", "test"])
def test_deep_grey_outside_the_training_range_is_refused_where_it_is_most_and_else_said(
    tmp_path: Path, write: Writer, split: str
) -> None:
    name = {"val": "validation"}.get(split, split)
    far = write(tmp_path, {"train": [ramp(0, 1000)] * 12, split: [ramp(2000, 3000)] * 4})
    with pytest.raises(
        DataError, match=f"100% of the {name} pixels .* outside the range .*, 0 to 1001; store all splits"
    ):
        load_data(far, GREY)
    (tmp_path / "near").mkdir()
    near = write(tmp_path / "near", {"train": [ramp(0, 1000)] * 12, split: [ramp(0, 1400)] * 4})
    assert f"deep grey: 25.00% of the {name} pixels lie outside the range and become black or white" in notes(
        load_data(near, GREY)
    )


@pytest.mark.parametrize(("high", "is_said"), [(1000, False), (1001, True)])
def test_only_a_thousandth_of_deep_grey_outside_the_range_or_more_is_said(
    tmp_path: Path, high: int, is_said: bool
) -> None:
    values = np.full((40, 40), 500, np.uint16)
    values[0, :2] = 0, 1000
    beyond = values.copy()
    beyond[1, :1] = 1200  # one pixel of 1,600
    beyond[1, 1] = 1000 if high == 1000 else 1200
    train, test = (encoded(Image.fromarray(pixels)) for pixels in (values, beyond))
    said = notes(load_data(as_folder(tmp_path, {"train": [train] * 12, "test": [test] * 4}), GREY))
    assert ("lie outside the range" in said) == is_said


# ---- modes that pillow converts to colours alone


@READERS
@pytest.mark.parametrize("shape", [GREY, RGB, (4, 8, 8)])
def test_lab_is_read_by_way_of_colours(tmp_path: Path, write: Writer, shape: tuple[int, int, int]) -> None:
    image = Image.new("LAB", (8, 8), (120, 150, 90))
    data = load_data(write(tmp_path, {"train": [encoded(image, "TIFF")] * 12}, ".tif"), shape)
    expected = np.asarray(image.convert("RGB").convert({1: "L", 3: "RGB", 4: "RGBA"}[shape[0]])).reshape(8, 8, -1)
    np.testing.assert_array_equal(data.train.raw[0], expected.transpose(2, 0, 1))


# ---- files that are left out


@pytest.mark.parametrize("name", ["Valid.PARQUET", "validation.pq", "dev.parq"])
def test_tables_are_read_whatever_the_usual_suffix(tmp_path: Path, name: str) -> None:
    write_table(tmp_path / "train.parquet", squares(20))
    write_table(tmp_path / name, squares(6, 100))
    assert sorted(load_data(f"parquet:{tmp_path}", GREY).validation.raw[:, 0, 0, 0]) == [*range(100, 106)]


def test_a_table_may_have_its_columns_in_any_order(tmp_path: Path) -> None:
    table = pa.table({"label": np.arange(12) % 2, "extra": np.arange(12), "image": squares(12)})
    pq.write_table(table, tmp_path / "train.parquet")
    data = load_data(f"parquet:{tmp_path}", GREY)
    np.testing.assert_array_equal(data.train.raw[:, 0, 0, 0] % 2, data.train.labels)


def test_pillows_formats_are_imported_only_where_images_are_read() -> None:
    code = "import sys, hwnas.data.dataset; print([name for name in sys.modules if name.startswith('PIL.Gif')])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_files_beside_tables_are_said(tmp_path: Path) -> None:
    write_table(tmp_path / "train.parquet", squares(20))
    (tmp_path / "validation.csv").write_text("?")
    assert "not read, formats that are not read: 1 (validation.csv)" in notes(load_data(f"parquet:{tmp_path}", GREY))


@READERS
def test_links_to_folders_are_said_to_be_links(tmp_path: Path, write: Writer) -> None:
    reference = write(tmp_path, {"train": squares(12)})
    folder = Path(reference.partition(":")[2])
    inside = {"pictures": "train/a", "masked": "train/images", "table": ""}[folder.name]
    (tmp_path / "elsewhere").mkdir()
    (folder / inside / "linked").symlink_to(tmp_path / "elsewhere")
    said = notes(load_data(reference, GREY))
    assert "not read, links to folders, or to nothing: 1 (" in said and "formats" not in said


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["train.parquet", "train-00000-of-00001.parquet"],
            r"has train-00000-of-00001\.parquet beside train\.parquet,",
        ),
        (["train.parquet", "train.pq"], r"has train\.parquet beside train\.pq, both for train; remove the one"),
        (["train-0-of-1.parquet", "train-0-of-2.parquet"], r"train-0-of-1\.parquet beside train-0-of-2\.parquet, both"),
        (["train-0-of-1.parquet", "train-1-of-1.parquet"], r"for train, which should have the number 0 once; remove"),
        (
            ["train-00000-of-00002-0123456789abcdef.parquet", "train-00000-of-00002-fedcba9876543210.parquet"],
            r"has .*cdef\.parquet, .*3210\.parquet for train, which should have each number from 0 to 1 once; remove those",
        ),
        (
            ["train-0-of-2.parquet", "train-2-of-2.parquet"],
            r"for train, which should have each number from 0 to 1 once",
        ),
    ],
)
def test_a_split_that_is_there_twice_is_refused(tmp_path: Path, names: list[str], message: str) -> None:
    for name in names:
        write_table(tmp_path / name, squares(12))
    with pytest.raises(DataError, match=message):
        load_data(f"parquet:{tmp_path}", GREY)


@pytest.mark.parametrize("name", ["README.md", "dataset_infos.json", ".gitattributes", "LICENSE"])
def test_documents_beside_tables_are_not_said(tmp_path: Path, name: str) -> None:
    write_table(tmp_path / "train.parquet", squares(20))
    (tmp_path / name).write_text("?")
    assert "not read" not in notes(load_data(f"parquet:{tmp_path}", GREY))


@pytest.mark.parametrize("name", ["a.jsonl", "a.ARROW", "a.zip", "a.tar.gz", "a.jpg", "train.parquet.old"])
def test_files_that_may_hold_data_are_said(tmp_path: Path, name: str) -> None:
    write_table(tmp_path / "train.parquet", squares(20))
    (tmp_path / name).write_text("?")
    assert f"not read, formats that are not read: 1 ({name})" in notes(load_data(f"parquet:{tmp_path}", GREY))


@pytest.mark.parametrize("first", [0, 1])
def test_shards_may_be_counted_from_0_or_1(tmp_path: Path, first: int) -> None:
    for number in (0, 1):
        write_table(tmp_path / f"train-{number + first}-of-2.parquet", squares(12, 12 * number))
    assert sum(load_data(f"parquet:{tmp_path}", GREY).describe()["sizes"].values()) == 24


# ---- splits that are taken for classes


@pytest.mark.parametrize(
    "names", [("trn", "tst"), ("train_set", "val_set"), ("0_train", "1_val"), ("Training-1", "more")]
)
def test_folders_that_all_hold_the_same_folders_are_refused(tmp_path: Path, names: tuple[str, str]) -> None:
    reference = as_folder(tmp_path, dict.fromkeys(names, squares(12)))
    with pytest.raises(
        DataError, match=f"{', '.join(names)} all hold the folders a, b; if they are splits, name them train"
    ):
        load_data(reference, GREY)


@pytest.mark.parametrize(
    ("names", "below"),
    [(("cat", "dog"), "front, side"), (("bus", "latest", "train_toy"), "2015, 2016"), (("attest", "evening"), "a, b")],
)
def test_classes_with_the_same_subfolders_are_read_and_said(tmp_path: Path, names: tuple[str, ...], below: str) -> None:
    for number, (name, view) in enumerate((name, view) for name in names for view in below.split(", ")):
        for part in (0, 1):
            path = tmp_path / name / view / f"{part}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (8, 8), 2 * number + part).save(path)
    data = load_data(f"imagefolder:{tmp_path}", GREY)
    assert data.classes == names and sum(data.describe()["sizes"].values()) == 4 * len(names)
    assert f"{', '.join(names)} all hold the folders {below}; the images of these are joined" in notes(data)


def test_equal_folders_are_refused_before_the_images_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = as_folder(tmp_path, dict.fromkeys(("trn", "tst"), squares(12)))
    monkeypatch.setattr(folders, "files_below", lambda *_: pytest.fail("lists the images"))
    with pytest.raises(DataError, match="all hold the folders a, b"):
        load_data(reference, GREY)


def test_one_folder_of_one_name_in_each_class_is_read(tmp_path: Path) -> None:
    for number, content in enumerate(squares(12)):
        path = tmp_path / "ab"[number % 2] / f"images/{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    assert load_data(f"imagefolder:{tmp_path}", GREY).classes == ("a", "b")


# ---- the task, its classes and targets


@READERS
def test_the_task_and_its_classes_are_said(tmp_path: Path, write: Writer) -> None:
    data = load_data(write(tmp_path, {"train": squares(12)}), GREY)
    names = "a, b" if write is as_folder else "0, 1"
    assert f"task: {data.task}, 2 classes ({names})" in data.describe()["notes"]


X = np.random.default_rng(0).integers(0, 256, (30, 8, 8), dtype=np.uint8)


@pytest.mark.parametrize(
    ("y", "note"),
    [
        (np.arange(30) % 2 / 1, "targets: y holds whole numbers alone; if these are classes, store y.astype(int)"),
        (
            np.eye(3)[np.arange(30) % 3],
            "targets: each row of y has a single 1; if these are classes, store y.argmax(axis=1)",
        ),
        (np.arange(30) / 7, ""),
        (np.stack([np.arange(30.0), np.arange(30.0)], axis=1), ""),
    ],
)
def test_targets_that_may_be_classes_are_said(tmp_path: Path, y: np.ndarray, note: str) -> None:
    np.savez(tmp_path / "a.npz", x=X, y=y)
    said = load_data(f"npz:{tmp_path / 'a.npz'}", GREY).describe()["notes"]
    assert [line for line in said if line.startswith("targets:")] == ([note] if note else [])
    count = y.shape[1] if y.ndim == 2 else 1
    assert f"task: regression, {count} targets ({', '.join(f'y{number}' for number in range(count))})" in said


# ---- images in two splits, splits without images


@pytest.mark.parametrize("write", [as_folder, as_parquet, as_masks, as_npz])
def test_images_in_two_splits_are_counted(tmp_path: Path, write: Writer) -> None:
    ramps = [ramp_of_8_bits(number) for number in range(18)]
    splits = {"train": ramps[:12], "val": ramps[10:14], "test": ramps[13:]}
    said = notes(load_data(write(tmp_path, splits), GREY))
    assert (
        "repeated images: 2 of 4 validation images are also training images; 1 of 5 test images are also in another split: "
        "scores on them say little; if they are copies, remove them"
    ) in said


def ramp_of_8_bits(start: int) -> bytes:
    return encoded(Image.fromarray(np.broadcast_to(np.arange(start, start + 8, dtype=np.uint8), (8, 8)).copy()))


def test_a_split_without_repeated_images_is_not_said(tmp_path: Path) -> None:
    ramps = [ramp_of_8_bits(number) for number in range(18)]
    splits = {"train": ramps[:12], "val": ramps[12:15], "test": [ramps[0], *ramps[15:]]}
    said = notes(load_data(as_folder(tmp_path, splits), GREY))
    assert "repeated images: 1 of 4 test images are also in another split: scores" in said


@pytest.mark.parametrize("colour", [0, 255, (10, 200, 3)])
def test_images_of_one_colour_are_not_counted_as_repeated(tmp_path: Path, colour: int | tuple[int, ...]) -> None:
    blank = encoded(Image.new("L" if isinstance(colour, int) else "RGB", (8, 8), colour))
    splits = {"train": [blank] * 12, "val": [blank] * 4, "test": [blank] * 4}
    assert "repeated" not in notes(load_data(as_folder(tmp_path, splits), RGB))


def test_without_repeated_images_none_are_said(tmp_path: Path) -> None:
    assert "repeated" not in notes(
        load_data(as_folder(tmp_path, {"train": [ramp_of_8_bits(number) for number in range(30)]}), GREY)
    )


@READERS
@pytest.mark.parametrize(("folder", "name"), [("train", "train"), ("val", "validation"), ("test", "test")])
def test_a_split_of_damaged_images_alone_is_named(tmp_path: Path, write: Writer, folder: str, name: str) -> None:
    splits = {"train": squares(12), "val": squares(4, 100), "test": squares(4, 200)}
    reference = write(tmp_path, splits | {folder: [b"?"] * len(splits[folder])})
    with pytest.raises(DataError, match=f"no undamaged {name} example is left; replace"):
        load_data(reference, GREY, images=ImageOptions(skip_damaged=True))
