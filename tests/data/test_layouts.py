"""Layouts of data sets: every usual spelling of a split is read, none is left out in silence, and no class is taken for one."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from hwnas.data.dataset import Dataset, load_data
from hwnas.errors import DataError

SHAPE = (1, 8, 8)
# The first number of the images of a split, so that each image says where it is from.
FIRST = {"train": 0, "validation": 100, "test": 200}
COUNTS = {"train": 20, "validation": 6, "test": 4}


def square(number: int) -> Image.Image:
    return Image.new("L", (8, 8), number)


def encoded(number: int, folder: Path) -> bytes:
    square(number).save(folder / "one.png")
    content = (folder / "one.png").read_bytes()
    (folder / "one.png").unlink()
    return content


def numbers(split: str) -> list[int]:
    return [*range(FIRST[split], FIRST[split] + COUNTS[split])]


def write_folder(folder: Path, names: Mapping[str, str]) -> str:
    for split, name in names.items():
        for number in numbers(split):
            path = folder / name / "ab"[number % 2] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            square(number).save(path)
    return f"imagefolder:{folder}"


def write_table(path: Path, rows: list[int], image: str = "image", label: str = "label") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    contents = [encoded(number, path.parent) for number in rows]
    pq.write_table(pa.table({image: contents, label: np.array(rows) % 2}), path)


def write_parquet(folder: Path, names: Mapping[str, str]) -> str:
    for split, name in names.items():
        write_table(folder / f"{name}.parquet", numbers(split))
    return f"parquet:{folder}"


def write_arrays(folder: Path, names: Mapping[str, str], x: str = "x_{}", y: str = "y_{}") -> str:
    arrays = {}
    for split, name in names.items():
        values = np.array(numbers(split), np.uint8)
        arrays[x.format(name)] = np.broadcast_to(values[:, None, None], (len(values), 8, 8))
        arrays[y.format(name)] = values % 2
    np.savez(folder / "a.npz", **arrays)
    return f"npz:{folder / 'a.npz'}"


def write_targets(folder: Path, names: Mapping[str, str]) -> str:
    reference = write_arrays(folder, names)
    arrays = dict(np.load(folder / "a.npz"))
    np.savez(folder / "a.npz", **{name: value / 1 if name[0] == "y" else value for name, value in arrays.items()})
    return reference


def write_masks(folder: Path, names: Mapping[str, str]) -> str:
    for split, name in names.items():
        for kind in ("images", "masks"):
            (folder / name / kind).mkdir(parents=True)
        for number in numbers(split):
            square(number).save(folder / name / f"images/{number}.png")
            Image.fromarray(np.eye(8, dtype=np.uint8)).save(folder / name / f"masks/{number}.png")
    return f"masks:{folder}"


Writer = Callable[[Path, Mapping[str, str]], str]
WRITERS = pytest.mark.parametrize("write", [write_folder, write_parquet, write_arrays, write_targets, write_masks])


def members(data: Dataset) -> dict[str, list[int]]:
    return {name: sorted(getattr(data, name).raw[:, 0, 0, 0].tolist()) for name in FIRST}


def notes(data: Dataset) -> str:
    return "\n".join(data.describe()["notes"])


SPELLED = [
    ("train", "val", "test"),
    ("Train", "Valid", "Test"),
    ("TRAIN", "VAL", "TEST"),
    ("training", "validation", "testing"),
    ("train", "dev", "test"),
]


@WRITERS
@pytest.mark.parametrize("spelled", SPELLED)
def test_all_usual_spellings_of_splits_are_read(tmp_path: Path, write: Writer, spelled: tuple[str, str, str]) -> None:
    data = load_data(write(tmp_path, dict(zip(FIRST, spelled, strict=True))), SHAPE)
    assert members(data) == {split: numbers(split) for split in FIRST}
    assert "splits: 20 images train; 6 validate, as given; 4 test, as given" in notes(data)


@WRITERS
def test_without_a_test_split_one_is_drawn_and_said_and_val_is_used(tmp_path: Path, write: Writer) -> None:
    data = load_data(write(tmp_path, {"train": "train", "validation": "val"}), SHAPE)
    found = members(data)
    assert found["validation"] == numbers("validation")
    assert sorted(found["train"] + found["test"]) == numbers("train")
    assert "splits: 16 images train; 6 validate, as given; 4 test, drawn from the training images (seed 0)" in notes(
        data
    )


@WRITERS
def test_two_spellings_of_one_split_are_refused(tmp_path: Path, write: Writer) -> None:
    reference = write(tmp_path, {"train": "train", "validation": "val", "test": "valid"})
    with pytest.raises(
        DataError, match=r"has (val|x_val) and (valid|x_valid), both for validation; join them, or remove one"
    ):
        load_data(reference, SHAPE)


@WRITERS
def test_a_split_of_its_own_that_is_empty_or_alone_is_refused(tmp_path: Path, write: Writer) -> None:
    with pytest.raises(DataError, match=r"has no .*train|has .*test,? but no train|neither a folder images nor"):
        load_data(write(tmp_path, {"test": "test"}), SHAPE)


# ---- folders


@pytest.mark.parametrize("name", ["train", "test", "val", "Dev"])
def test_a_class_with_the_name_of_a_split_is_a_class(tmp_path: Path, name: str) -> None:
    for kind in ("bus", "car", name):
        (tmp_path / kind).mkdir()
        for number in range(10):
            square(number).save(tmp_path / kind / f"{number}.png")
    data = load_data(f"imagefolder:{tmp_path}", SHAPE)
    assert set(data.classes) == {"bus", "car", name}
    assert sum(data.describe()["sizes"].values()) == 30


@pytest.mark.parametrize("name", ["train", "test", "val"])
def test_a_folder_that_could_be_a_class_or_a_split_is_refused(tmp_path: Path, name: str) -> None:
    for kind in ("bus", "car", f"{name}/steam", f"{name}/electric"):
        (tmp_path / kind).mkdir(parents=True)
        for number in range(10):
            square(number).save(tmp_path / kind / f"{number}.png")
    with pytest.raises(
        DataError, match=f"{name} with folders inside could be splits or classes, beside bus, car; rename"
    ):
        load_data(f"imagefolder:{tmp_path}", SHAPE)


def test_splits_without_folders_of_classes_are_refused(tmp_path: Path) -> None:
    for name in ("train", "test"):
        (tmp_path / name).mkdir()
        square(1).save(tmp_path / name / "1.png")
    with pytest.raises(
        DataError, match=r"has test, train, but no train with a folder of images per class; store train/CLASS"
    ):
        load_data(f"imagefolder:{tmp_path}", SHAPE)


def test_a_test_folder_without_classes_is_left_out_and_said(tmp_path: Path) -> None:
    reference = write_folder(tmp_path, {"train": "train", "validation": "val"})
    (tmp_path / "test").mkdir()
    square(1).save(tmp_path / "test/1.png")
    (tmp_path / "papers").mkdir()
    data = load_data(reference, SHAPE)
    assert "not read, without folders of classes: 2 (papers, test)" in notes(data)
    assert "4 test, drawn from the training images" in notes(data)


def test_splits_inside_classes_are_refused(tmp_path: Path) -> None:
    for kind in ("cat", "dog"):
        for split in ("train", "test"):
            (tmp_path / kind / split).mkdir(parents=True)
            for number in range(5):
                square(number).save(tmp_path / kind / split / f"{number}.png")
    with pytest.raises(DataError, match=r"cat/test: is a split inside the class 'cat'; store test/cat/ instead"):
        load_data(f"imagefolder:{tmp_path}", SHAPE)


# ---- tables


@pytest.mark.parametrize(("image", "label"), [("image", "label"), ("img", "label"), ("img", "fine_label")])
def test_shards_and_columns_of_hugging_face_are_read(tmp_path: Path, image: str, label: str) -> None:
    for split, name in (("train", "train"), ("validation", "validation"), ("test", "test")):
        for shard in (0, 1):
            half = len(numbers(split)) // 2
            rows = numbers(split)[half:] if shard else numbers(split)[:half]
            write_table(tmp_path / f"data/{name}-{shard:05}-of-00002.parquet", rows, image, label)
    (tmp_path / "README.md").write_text("?")
    data = load_data(f"parquet:{tmp_path}", SHAPE)
    assert members(data) == {split: numbers(split) for split in FIRST}
    for split in FIRST:
        part = getattr(data, split)
        np.testing.assert_array_equal(part.labels, part.raw[:, 0, 0, 0] % 2)


def test_a_folder_per_split_is_read(tmp_path: Path) -> None:
    for split, name in (("train", "train"), ("validation", "val"), ("test", "test")):
        write_table(tmp_path / name / "0000.parquet", numbers(split))
    assert members(load_data(f"parquet:{tmp_path}", SHAPE)) == {split: numbers(split) for split in FIRST}


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    write_table(tmp_path / "data/train-00001-of-00002.parquet", numbers("train"))
    with pytest.raises(
        DataError, match=r"train-00001-of-00002\.parquet: is one of 2 shards, 1 of train are there; fetch"
    ):
        load_data(f"parquet:{tmp_path}", SHAPE)


def test_files_of_no_split_are_said_and_two_data_sets_refused(tmp_path: Path) -> None:
    write_table(tmp_path / "plain/train.parquet", numbers("train"))
    write_table(tmp_path / "plain/extra.parquet", numbers("test"))
    data = load_data(f"parquet:{tmp_path}", SHAPE)
    assert "not read, of no split, or of another folder: 1 (plain/extra.parquet)" in notes(data)
    write_table(tmp_path / "fancy/train.parquet", numbers("train"))
    with pytest.raises(DataError, match=r"has splits in fancy, plain; give parquet:.*fancy"):
        load_data(f"parquet:{tmp_path}", SHAPE)


@pytest.mark.parametrize("stem", ["train_backup", "test_metadata", "dev_kit", "train-old", "test-1-of", "train2"])
def test_files_that_only_begin_like_a_split_are_left_out_and_said(tmp_path: Path, stem: str) -> None:
    write_table(tmp_path / "train.parquet", numbers("train"))
    before = members(load_data(f"parquet:{tmp_path}", SHAPE))
    write_table(tmp_path / f"{stem}.parquet", numbers("test"))
    data = load_data(f"parquet:{tmp_path}", SHAPE)
    assert members(data) == before
    assert f"not read, of no split, or of another folder: 1 ({stem}.parquet)" in notes(data)


@pytest.mark.parametrize("end", ["", "-0", "-00000-of-00001", "-00000-of-00001-b513d9e388d56453"])
def test_a_split_may_have_the_number_of_a_shard(tmp_path: Path, end: str) -> None:
    for split, name in (("train", "Train"), ("validation", "dev"), ("test", "test")):
        write_table(tmp_path / f"{name}{end}.parquet", numbers(split))
    assert members(load_data(f"parquet:{tmp_path}", SHAPE)) == {split: numbers(split) for split in FIRST}


def test_a_damaged_row_of_a_shard_is_named_by_its_file(tmp_path: Path) -> None:
    for shard in (0, 1):
        contents = [encoded(number, tmp_path) for number in range(10)]
        contents[4] = contents[4] if shard == 0 else b"?"
        (tmp_path / "data").mkdir(exist_ok=True)
        table = pa.table({"image": contents, "label": np.arange(10) % 2})
        pq.write_table(table, tmp_path / f"data/train-{shard:05}-of-00002.parquet")
    with pytest.raises(DataError, match=r"train-00001-of-00002\.parquet: the image of row 4: is not a PNG"):
        load_data(f"parquet:{tmp_path}", SHAPE)


# ---- arrays


@pytest.mark.parametrize(
    ("x", "y"), [("x_{}", "y_{}"), ("{}_images", "{}_labels"), ("X_{}", "Y_{}"), ("images_{}", "labels_{}")]
)
def test_arrays_are_named_in_all_usual_ways(tmp_path: Path, x: str, y: str) -> None:
    names = {"train": "train", "validation": "val", "test": "test"}
    assert members(load_data(write_arrays(tmp_path, names, x, y), SHAPE)) == {split: numbers(split) for split in FIRST}


def test_labels_of_one_column_are_read_as_medmnist_stores_them(tmp_path: Path) -> None:
    write_arrays(tmp_path, {"train": "train", "validation": "val", "test": "test"}, "{}_images", "{}_labels")
    arrays = dict(np.load(tmp_path / "a.npz"))
    columns = {name: value[:, None] if "labels" in name else value for name, value in arrays.items()}
    np.savez(tmp_path / "b.npz", **columns)
    one, two = (load_data(f"npz:{tmp_path / name}.npz", SHAPE).digest() for name in "ab")
    assert one == two


def test_arrays_of_no_split_are_said(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros((12, 8, 8), np.uint8), y=np.arange(12) % 2, names=np.arange(2), x_extra=[1])
    data = load_data(f"npz:{tmp_path / 'a.npz'}", SHAPE)
    assert "not read, of no split: 2 (names, x_extra)" in notes(data)


def test_images_without_labels_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", train_images=np.zeros((12, 8, 8), np.uint8))
    with pytest.raises(DataError, match="has no 'train_labels'; store x_train"):
        load_data(f"npz:{tmp_path / 'a.npz'}", SHAPE)
