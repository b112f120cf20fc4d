"""Laws of splitting, converting and augmenting, and what is said of data that is missing, damaged or unfit."""

import io
import json
import os
import struct
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from hwnas.data.dataset import load_data
from hwnas.data.images import ImageData
from hwnas.data.options import ImageOptions
from hwnas.data.pictures import augment
from hwnas.data.splits import Examples, stratified_order
from hwnas.errors import DataError, UnknownNameError

RGB = (3, 8, 8)
DATA = os.environ.get("HWNAS_BENCH_DATA")


def numbered(count: int, shape: tuple[int, ...] = (8, 8)) -> np.ndarray:
    """Images that differ: each is filled with its number."""
    return np.broadcast_to(np.arange(count, dtype=np.uint8).reshape(-1, *[1] * len(shape)), (count, *shape)).copy()


def encoded(image: np.ndarray, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind)
    return file.getvalue()


def write_npz(path: Path, count: int = 60, classes: int = 3) -> str:
    np.savez(path, x=numbered(count), y=np.arange(count) % classes)
    return f"npz:{path}"


def write_table(path: Path, images: Sequence[object], labels: object) -> None:
    pq.write_table(pa.table({"image": images, "label": labels}), path)


def write_parquet(folder: Path, train: int = 60, test: int = 20, classes: int = 2) -> str:
    for name, count in (("train", train), ("test", test)):
        images = [encoded(image) for image in numbered(count, (6, 7, 3))]
        write_table(folder / f"{name}.parquet", images, pa.array(np.arange(count) % classes, pa.int8()))
    return f"parquet:{folder}"


def write_pictures(folder: Path, counts: dict[str, int], suffix: str = "png") -> None:
    for shade, (name, count) in enumerate(counts.items()):
        (folder / name).mkdir(parents=True)
        for number, image in enumerate(numbered(count, (5, 9, 3))):
            Image.fromarray(image + np.uint8(100 * shade)).save(folder / name / f"{number:03}.{suffix}")


def splits(data: ImageData) -> tuple[Examples, Examples, Examples]:
    return data.train, data.validation, data.test


def numbers(split: Examples) -> list[int]:
    """Which of the numbered images a split has."""
    return split.raw[:, 0, 0, 0].tolist()


# ---- splits


@given(st.integers(0, 2**32), st.lists(st.integers(3, 40), min_size=2, max_size=6), st.none() | st.integers(6, 90))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_split_has_every_class_and_no_image_is_in_two(
    tmp_path: Path, seed: int, counts: list[int], limit: int | None
) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    np.savez(tmp_path / "a.npz", x=numbered(len(labels)), y=labels)
    data = load_data(f"npz:{tmp_path / 'a.npz'}", (1, 8, 8), seed=seed, limit=limit)
    found = [number for split in splits(data) for number in numbers(split)]
    assert len(set(found)) == len(found)
    assert limit is not None or len(found) == len(labels)
    for split in splits(data):
        assert set(split.labels.tolist()) == set(range(len(counts)))
        np.testing.assert_array_equal(split.labels, labels[numbers(split)])


def test_digits_are_split_60_20_20_with_the_classes_in_proportion() -> None:
    data = load_data("digits", (1, 8, 8))
    assert [len(split) for split in splits(data)] == [1078, 360, 359]
    counts = np.array([np.bincount(split.labels) / len(split) for split in splits(data)])
    assert np.ptp(counts, axis=0).max() < 0.005
    assert data.train.raw.max() == 255
    assert data.classes == tuple("0123456789")
    assert data.augmentation == "shift"


def test_a_seed_fixes_the_split_and_another_changes_it() -> None:
    first, again, other = (load_data("digits", (1, 8, 8), seed=seed) for seed in (3, 3, 4))
    for one, two, three in zip(splits(first), splits(again), splits(other), strict=True):
        np.testing.assert_array_equal(one.raw, two.raw)
        np.testing.assert_array_equal(one.labels, two.labels)
        assert not np.array_equal(one.raw, three.raw)


def test_a_test_set_of_its_own_is_kept_whole_and_a_tenth_of_the_rest_validates(tmp_path: Path) -> None:
    data = load_data(write_parquet(tmp_path), RGB)
    assert [len(split) for split in splits(data)] == [54, 6, 20]
    assert sorted(numbers(data.train) + numbers(data.validation)) == list(range(60))
    assert numbers(data.test) == list(range(20))


