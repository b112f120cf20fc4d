"""Images mean what a viewer shows: transparency, orientation, deep grey, formats, damage, augmentation."""

import io
import json
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageOps

from hwnas.core.requests import checked
from hwnas.data.dataset import Dataset, load_data
from hwnas.data.image_files import left_out
from hwnas.data.options import AUGMENTATIONS, DataOptions, ImageOptions
from hwnas.errors import DataError, HwnasError

RGB = (3, 8, 8)
SHAPES = [(1, 8, 8), (3, 8, 8), (4, 8, 8)]


def as_folder(folder: Path, images: Sequence[bytes], suffix: str) -> str:
    for number, content in enumerate(images):
        path = folder / "pictures" / "ab"[number % 2] / f"{number:03}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return f"imagefolder:{folder / 'pictures'}"


def as_parquet(folder: Path, images: Sequence[bytes], suffix: str) -> str:
    (folder / "table").mkdir()
    table = pa.table({"image": images, "label": np.arange(len(images)) % 2})
    pq.write_table(table, folder / "table/train.parquet")
    return f"parquet:{folder / 'table'}"


def as_masks(folder: Path, images: Sequence[bytes], suffix: str) -> str:
    """The same images, each with a mask of its upright size whose upper half is of class 1."""
    for name in ("images", "masks"):
        (folder / "masked" / name).mkdir(parents=True)
    for number, content in enumerate(images):
        (folder / f"masked/images/{number:03}{suffix}").write_bytes(content)
        try:
            upright = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
        except OSError:
            upright = Image.new("L", (8, 8))
        mask = np.zeros((upright.height, upright.width), np.uint8)
        mask[: len(mask) // 2] = 1
        Image.fromarray(mask).save(folder / f"masked/masks/{number:03}.png")
    return f"masks:{folder / 'masked'}"


Reader = Callable[[Path, Sequence[bytes], str], str]
READERS = pytest.mark.parametrize("write", [as_folder, as_parquet, as_masks])


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def notes(data: Dataset) -> str:
    return "\n".join(data.describe()["notes"])


def whole(data: Dataset) -> np.ndarray:
    return np.concatenate([data.train.raw, data.validation.raw, data.test.raw])


# ---- transparency


def icon(mode: str = "RGBA") -> Image.Image:
    """An opaque black left half; the right half is transparent, with black stored beneath."""
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (0, 0, 4, 8))
    if mode == "P":
        palette = Image.new("P", (8, 8), 1)
        palette.putpalette([0, 0, 0, 0, 0, 0])
        palette.paste(0, (0, 0, 4, 8))
        return palette
    return image.convert(mode)


def colour_key() -> bytes:
    image = Image.new("L", (8, 8), 1)
    image.paste(0, (0, 0, 4, 8))
    return encoded(image, transparency=1)


ICONS = {
    "RGBA": (encoded(icon()), ".png"),
    "LA": (encoded(icon("LA")), ".png"),
    "palette": (encoded(icon("P"), transparency=b"\xff\x00"), ".png"),
    "colour key": (colour_key(), ".png"),
    "WebP": (encoded(icon(), "WEBP", lossless=True), ".webp"),
    "GIF": (encoded(icon(), "GIF"), ".gif"),
    "TIFF": (encoded(icon(), "TIFF"), ".tif"),
}


@pytest.mark.parametrize("kind", ICONS)
@READERS
@pytest.mark.parametrize("channels", [1, 3])
def test_transparent_pixels_show_the_background(tmp_path: Path, write: Reader, kind: str, channels: int) -> None:
    content, suffix = ICONS[kind]
    data = load_data(write(tmp_path, [content] * 12, suffix), (channels, 8, 8))
    assert not whole(data)[..., :4].any()
    assert (whole(data)[..., 4:] == 255).all()
    assert "transparency: 12 of 12 images are laid over white (--background)" in notes(data)