def test_a_limit_holds_for_every_split_and_smaller_limits_are_subsets(tmp_path: Path) -> None:
    reference = write_npz(tmp_path / "a.npz", count=200, classes=4)
    large, small, smallest = (load_data(reference, (1, 8, 8), limit=limit) for limit in (80, 40, 4))
    assert [len(split) for split in splits(large)] == [80, 20, 20]
    assert [len(split) for split in splits(small)] == [40, 10, 10]
    assert [len(split) for split in splits(smallest)] == [4, 4, 4]
    for more, fewer in zip(splits(large), splits(small), strict=True):
        assert set(numbers(fewer)) < set(numbers(more))
    assert set(np.bincount(large.train.labels)) == {20}


def test_a_limit_above_the_size_changes_nothing(tmp_path: Path) -> None:
    reference = write_npz(tmp_path / "a.npz")
    for one, two in zip(*(splits(load_data(reference, RGB, limit=limit)) for limit in (None, 999)), strict=True):
        np.testing.assert_array_equal(one.raw, two.raw)


def test_with_a_limit_only_what_is_needed_is_decoded(tmp_path: Path) -> None:
    reference = write_parquet(tmp_path)
    kept = load_data(reference, RGB, limit=4)
    labels, is_kept = np.arange(60) % 2, set(numbers(kept.train) + numbers(kept.validation))
    images = [encoded(image) if row in is_kept else b"?" for row, image in enumerate(numbered(60, (6, 7, 3)))]
    write_table(tmp_path / "train.parquet", images, labels)
    np.testing.assert_array_equal(load_data(reference, RGB, limit=4).train.raw, kept.train.raw)
    with pytest.raises(DataError, match=r"images are damaged \(.*train\.parquet: the image of row \d+ is not a PNG"):
        load_data(reference, RGB)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=80), st.integers(0, 99))
def test_every_beginning_of_a_stratified_order_has_the_classes_in_proportion(labels: list[int], seed: int) -> None:
    order = stratified_order(np.array(labels), np.random.default_rng(seed))
    assert sorted(order) == list(range(len(labels)))
    total = Counter(labels)
    for end in range(len(total), len(labels) + 1):
        for name, count in Counter(np.array(labels)[order[:end]].tolist()).items():
            # Half an image of rounding, and up to one more for each class that came first out of turn.
            assert abs(count - end * total[name] / len(labels)) <= 0.5 * len(total) + 1
            assert count >= 1


# ---- conversion


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 24), (3, 3, 2), (4, 8, 8)])
def test_images_take_the_shape_asked_for(shape: tuple[int, int, int]) -> None:
    data = load_data("digits", shape, limit=20)
    assert data.train.raw.shape == (20, *shape)
    assert data.train.raw.dtype == np.uint8
    assert data.train.labels.dtype == np.int64
    assert data.inputs(data.train.raw).shape == (20, *shape)


def test_grey_becomes_colour_by_repetition_and_colour_grey_by_luminance(tmp_path: Path) -> None:
    grey = load_data("digits", (1, 8, 8), limit=30).train.raw
    colour = load_data("digits", (3, 8, 8), limit=30).train.raw
    np.testing.assert_array_equal(colour, np.repeat(grey, 3, axis=1))
    x = np.zeros((12, 8, 8, 3), np.uint8)
    x[..., 0], x[..., 1], x[..., 2] = 200, 100, 50
    np.savez(tmp_path / "a.npz", x=x, y=np.arange(12) % 2)
    images = load_data(f"npz:{tmp_path / 'a.npz'}", (1, 8, 8)).train.raw
    assert abs(float(images.mean()) - (0.299 * 200 + 0.587 * 100 + 0.114 * 50)) <= 1


def test_shrinking_averages(tmp_path: Path) -> None:
    """A chequerboard turns grey, where picking single pixels would leave it black or white."""
    board = (np.indices((32, 32)).sum(axis=0) % 2 * 255).astype(np.uint8)
    np.savez(tmp_path / "a.npz", x=np.stack([board] * 12), y=np.arange(12) % 2)
    images = load_data(f"npz:{tmp_path / 'a.npz'}", (1, 8, 8)).train.raw
    assert 110 < images.min() <= images.max() < 145


def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path) -> None:
    image = encoded(np.full((8, 8), 100 * 256 + 7, np.uint16))
    for name in ("train", "test"):
        write_table(tmp_path / f"{name}.parquet", [image] * 12, [0, 1] * 6)
    assert set(load_data(f"parquet:{tmp_path}", (1, 8, 8)).train.raw.ravel()) == {100}


def test_palettes_with_transparency_are_read(tmp_path: Path) -> None:
    image = Image.fromarray(np.full((8, 8), 1, np.uint8)).convert("P")
    image.putpalette([0, 0, 0, 10, 20, 30])
    file = io.BytesIO()
    image.save(file, "PNG", transparency=b"\x80\xff")
    for name in ("train", "test"):
        write_table(tmp_path / f"{name}.parquet", [file.getvalue()] * 12, [0, 1] * 6)
    images = load_data(f"parquet:{tmp_path}", RGB).train.raw
    assert images[0, :, 0, 0].tolist() == [10, 20, 30]


def test_the_layouts_of_an_npz_file_mean_the_same(tmp_path: Path) -> None:
    last = np.random.default_rng(0).integers(0, 256, (30, 8, 8, 3), dtype=np.uint8)
    layouts = {"last": last, "first": last.transpose(0, 3, 1, 2)}
    for name, x in layouts.items():
        np.savez(tmp_path / f"{name}.npz", x=x, y=np.arange(30) % 3)
    one, two = (load_data(f"npz:{tmp_path / name}.npz", RGB).train.raw for name in layouts)
    np.testing.assert_array_equal(one, two)
    for name, x in {"plane": last[..., 0], "one_last": last[..., :1], "one_first": last[:, None, ..., 0]}.items():
        np.savez(tmp_path / f"{name}.npz", x_train=x, y_train=np.arange(30) % 3, x_test=x, y_test=np.arange(30) % 3)
        test = load_data(f"npz:{tmp_path / name}.npz", (1, 8, 8)).test
        np.testing.assert_array_equal(test.raw[:, 0], last[..., 0])


def test_bytes_in_a_struct_are_the_same_as_bytes(tmp_path: Path) -> None:
    plain = load_data(write_parquet(tmp_path), RGB)
    for name, count in (("train", 60), ("test", 20)):
        images = [{"bytes": encoded(image), "path": None} for image in numbered(count, (6, 7, 3))]
        write_table(tmp_path / f"{name}.parquet", images, np.arange(count) % 2)
    for one, two in zip(splits(plain), splits(load_data(f"parquet:{tmp_path}", RGB)), strict=True):
        np.testing.assert_array_equal(one.raw, two.raw)


@pytest.mark.parametrize("suffix", ["png", "jpg", "JPEG", "bmp", "webp"])
def test_an_image_folder_names_its_classes_by_folder(tmp_path: Path, suffix: str) -> None:
    write_pictures(tmp_path, {"cat": 10, "dog": 20}, suffix)
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    (tmp_path / ".hidden").mkdir()
    data = load_data(f"imagefolder:{tmp_path}", RGB)
    assert data.classes == ("cat", "dog")
    assert [len(split) for split in splits(data)] == [18, 6, 6]
    for split in splits(data):
        np.testing.assert_array_equal(split.raw.mean(axis=(1, 2, 3)) > 60, split.labels == 1)


def test_an_image_folder_may_have_a_test_folder(tmp_path: Path) -> None:
    write_pictures(tmp_path / "train", {"cat": 10, "dog": 20})
    assert [len(split) for split in splits(load_data(f"imagefolder:{tmp_path}", RGB))] == [18, 6, 6]
    write_pictures(tmp_path / "test", {"cat": 4})
    data = load_data(f"imagefolder:{tmp_path}", RGB)
    assert [len(split) for split in splits(data)] == [27, 3, 4]
    assert data.test.labels.tolist() == [0] * 4