@READERS
def test_the_background_is_an_option(tmp_path: Path, write: Reader) -> None:
    reference = write(tmp_path, [encoded(icon())] * 12, ".png")
    red = load_data(reference, RGB, images=ImageOptions(background="#ff0000"))
    assert red.train.raw[0, :, 0, 7].tolist() == [255, 0, 0]
    grey = load_data(reference, (1, 8, 8), images=ImageOptions(background="#ff0000"))
    assert grey.train.raw[0, 0, 0, 7] == 76  # the luminance of red


def test_a_half_transparent_pixel_is_mixed(tmp_path: Path) -> None:
    image = encoded(Image.new("RGBA", (8, 8), (0, 0, 0, 128)))
    data = load_data(as_folder(tmp_path, [image] * 12, ".png"), RGB)
    assert set(whole(data).ravel()) == {127}


@READERS
def test_four_channels_keep_transparency(tmp_path: Path, write: Reader) -> None:
    data = load_data(write(tmp_path, [encoded(icon())] * 12, ".png"), (4, 8, 8))
    assert data.train.raw[0, :, 0, 7].tolist() == [0, 0, 0, 0]
    assert data.train.raw[0, :, 0, 0].tolist() == [0, 0, 0, 255]
    assert "transparency" not in notes(data)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_arrays_of_four_channels_are_transparent_too(tmp_path: Path, channels: int) -> None:
    np.savez(tmp_path / "a.npz", x=np.stack([np.asarray(icon())] * 12), y=np.arange(12) % 2)
    data = load_data(f"npz:{tmp_path / 'a.npz'}", (channels, 8, 8))
    assert data.train.raw[0, :, 0, 7].tolist() == {1: [255], 3: [255] * 3, 4: [0] * 4}[channels]


@pytest.mark.parametrize("shape", SHAPES)
def test_opaque_images_are_as_without_opacity(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(0)
    images = [Image.fromarray(rng.integers(0, 256, (9, 7, 3), dtype=np.uint8)) for _ in range(12)]
    plain = load_data(as_folder(tmp_path / "a", [encoded(image) for image in images], ".png"), shape)
    opaque = [encoded(image.convert("RGBA")) for image in images]
    data = load_data(as_folder(tmp_path / "b", opaque, ".png"), shape)
    assert data.digest() == plain.digest()
    assert "transparency" not in notes(data)


def test_a_background_that_is_no_colour_is_refused() -> None:
    with pytest.raises(HwnasError, match="--background must be a colour, as white, black or #rrggbb, not 'glass'"):
        checked(DataOptions, {"background": "glass"})


# ---- orientation


def turned(orientation: int, kind: str) -> bytes:
    """A photo with a bright bar at the top, stored so that EXIF `orientation` turns it upright."""
    undo = {1: None, 3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
    photo = np.full((16, 12, 3), 60, np.uint8)
    photo[:4] = 240
    image = Image.fromarray(photo)
    step = undo[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(image if step is None else image.transpose(step), kind, exif=exif)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@READERS
def test_photos_are_turned_as_their_exif_says(tmp_path: Path, write: Reader, kind: str) -> None:
    contents = [turned(orientation, kind) for orientation in (1, 3, 6, 8)] * 3
    data = load_data(write(tmp_path, contents, f".{kind.lower()}"), (1, 16, 12))
    assert whole(data)[:, 0, :2].min() > 200
    assert whole(data)[:, 0, 6:].max() < 100
    assert "orientation: 9 of 12 images are turned as their EXIF says" in notes(data)


def test_a_mask_in_the_stored_size_of_a_turned_image_is_refused_with_the_reason(tmp_path: Path) -> None:
    reference = as_masks(tmp_path, [turned(6, "JPEG")] * 12, ".jpg")
    path = tmp_path / "masked/masks/003.png"
    Image.open(path).transpose(Image.Transpose.ROTATE_90).save(path)
    with pytest.raises(
        DataError,
        match=r"003\.png: has 16 x 12 pixels, its image 12 x 16 when turned by its EXIF orientation \(6\); turn",
    ):
        load_data(reference, (1, 16, 12))


def test_an_exif_that_is_damaged_turns_nothing(tmp_path: Path) -> None:
    content = encoded(Image.new("L", (8, 8), 9), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff")
    assert set(whole(load_data(as_folder(tmp_path, [content] * 12, ".jpg"), (1, 8, 8))).ravel()) == {9}


# ---- deep grey


def deep(low: int, high: int, count: int = 12) -> list[bytes]:
    """Images of 16 bits whose columns rise from `low` to `high`."""
    ramp = np.linspace(low, high, 8).round().astype(np.uint16)
    return [encoded(Image.fromarray(np.broadcast_to(ramp, (8, 8)).copy())) for _ in range(count)]


@pytest.mark.parametrize(("low", "high"), [(0, 255), (0, 1023), (0, 4095), (788, 852), (60000, 60100), (0, 65535)])
@READERS
def test_deep_grey_is_scaled_by_the_range_of_the_data(tmp_path: Path, write: Reader, low: int, high: int) -> None:
    data = load_data(write(tmp_path, deep(low, high), ".png"), (1, 8, 8))
    row = data.train.raw[0, 0, 0].tolist()
    assert (row[0], len(set(row))) == (0, 8)
    assert row[-1] >= 250
    assert data.describe()["preparation"]["grey_range"] == [low, high + 1]
    assert json.loads(data.metadata()["hwnas.grey_range"]) == [low, high + 1]
    assert f"deep grey: 12 of 12 images have more than 8 bits; {low:g} becomes 0" in notes(data)


@pytest.mark.parametrize("low", [0, 20000])
def test_grey_of_all_16_bits_loses_its_lower_8(tmp_path: Path, low: int) -> None:
    data = load_data(as_folder(tmp_path, deep(low, low + 2**15), ".png"), (1, 8, 8))
    expected = np.linspace(low, low + 2**15, 8).round().astype(int) >> 8
    assert data.train.raw[0, 0, 0].tolist() == expected.tolist()


def test_floating_point_grey_is_scaled(tmp_path: Path) -> None:
    image = Image.fromarray(np.broadcast_to(np.linspace(0, 1, 8, dtype=np.float32), (8, 8)).copy())
    data = load_data(as_folder(tmp_path, [encoded(image, "TIFF")] * 12, ".tif"), (1, 8, 8))
    assert data.train.raw[0, 0, 0].tolist() == [0, 36, 73, 109, 146, 182, 219, 255]


def test_deep_grey_beside_8_bits_is_refused(tmp_path: Path) -> None:
    shallow = encoded(Image.new("L", (8, 8), 100))
    reference = as_folder(tmp_path, deep(788, 852, 6) + [shallow] * 30, ".png")
    with pytest.raises(
        DataError, match=r"hold grey from 788 to 852, .* hold 8 bits; .* cannot be told: store all as 8"
    ):
        load_data(reference, RGB)
    all_bits = as_folder(tmp_path / "b", deep(0, 65535, 24) + [shallow] * 6, ".png")
    assert load_data(all_bits, RGB).describe()["preparation"]["grey_range"] == [0, 65536]


@pytest.mark.parametrize("split", ["validation", "test"])
@pytest.mark.parametrize("is_train_deep", [True, False])
def test_deep_grey_in_one_split_and_8_bits_in_another_is_refused(
    tmp_path: Path, split: str, is_train_deep: bool
) -> None:
    shallow = [encoded(Image.new("L", (8, 8), 100))] * 12
    kinds = [deep(0, 4095), shallow]
    for name, contents in zip(("train", split), kinds if is_train_deep else kinds[::-1], strict=True):
        table = pa.table({"image": contents, "label": np.arange(12) % 2})
        pq.write_table(table, tmp_path / f"{name}.parquet")
    with pytest.raises(DataError, match=r"hold.* 8 bits.*cannot be told: store all as 8 bits"):
        load_data(f"parquet:{tmp_path}", (1, 8, 8))


def test_one_file_of_8_bits_in_a_drawn_split_is_refused(tmp_path: Path) -> None:
    """Whichever split the file is drawn into."""
    contents = deep(0, 4095, 24)
    contents[5] = encoded(Image.new("L", (8, 8), 100))
    reference = as_folder(tmp_path, contents, ".png")
    for seed in range(4):
        with pytest.raises(DataError, match="cannot be told: store all as 8 bits"):
            load_data(reference, (1, 8, 8), seed=seed)


def test_a_hot_pixel_that_makes_the_range_is_said(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 4096, (24, 16, 16), dtype=np.uint16)
    hot = images.copy()
    hot[:, 3, 3] = np.where(np.arange(24) % 6 == 0, 65535, hot[:, 3, 3])
    for name, values, is_said in (("hot", hot, True), ("plain", images, False)):
        contents = [encoded(Image.fromarray(value)) for value in values]
        data = load_data(as_folder(tmp_path / name, contents, ".png"), (1, 8, 8))
        said = "99.9% of the pixels lie in less than an eighth of the range 0 to 65536" in notes(data)
        assert said == is_said


def test_a_transparent_value_of_deep_grey_shows_the_background(tmp_path: Path) -> None:
    (content,) = deep(0, 4095, 1)
    key = struct.pack(">I4sH", 2, b"tRNS", 0) + struct.pack(">I", zlib.crc32(b"tRNS\0\0"))
    at = content.index(b"IDAT") - 4
    data = load_data(as_folder(tmp_path, [content[:at] + key + content[at:]] * 12, ".png"), (1, 8, 8))
    assert data.train.raw[0, 0, 0, :2].tolist() == [255, 36]


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def colour_of_16_bits(high: int) -> bytes:
    ramp = np.repeat(np.linspace(0, high, 8).astype(">u2"), 3).tobytes()
    header = struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)
    rows = zlib.compress((b"\0" + ramp) * 8)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_colours_of_16_bits_are_read_where_they_use_them_and_refused_where_not(tmp_path: Path) -> None:
    data = load_data(as_folder(tmp_path / "a", [colour_of_16_bits(65535)] * 12, ".png"), RGB)
    assert data.train.raw[0, 0, 0].tolist() == [int(value) >> 8 for value in np.linspace(0, 65535, 8)]
    reference = as_folder(tmp_path / "b", [colour_of_16_bits(4095)] * 12, ".png")
    with pytest.raises(DataError, match="12 images hold 16 bits per colour and use only values from 0 to 4095"):
        load_data(reference, RGB)


# ---- formats, left out files, damage


def square(number: int) -> Image.Image:
    return Image.new("L", (8, 8), number)


FILES = {
    ".tif": "TIFF",
    ".TIFF": "TIFF",
    ".gif": "GIF",
    ".avif": "AVIF",
    ".ppm": "PPM",
    ".jfif": "JPEG",
    ".jpe": "JPEG",
    ".apng": "PNG",
    ".pnm": "PPM",
}


@pytest.mark.parametrize("suffix", FILES)
@READERS
def test_formats_that_pillow_reads_are_read(tmp_path: Path, write: Reader, suffix: str) -> None:
    contents = [encoded(square(10 * number), FILES[suffix]) for number in range(12)]
    data = load_data(write(tmp_path, contents, suffix), (1, 8, 8))
    np.testing.assert_allclose(sorted(whole(data)[:, 0, 0, 0]), np.arange(0, 120, 10), atol=2)


def test_subfolders_of_a_class_belong_to_it_and_other_files_are_counted_and_named(tmp_path: Path) -> None:
    reference = as_folder(tmp_path, [encoded(square(number)) for number in range(12)], ".png")
    folder = tmp_path / "pictures"
    (folder / "a/more/deeper").mkdir(parents=True)
    square(200).save(folder / "a/more/deeper/x.png")
    (folder / "b/film.mp4").write_bytes(b"?")
    (folder / "b/more").mkdir()
    (folder / "b/more/notes.txt").write_text("?")
    square(0).save(folder / "loose.png")
    data = load_data(reference, (1, 8, 8))
    assert sorted(whole(data)[:, 0, 0, 0]) == [*range(12), 200]
    assert "not read, formats that are not read: 2 (b/film.mp4, b/more/notes.txt)" in notes(data)
    assert "not read, outside the folders of classes: 1 (loose.png)" in notes(data)


def test_of_several_frames_the_first_is_read_and_said(tmp_path: Path) -> None:
    frames = encoded(square(50), "GIF", save_all=True, append_images=[square(200)])
    data = load_data(as_folder(tmp_path, [frames] * 12, ".gif"), (1, 8, 8))
    assert set(whole(data).ravel()) == {50}
    assert "frames: 12 of 12 images have several; the first of each is read" in notes(data)


@READERS
def test_damaged_images_are_listed_at_once_or_skipped(tmp_path: Path, write: Reader) -> None:
    contents = [encoded(square(8 * number)) for number in range(30)]
    for number in (3, 7, 20):
        contents[number] = contents[number][:-25]
    reference = write(tmp_path, contents, ".png")
    with pytest.raises(
        DataError,
        match=r"3 images are damaged \((.*20.*3.*7|.*03.*07.*20).*\); replace or remove them, or give --skip-damaged",
    ):
        load_data(reference, (1, 8, 8))
    data = load_data(reference, (1, 8, 8), images=ImageOptions(skip_damaged=True))
    assert sorted(whole(data)[:, 0, 0, 0]) == [8 * number for number in range(30) if number not in (3, 7, 20)]
    assert "damaged: 3 images are left out (" in notes(data)
    sizes = data.describe()["sizes"]
    assert f"splits: {sizes['train']} images train; {sizes['validation']} validate" in notes(data)


def test_a_class_of_damaged_images_alone_is_refused(tmp_path: Path) -> None:
    contents = [encoded(square(number)) if number % 2 else b"?" for number in range(12)]
    reference = as_folder(tmp_path, contents, ".png")
    with pytest.raises(DataError, match="no undamaged example of class 'a' is left to train on; replace"):
        load_data(reference, RGB, images=ImageOptions(skip_damaged=True))


def test_damaged_masks_are_skipped_with_their_images(tmp_path: Path) -> None:
    reference = as_masks(tmp_path, [encoded(square(number)) for number in range(12)], ".png")
    (tmp_path / "masked/masks/004.png").write_bytes(b"?")
    with pytest.raises(DataError, match=r"masks/004\.png: is not a PNG"):
        load_data(reference, RGB)
    data = load_data(reference, (1, 8, 8), images=ImageOptions(skip_damaged=True))
    assert sorted(whole(data)[:, 0, 0, 0]) == [number for number in range(12) if number != 4]


def test_two_images_of_one_name_are_refused(tmp_path: Path) -> None:
    reference = as_masks(tmp_path, [encoded(square(number)) for number in range(12)], ".png")
    square(1).save(tmp_path / "masked/images/003.bmp")
    with pytest.raises(DataError, match=r"003\.png: has the name of .*003\.bmp; rename one"):
        load_data(reference, RGB)


# ---- augmentation


def as_npz(folder: Path, images: Sequence[bytes], suffix: str) -> str:
    arrays = [np.asarray(Image.open(io.BytesIO(content))) for content in images]
    np.savez(folder / "a.npz", x=np.stack(arrays), y=np.arange(len(images)) % 2)
    return f"npz:{folder / 'a.npz'}"


def as_digits(folder: Path, images: Sequence[bytes], suffix: str) -> str:
    return "digits"


@pytest.mark.parametrize("write", [as_folder, as_parquet, as_npz, as_masks, as_digits])
def test_every_reader_has_the_same_augmentations_and_the_same_default(tmp_path: Path, write: Reader) -> None:
    rng = np.random.default_rng(0)
    contents = [encoded(Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8))) for _ in range(20)]
    reference = write(tmp_path, contents, ".png")
    usual = load_data(reference, (1, 8, 8))
    rows = np.arange(len(usual.train))[:50]
    plain = usual.inputs(usual.train.raw[rows]).numpy()
    assert "\naugmentation: shift; others by --augmentation: none, shift+flip (mirrored, too)\n" in notes(usual)
    seen = {}
    for name in AUGMENTATIONS:
        data = load_data(reference, (1, 8, 8), images=ImageOptions(augmentation=name))
        assert data.describe()["augmentation"] == name
        seen[name] = data.training_batch(rows, np.random.default_rng(3))[0].numpy()
        assert data.digest() == usual.digest()
    inner = (slice(None), slice(None), slice(1, -1), slice(1, -1))

    def is_moved(batch: np.ndarray, images: np.ndarray) -> np.ndarray:
        """Which of the images are in the batch, moved by up to one pixel."""
        moves = [np.roll(images, (i, j), (2, 3))[inner] for i in (-1, 0, 1) for j in (-1, 0, 1)]
        return np.any([(batch[inner] == move).all((1, 2, 3)) for move in moves], axis=0)

    np.testing.assert_array_equal(seen["none"], plain)
    assert is_moved(seen["shift"], plain).all()
    mirrored = is_moved(seen["shift+flip"], plain[..., ::-1])
    assert 0 < mirrored.sum() < len(rows)
    assert (mirrored | is_moved(seen["shift+flip"], plain)).all()


def test_masks_are_mirrored_with_their_images(tmp_path: Path) -> None:
    contents = [encoded(Image.fromarray(np.eye(8, dtype=np.uint8) * 255)) for _ in range(20)]
    reference = as_masks(tmp_path, contents, ".png")
    for path in (tmp_path / "masked/masks").iterdir():
        Image.fromarray(np.eye(8, dtype=np.uint8)).save(path)
    data = load_data(reference, (1, 8, 8), images=ImageOptions(augmentation="shift+flip"))
    x, masks = data.training_batch(np.arange(12), np.random.default_rng(0))
    np.testing.assert_array_equal(x[:, 0].numpy() > 0, masks.numpy() == 1)
    assert len({mask.numpy().tobytes() for mask in masks}) > 4


def test_targets_are_left_as_they_are_unless_asked(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (20, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", x=x, y=np.arange(20) / 20)
    reference = f"npz:{tmp_path / 'a.npz'}"
    assert load_data(reference, (1, 8, 8)).describe()["augmentation"] == "none"
    asked = load_data(reference, (1, 8, 8), images=ImageOptions(augmentation="shift"))
    assert asked.describe()["augmentation"] == "shift"


@pytest.mark.parametrize(
    ("options", "flag"),
    [
        ({"augmentation": "none"}, "--augmentation"),
        ({"background": "black"}, "--background"),
        ({"skip_damaged": True}, "--sk"),
    ],
)
def test_options_of_images_are_refused_where_they_have_no_effect(
    tmp_path: Path, options: dict[str, object], flag: str
) -> None:
    (tmp_path / "a.txt").write_text("to be or not to be " * 20)
    with pytest.raises(DataError, match=f"{flag}.* has no effect on text; leave it out"):
        load_data(f"text:{tmp_path / 'a.txt'}", (8,), vocabulary=9, images=ImageOptions(**options))
    own = f"{Path(__file__).parents[2] / 'scripts/examples/own_data.py'}:stripes"
    with pytest.raises(DataError, match=f"{flag}.* has no effect on a data set of your own; leave it out"):
        load_data(own, RGB, images=ImageOptions(**options))


def test_many_links_to_nothing_are_told_apart_in_linear_time(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(4000)]
    for path in paths[::2]:
        path.symlink_to("gone")
    comparisons = 0

    class Counting(type(tmp_path)):  # type: ignore[misc]
        def __eq__(self, other: object) -> bool:
            nonlocal comparisons
            comparisons += 1
            return super().__eq__(other)

        __hash__ = type(tmp_path).__hash__

    others, links = left_out(tmp_path, [Counting(path) for path in paths])
    assert "formats that are not read: 2000 (1.png" in others and "or to nothing: 2000 (0.png" in links
    assert comparisons < len(paths)