def test_training_inputs_have_mean_0_and_deviation_1_per_channel(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, [256, 100, 20], (90, 8, 8, 3)).astype(np.uint8)
    np.savez(tmp_path / "a.npz", x=x, y=np.arange(90) % 3)
    data = load_data(f"npz:{tmp_path / 'a.npz'}", RGB)
    inputs = data.inputs(data.train.raw)
    assert inputs.dtype == torch.float32
    torch.testing.assert_close(inputs.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(inputs.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("normalise", "expected", "mean", "std"),
    [
        ("imagenet", "", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ("0.1,0.2,0.3/0.4", "imagenet", (0.1, 0.2, 0.3), (0.4,) * 3),
        ("auto", "half", (0.5,) * 3, (0.5,) * 3),
    ],
)
def test_given_moments_normalise_before_those_of_the_networks(
    normalise: str, expected: str, mean: tuple[float, ...], std: tuple[float, ...], tmp_path: Path
) -> None:
    write_npz(tmp_path / "a.npz", count=30, classes=3)
    name, images = f"npz:{tmp_path / 'a.npz'}", ImageOptions(normalise=normalise)
    data, own = load_data(name, RGB, images=images, image_moments=expected), load_data(name, RGB)
    scaled = data.train.raw.transpose(0, 2, 3, 1) / 255
    inputs = data.inputs(data.train.raw).numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(inputs, (scaled - np.array(mean)) / np.array(std), atol=1e-5)
    assert json.loads(data.metadata()["hwnas.mean"]) == list(mean)
    assert any("images are normalised by means of" in note for note in data.describe()["notes"])
    assert data.digest() != own.digest()
    images = ImageOptions(normalise="data")
    assert load_data(name, RGB, images=images, image_moments=expected).digest() == own.digest()


def test_moments_of_other_channels_are_refused() -> None:
    message = "--normalise imagenet is for 3 channels, and the networks take 1; give as many numbers"
    with pytest.raises(DataError, match=message):
        load_data("digits", (1, 8, 8), images=ImageOptions(normalise="imagenet"))


@pytest.mark.parametrize("normalise", ["dataset", "0.5", "0.5/0", "0.5/nan", "inf/1", "0.5/0.5/0.5"])
def test_moments_that_are_none_are_refused(normalise: str) -> None:
    with pytest.raises(ValidationError, match="auto, data, imagenet, half, none, or means"):
        ImageOptions(normalise=normalise)


def test_a_channel_that_never_varies_becomes_zero(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.full((12, 8, 8), 77, np.uint8), y=np.arange(12) % 2)
    data = load_data(f"npz:{tmp_path / 'a.npz'}", (1, 8, 8))
    assert data.normalise.std == (1.0,)
    assert data.inputs(data.train.raw).abs().max() < 1e-6


def test_a_description_survives_json(tmp_path: Path) -> None:
    data = load_data(write_parquet(tmp_path), RGB)
    facts = data.describe()
    assert json.loads(json.dumps(facts)) == facts
    assert facts["sizes"] == {"train": 54, "validation": 6, "test": 20}
    assert facts["image_shape"] == [3, 8, 8]
    assert (facts["reference"], facts["augmentation"]) == (f"parquet:{tmp_path}", "shift")


# ---- augmentation


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_no_augmentation_is_the_identity() -> None:
    batch = torch.randn(5, 3, 8, 8)
    assert augment(batch, "none", seeded(0)) is batch


@pytest.mark.parametrize("augmentation", ["shift", "shift+flip"])
def test_augmentation_depends_on_the_generator_alone(augmentation: str) -> None:
    batch = torch.randn(64, 3, 16, 24)
    before = batch.clone()
    one, same, other = (augment(batch, augmentation, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(batch, before)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 999))
@settings(max_examples=50, deadline=None)
def test_a_bright_pixel_moves_by_at_most_an_eighth_of_the_size(h: int, w: int, seed: int) -> None:
    batch = torch.zeros(16, 2, h, w)
    batch[:, :, h // 2, w // 2] = 1
    moved = augment(batch, "shift", seeded(seed))
    _, _, rows, columns = moved.nonzero(as_tuple=True)
    assert ((rows - h // 2).abs() <= h // 8).all()
    assert ((columns - w // 2).abs() <= w // 8).all()
    assert torch.equal(moved[:, 0], moved[:, 1])
    assert set(moved.unique().tolist()) <= {0.0, 1.0}


def test_every_shift_occurs_equally_often() -> None:
    batch = torch.zeros(9000, 1, 16, 8)
    batch[:, :, 8, 4] = 1
    _, _, rows, columns = augment(batch, "shift", seeded(0)).nonzero(as_tuple=True)
    counts = Counter(zip(rows.tolist(), columns.tolist(), strict=True))
    assert set(counts) == {(row, column) for row in range(6, 11) for column in range(3, 6)}
    assert 480 < min(counts.values()) <= max(counts.values()) < 720


@pytest.mark.parametrize("augmentation", ["shift", "shift+flip"])
def test_what_stays_inside_keeps_its_values(augmentation: str) -> None:
    batch = torch.zeros(32, 3, 16, 16)
    batch[:, :, 2:-2, 2:-2] = torch.randn(32, 3, 12, 12)
    moved = augment(batch, augmentation, seeded(5))
    assert torch.equal(moved.flatten(2).sort().values, batch.flatten(2).sort().values)


def test_zeros_fill_what_a_shift_leaves() -> None:
    moved = augment(torch.ones(200, 1, 8, 8), "shift", seeded(0)).flatten(1).sum(1)
    assert set(moved.tolist()) == {64.0, 56.0, 49.0}


def test_flips_mirror_about_half_of_the_images_whole() -> None:
    batch = torch.randn(1000, 3, 4, 6)  # too small to shift
    moved = augment(batch, "shift+flip", seeded(0))
    is_same = (moved == batch).flatten(1).all(1)
    is_mirrored = (moved == batch.flip(3)).flatten(1).all(1)
    assert bool((is_same ^ is_mirrored).all())
    assert 430 < int(is_mirrored.sum()) < 570


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_the_memory_format_is_kept_and_changes_nothing(channels: int, memory_format: torch.memory_format) -> None:
    batch = torch.randn(8, channels, 16, 16)
    laid_out = batch.to(memory_format=memory_format)
    moved = augment(laid_out, "shift+flip", seeded(1))
    assert moved.stride() == laid_out.stride()
    assert torch.equal(moved, augment(batch, "shift+flip", seeded(1)))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_generator_on_the_cpu_gives_the_same_on_every_device() -> None:
    batch = torch.randn(64, 3, 32, 32)
    moved = augment(batch.cuda(), "shift+flip", seeded(1))
    assert moved.is_cuda
    assert torch.equal(moved.cpu(), augment(batch, "shift+flip", seeded(1)))


def test_an_unknown_augmentation_is_named() -> None:
    with pytest.raises(UnknownNameError, match="unknown augmentation 'mixup'; known: none, shift, shift\\+flip"):
        augment(torch.zeros(1, 1, 8, 8), "mixup", seeded(0))


# ---- what is wrong


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("parquet:{}/none", r"none: does not exist; check what follows `parquet:`"),
        ("npz:{}/none.npz", r"none\.npz: does not exist; check what follows `npz:`"),
        ("parquet:{}/file", "file: is a file; give the folder of the data, as parquet:DIR"),
        ("masks:{}/file", "file: is a file; give the folder of the data, as masks:DIR"),
        ("imagefolder:{}/none", "none: does not exist; check what follows `imagefolder:`"),
        ("imagefolder:{}/file", "file: is a file; give the folder of the data, as imagefolder:DIR"),
        ("npz:{}/file", r"file: cannot be read as npz \(.*\); make or fetch it again"),
        ("npz:{}", "is a folder; give the file, as npz:FILE"),
        ("imagefolder:{}", "has 0 classes; give it at least 2"),
    ],
)
def test_a_path_that_holds_no_data_is_named(tmp_path: Path, reference: str, message: str) -> None:
    (tmp_path / "file").write_bytes(b"neither")
    with pytest.raises(DataError, match=message):
        load_data(reference.format(tmp_path), RGB)


def test_home_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write_npz(tmp_path / "a.npz")
    assert len(load_data("npz:~/a.npz", RGB).test) == 12


X, Y = numbered(12), np.arange(12) % 2


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": X}, "a.npz: has no 'y'; store x_train, y_train, x_test, y_test, or x and y"),
        ({"data": X, "target": Y}, "a.npz: has no 'x_train', only data, target; store x_train"),
        ({"x_train": X, "y_train": Y, "y_test": Y}, "a.npz: has no 'x_test'; store x_train"),
        ({"x": X.astype(np.int16), "y": Y}, "a.npz: x, y: hold int16 and int64; store images as uint8"),
        (
            {"x": X, "y": Y > 0},
            "a.npz: x, y: hold uint8 and bool; store .* classes as integers, or targets as floating",
        ),
        ({"x_train": X, "y_train": Y, "x_test": X, "y_test": Y / 2}, "a.npz: y_train and y_test are not all integers"),
        ({"x": X[:, 0], "y": Y}, r"images of shape \(12, 8\); store \(N, H, W\)"),
        ({"x": np.zeros((12, 8, 8, 5), np.uint8), "y": Y}, r"images of shape \(12, 8, 8, 5\); store"),
        ({"x": X[:, :0], "y": Y}, r"images of shape \(12, 0, 8\); store"),
        ({"x": X, "y": Y[:9]}, r"12 images but labels of shape \(9,\); store one label per example"),
        ({"x": X, "y": np.stack([Y, Y], 1)}, r"12 images but labels of shape \(12, 2\); store one label per example$"),
        ({"x": X, "y": np.eye(2, dtype=int)[Y]}, r"store one label per example \(y\.argmax\(axis=1\)\)$"),
        ({"x": X, "y": Y + 1}, "has label 1 but not 0; number the classes from 0 without gaps"),
        ({"x": X, "y": Y * 2}, "has label 2 but not 1; number the classes from 0 without gaps"),
        ({"x": X, "y": Y - 1}, "has label -1 but not 0; number the classes from 0 without gaps"),
        ({"x": X, "y": Y * 0}, "has 1 classes; give it at least 2"),
        ({"x": X[:0], "y": Y[:0]}, "has 0 classes; give it at least 2"),
        ({"x": X, "y": np.arange(12) // 10}, "class '1' has 2 images; give it at least 3"),
        ({"x_train": X, "y_train": Y, "x_test": X, "y_test": Y + 1}, "x_test, y_test: label 2 is not in the training"),
        ({"x_train": X, "y_train": Y, "x_test": X[:0], "y_test": Y[:0]}, "x_test, y_test: has no images; add some"),
        ({"x": np.array([None] * 12), "y": Y}, r"a.npz: cannot be read as npz \(Object arrays"),
    ],
)
def test_arrays_that_do_not_fit_are_told_what_would(
    tmp_path: Path, arrays: dict[str, np.ndarray], message: str
) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=message):
        load_data(f"npz:{tmp_path / 'a.npz'}", RGB)


def test_a_single_array_is_no_npz_file(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", X)
    with pytest.raises(DataError, match=r"a\.npy: cannot be read as npz \(a single array, as \.npy files have\)"):
        load_data(f"npz:{tmp_path / 'a.npy'}", RGB)


PICTURES = [encoded(image) for image in X]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"photo": PICTURES, "label": Y}, "has no column 'image', only photo, label; rename or add it"),
        ({"image": PICTURES}, "has no column 'label', only image; rename or add it"),
        ({"image": Y, "label": Y}, "column 'image' holds int64; store encoded images"),
        ({"image": [{"path": "a"}] * 12, "label": Y}, "column 'image' holds struct<path: string>; store encoded"),
        ({"image": PICTURES, "label": Y / 2}, "column 'label' holds double or gaps; store integers from 0"),
        ({"image": PICTURES, "label": [None, *Y[1:].tolist()]}, "column 'label' holds int64 or gaps; store integers"),
        ({"image": PICTURES, "label": Y + 3}, "has label 3 but not 0; number the classes"),
        ({"image": [*PICTURES[:5], b"GIF", *PICTURES[6:]], "label": Y}, "the image of row 5: is not a PNG, JPEG"),
        ({"image": [*PICTURES[:5], None, *PICTURES[6:]], "label": Y}, "the image of row 5: is not a PNG, JPEG"),
        (
            {"image": [*PICTURES[:5], PICTURES[5][:-30], *PICTURES[6:]], "label": Y},
            "the image of row 5: cannot be decoded \\(.+\\)",
        ),
    ],
)
def test_a_table_that_does_not_fit_is_told_what_would(tmp_path: Path, columns: dict[str, object], message: str) -> None:
    write_table(tmp_path / "test.parquet", PICTURES, Y)
    pq.write_table(pa.table(columns), tmp_path / "train.parquet")
    with pytest.raises(DataError, match=f"train.parquet: {message}"):
        load_data(f"parquet:{tmp_path}", RGB)


def test_other_formats_are_refused_whatever_their_name(tmp_path: Path) -> None:
    write_pictures(tmp_path, {"cat": 3, "dog": 3})
    (tmp_path / "cat" / "000.png").write_bytes(encoded(X[0], "PCX"))
    with pytest.raises(
        DataError, match=r"cat/000\.png: is not a PNG, JPEG, BMP, WebP, TIFF or GIF image; replace or remove it"
    ):
        load_data(f"imagefolder:{tmp_path}", RGB)


def test_damaged_pictures_are_named(tmp_path: Path) -> None:
    write_pictures(tmp_path, {"cat": 3, "dog": 3})
    path = tmp_path / "dog" / "001.png"
    png, bmp = encoded(X[0]), encoded(X[0], "BMP")
    cut, misnumbered = png[:-25], png[:36] + b"\0" + png[37:]
    huge = bmp[:18] + struct.pack("<ii", 20000, 20000) + bmp[26:]
    for damaged, why in ((cut, "truncated"), (misnumbered, "broken PNG"), (huge, "400000000 pixels")):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=rf"dog/001\.png: cannot be decoded \(.*{why}.*\); replace or remove it"):
            load_data(f"imagefolder:{tmp_path}", RGB)


def test_a_class_without_pictures_is_named(tmp_path: Path) -> None:
    write_pictures(tmp_path, {"cat": 9, "dog": 0})
    with pytest.raises(DataError, match="class 'dog' has 0 images; give it at least 3"):
        load_data(f"imagefolder:{tmp_path}", RGB)


def test_a_test_class_that_is_never_trained_is_named(tmp_path: Path) -> None:
    write_pictures(tmp_path / "train", {"cat": 9, "dog": 9})
    write_pictures(tmp_path / "test", {"cow": 2})
    with pytest.raises(DataError, match="test: class 'cow' is not in the training data; leave it out"):
        load_data(f"imagefolder:{tmp_path}", RGB)


def test_a_limit_below_the_number_of_classes_is_refused() -> None:
    with pytest.raises(DataError, match="digits: a limit of 9 is below one example for each of 10 classes"):
        load_data("digits", (1, 8, 8), limit=9)


def test_two_channels_are_refused() -> None:
    with pytest.raises(DataError, match="digits: images have 1, 3 or 4 channels; the space cannot ask for 2"):
        load_data("digits", (2, 8, 8))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    write_parquet(folder, train=12, test=4)
    write_npz(folder / "a.npz", count=12, classes=2)
    np.savez_compressed(folder / "b.npz", x=numbered(12), y=np.arange(12) % 2)
    for kind in ("png", "jpeg", "bmp", "webp"):
        write_pictures(folder / kind, {"cat": 3, "dog": 3}, kind)
    return folder


def loads_or_says_why(reference: str) -> None:
    try:
        assert len(load_data(reference, RGB).train) > 0
    except DataError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize("file", ["train.parquet", "a.npz", "b.npz"])
@given(part=st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_a_file_cut_short_loads_or_says_why(whole: Path, file: str, part: float) -> None:
    data = (whole / file).read_bytes()
    cut = whole / "cut"
    cut.mkdir(exist_ok=True)
    (cut / "test.parquet").write_bytes((whole / "test.parquet").read_bytes())
    (cut / file).write_bytes(data[: int(part * len(data))])
    loads_or_says_why(f"parquet:{cut}" if file == "train.parquet" else f"npz:{cut / file}")


@pytest.mark.parametrize("file", ["a.npz", "b.npz", "png", "jpeg", "bmp", "webp"])
@given(changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_file_with_bytes_changed_loads_or_says_why(whole: Path, file: str, changes: list[tuple[float, int]]) -> None:
    path = whole / file if file.endswith("npz") else whole / file / "cat" / f"000.{file}"
    before = path.read_bytes()
    after = bytearray(before)
    for place, value in changes:
        after[int(place * len(after))] = value
    try:
        path.write_bytes(after)
        loads_or_says_why(f"npz:{path}" if file.endswith("npz") else f"imagefolder:{whole / file}")
    finally:
        path.write_bytes(before)


# ---- real data


@pytest.mark.skipif(DATA is None, reason="HWNAS_BENCH_DATA does not name a folder that holds cifar10/")
def test_cifar10_loads() -> None:
    data = load_data(f"parquet:{DATA}/cifar10", (3, 32, 32), limit=1000)
    assert [len(split) for split in splits(data)] == [1000, 250, 250]
    assert set(np.bincount(data.train.labels)) == {100}
    assert len(data.classes) == 10
    # The published statistics of the whole training set: 0.491, 0.482, 0.447 and 0.247, 0.243, 0.262.
    np.testing.assert_allclose(data.normalise.mean, [0.491, 0.482, 0.447], atol=0.015)
    np.testing.assert_allclose(data.normalise.std, [0.247, 0.243, 0.262], atol=0.015)
